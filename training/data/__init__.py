"""Data sets of any form, read as samples (image, layout, masks); the built-in world; downloads. Nothing that learns."""
