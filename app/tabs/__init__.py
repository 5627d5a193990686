"""The views of the page: widgets and wiring only."""
