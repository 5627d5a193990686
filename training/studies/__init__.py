"""Many trainings, compared: the ablation, pilots, and what a detector learns from generated images."""
