"""The Data sets tab."""
