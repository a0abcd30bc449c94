"""Reading, checking, splitting, fetching and generating annotated images."""
