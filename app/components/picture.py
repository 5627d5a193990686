"""An image with marks over it: a `gr.HTML` component. Its style is in `editor.css`, which the page loads whole."""

from typing import Any

import gradio as gr
from gradio import component_meta
from gradio.data_classes import FileData, GradioModel

from app.components.images import ImageView

component_meta.create_or_modify_pyi = lambda *_: None  # as in editor.py


class ImageValue(GradioModel):  # type: ignore[misc]  # Gradio is Any to mypy
    """`image` is a file, so that its PNG metadata reaches the browser; `preview` is a data address; marks and caption
    are HTML; `ratio` is width / height; `progress` runs from 0 to 1 while the picture is made."""

    image: FileData | None = None
    preview: str = ""
    marks: str = ""
    caption: str = ""
    ratio: float = 1.0
    progress: float | None = None


class ImagePanel(gr.HTML):  # type: ignore[misc]  # Gradio is Any to mypy
    """A picture with marks over it (sharp at any pixel ratio, shown or not by the page) and a caption."""

    data_model = ImageValue

    def __init__(self, **options: Any) -> None:
        super().__init__(value=ImageValue(), html_template=_IMAGE_HTML, apply_default_css=False, **options)

    def preprocess(self, payload: ImageValue | None) -> ImageValue | None:
        """What a handler gets."""
        return payload

    def postprocess(self, value: ImageValue | None) -> ImageValue:
        """What the page gets."""
        return value or ImageValue()


_IMAGE_HTML = """
<figure class="picture ${value.progress === null ? '' : 'busy'}">
  <div class="frame" style="--ratio:${value.ratio}">
    ${value.image || value.preview
      ? '<img alt="generated image" src="' + (value.image ? value.image.url : value.preview) + '">' : ''}
    ${value.marks}
    <div class="progress"><i style="width:${100 * (value.progress || 0)}%"></i></div>
  </div>
  <figcaption>${value.caption}${value.image
    ? '<a class="download" href="' + value.image.url + '" download="' + value.image.orig_name + '">Save image</a>'
    : ''}</figcaption>
</figure>
"""


def file_value(view: ImageView) -> FileData | None:
    """The image's file as the browser is given it."""
    return FileData(path=str(view.file), orig_name=view.file.name) if view.file else None


def image_value(view: ImageView) -> ImageValue:
    """A view as the value of `ImagePanel`."""
    return ImageValue(
        image=file_value(view),
        preview=view.preview,
        marks=view.marks_html(),
        caption=view.caption_html(),
        ratio=view.ratio,
        progress=view.progress,
    )
