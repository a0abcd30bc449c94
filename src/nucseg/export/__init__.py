"""One file per output format, and the registry of them."""
