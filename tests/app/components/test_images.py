"""Frames over an image."""

from app.components.images import Mark


def test_marks_keep_their_text_inside_the_picture() -> None:
    assert 'class="mark found"' in Mark("car", (0.1, 0.5, 0.3, 0.7), 0.9).html()
    assert 'class="mark missed low end"' in Mark("car", (0.9, 0.0, 1.0, 0.2), None).html()
