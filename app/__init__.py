"""The studio: draw a layout, generate it, see what a detector makes of it."""
