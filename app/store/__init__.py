"""What a person made and keeps: images, layouts. No widgets."""
