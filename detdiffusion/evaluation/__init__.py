"""Scores of generated pictures: detection by COCO's rules, and the effect of easy against hard."""
