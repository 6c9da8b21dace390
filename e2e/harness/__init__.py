"""What the end-to-end tests drive the product with. Nothing here imports the server."""
