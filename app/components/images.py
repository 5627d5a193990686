"""An image as the page shows it: a file or a preview, frames over it, a caption. No gradio here."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup
from PIL import Image

from detdiffusion.layout import Attribute
from training.core.markup import joined


@dataclass(frozen=True, slots=True)
class Mark:
    """A frame over a picture: something that the detector found, or an object that it missed (`score` None)."""

    label: str
    xyxy: tuple[float, float, float, float]
    score: float | None

    def html(self) -> Markup:
        """A frame over the image, placed by shares of its sides."""
        x1, y1, x2, y2 = self.xyxy
        place = f"left:{x1:.2%};top:{y1:.2%};width:{x2 - x1:.2%};height:{y2 - y1:.2%}"
        kind, text = ("missed", "missed") if self.score is None else ("found", f"{self.score:.2f}")
        wide = 0.026 * (len(self.label) + 7)  # about the share of the picture that the text takes
        kind += (" low" if y1 < 0.06 else "") + (" end" if x1 + wide > 1 else "")  # it stays inside
        mark = Markup('<div class="mark {}" style="{}"><span>{} <b>{}</b></span></div>')
        return mark.format(kind, place, self.label, text)


@dataclass(frozen=True, slots=True)
class ImageView:
    """A finished picture (`file`), or the noise becoming one (`preview`, `progress` from 0 to 1)."""

    file: Path | None = None
    preview: str = ""
    marks: tuple[Mark, ...] = ()
    caption: str = ""
    name: str = ""  # of the side of a comparison
    tag: Attribute | None = None  # what all things are asked to be
    ratio: float = 1.0  # width / height
    progress: float | None = None

    @property
    def there(self) -> bool:
        """Whether its file is (still) there."""
        return self.file is not None and self.file.exists()

    def marks_html(self) -> Markup:
        """All frames over the image."""
        return joined(mark.html() for mark in self.marks)

    def caption_html(self) -> Markup:
        """The line below the image."""
        name = Markup('<b class="tag {}">{}</b>').format(self.tag or "", self.name) if self.name else ""
        return Markup("{}<span>{}</span>").format(name, self.caption)


def data_address(image: Image.Image) -> str:
    """A small picture as an address that needs no file: for previews, which nobody keeps."""
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
