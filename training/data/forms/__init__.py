"""The forms of data sets that people have: how a folder is recognised, and what reads it into the index."""
