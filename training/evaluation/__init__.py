"""What a model does, measured: boxes obeyed, confidence lost, distances between sets of images."""
