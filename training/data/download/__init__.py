"""Weights and data sets that others publish, fetched when somebody asks for one by name and takes its licence."""
