"""From measured nuclei to conclusions: conditions, replicates, effects, dose response, plates."""
