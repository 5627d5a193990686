"""Makes the built-in world and trains the bundled models."""
