"""Scores of generated images: detection by COCO's rules, and the effect of easy against hard."""
