"""Many files: inputs, records, resuming, the run around them."""
