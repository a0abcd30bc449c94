"""The web app: a page in the browser and the server behind it, on the user's own computer."""
