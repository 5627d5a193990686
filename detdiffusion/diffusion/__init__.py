"""Layouts in, images out: checkpoints, sampling, the pipeline, and what the model saw."""
