"""Live mode: every change on the canvas redraws the comparison by itself."""
