"""The networks: autoencoder, feature taps, perception head and visual blueprint."""
