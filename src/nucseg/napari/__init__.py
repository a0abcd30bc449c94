"""A napari plugin that segments nuclei in image layers; ``napari.yaml`` lists what it adds.

Only `nucseg.napari.widget` and its fields need napari, so the rest is tested without it.
"""
