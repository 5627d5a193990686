"""A layout as a small drawing."""

from markupsafe import Markup

from detdiffusion.layout import Attribute, Box, Layout
from training.core.markup import joined


def layout_svg(layout: Layout) -> Markup:
    """Things above stuff, in the colours of their tags."""
    height = 100.0 * layout.height / layout.width
    boxes = sorted(layout.boxes, key=lambda box: (box.attribute is not Attribute.BACKGROUND, -box.area))
    svg = Markup('<svg class="thumbnail" viewBox="0 0 100 {:g}" role="img" aria-label="{}">{}</svg>')
    return svg.format(height, ", ".join(layout.labels), joined(_drawn(box, height) for box in boxes))


def _drawn(box: Box, height: float) -> Markup:
    """On a canvas 100 wide."""
    x1, y1, x2, y2 = (value * side for value, side in zip(box.xyxy, (100.0, height) * 2, strict=True))
    frame = Markup('<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>')
    drawn = frame.format(box.attribute or "thing", x1, y1, x2 - x1, y2 - y1)
    if box.attribute is Attribute.BACKGROUND:
        return drawn
    return drawn + Markup('<text x="{:.1f}" y="{:.1f}">{}</text>').format(x1 + 1.5, y1 + 7, box.label)
