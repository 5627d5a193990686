"""Words: the vocabulary of classes, places and attributes, and prompts made of them."""
