"""A plugin for napari, which finds nuclei in its image layers; ``napari.yaml`` says what it adds.

Only `nucseg.napari.widget` and its fields need napari, so that all else is tested without.
"""
