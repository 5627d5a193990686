"""What a detector gets wrong on real data, what the data lack, and layouts of what is needed."""
