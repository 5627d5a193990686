"""Training the classifier of causes: what makes an object of the built-in world difficult."""
