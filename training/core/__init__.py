"""What every verb stands on: files, settings, checkpoints, status, the command line. Nothing of images."""
