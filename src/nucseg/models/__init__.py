"""The networks, their losses, their files, and the bundled ones."""
