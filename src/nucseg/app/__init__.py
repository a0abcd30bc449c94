"""Web app: a page in the browser and its server, on the user's own computer."""
