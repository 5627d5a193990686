"""A model that needs many guided steps -> a student that needs few, and no guidance."""
