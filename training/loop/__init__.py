"""python -m training loop: your data and detector -> a generator, images of what is missing, a better detector."""
