"""Batches of many files: inputs, records, resume, and the run."""
