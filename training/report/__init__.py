"""Reports of the other rooms as one page: tables, plots, images."""
