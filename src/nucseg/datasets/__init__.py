"""Read, check, split, download and generate annotated images."""
