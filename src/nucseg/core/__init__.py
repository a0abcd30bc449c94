"""Foundations of the package: label images, outlines, shapes, filters of nuclei."""
