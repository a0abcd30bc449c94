"""Run models: from an image to a label image with scores."""
