"""Training the small autoencoder."""
