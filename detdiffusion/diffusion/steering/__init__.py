"""What may lead a sampling besides the words: a detector's gradient, a number for each object, boxes drawn again."""
