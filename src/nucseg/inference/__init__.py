"""From an image to a label image."""
