"""Training the generator: presets, latents, batches, losses, the loop."""
