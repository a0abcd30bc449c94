"""What draws: images with nuclei, curves, histograms, parts of pages."""
