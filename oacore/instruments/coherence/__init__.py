"""How the seven grades of a radiograph belong together."""
