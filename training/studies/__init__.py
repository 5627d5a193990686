"""Many trainings, compared: the ablation, and what a detector learns from generated images."""
