"""From annotated images to a trained model."""
