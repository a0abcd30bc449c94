"""What all else is built on: label images, outlines, shapes, filters of nuclei."""
