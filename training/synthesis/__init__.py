"""Data sets of generated images, in chunks that are committed once."""
