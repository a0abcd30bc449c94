"""Statistics on measured nuclei: conditions, replicates, effects, dose response, plates."""
