"""What every room stands on: files, settings, arguments of commands, large JSON files, where the bundled models are."""
