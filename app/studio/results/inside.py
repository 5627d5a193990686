"""What a model read and saw in an image that it drew."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from markupsafe import Markup
from PIL import Image

from app.components.html import hint_html
from app.components.images import data_address
from app.engine.insight import Inside, Insight, look_inside
from app.engine.studio import Studio
from app.studio.results.cells import tag_html
from detdiffusion.detection import mask_coverage
from detdiffusion.diffusion.masks import object_colour
from detdiffusion.layout import Attribute
from training.core.markup import joined

_INSIDE = Markup(
    '<div class="inside {}"><div class="view"><img src="{}" alt="generated image">{}</div><div class="read">{}'
    '<div class="scroll" tabindex="0"><table>'
    "<thead><tr><th>Object</th><th>Asked for</th>{}</tr></thead>"
    "<tbody>{}</tbody></table></div>{}</div></div>"
)
_ROW = Markup(
    '<tr data-object="{}" tabindex="0" style="--own:{}"><td><i></i>{}</td><td>{}</td><td class="number">{}</td></tr>'
)
_TOKENS = Markup('<h3>{} tokens <small>of {} in {} window{}</small></h3><div class="tokens" tabindex="0">{}</div>')


@dataclass(frozen=True, slots=True)
class Layer:
    """An object of a picture and what is laid over it: a see-through picture in the object's colour, a data address."""

    label: str
    attribute: Attribute
    colour: str
    address: str
    share: float | None = None  # of its box that the mask covers


@dataclass(frozen=True, slots=True)
class InsideView:
    """What the model read and saw: the picture with a layer an object, and the tokens of the prompt.

    tokens: by window: text, and the place of its object or None.
    """

    address: str = ""
    layers: tuple[Layer, ...] = ()
    masks: bool = True
    tokens: tuple[tuple[tuple[str, int | None], ...], ...] = ()
    length: int = 0  # tokens of a window
    note: str = ""

    def html(self) -> Markup:
        """The image with its layers; a hint before there is one."""
        if not self.address:
            return hint_html(self.note or "Generate an image to see what the model read and saw in it.")
        layer = Markup('<img class="layer" data-object="{}" src="{}" alt="">')
        return _INSIDE.format(
            "masks" if self.masks else "heat",
            self.address,
            joined(layer.format(place, one.address) for place, one in enumerate(self.layers) if one.address),
            Markup("<p>{}</p>").format(self.note) if self.note else "",
            Markup('<th class="number">Mask inside its box</th>') if self.masks else Markup("<td></td>"),
            joined(self._row(place, one) for place, one in enumerate(self.layers)),
            self._tokens(),
        )

    def _row(self, place: int, layer: Layer) -> Markup:
        share = "" if layer.share is None else f"{layer.share:.0%}"
        return _ROW.format(place, layer.colour, layer.label, tag_html(layer.attribute), share)

    def _tokens(self) -> Markup:
        windows, used = len(self.tokens), sum(map(len, self.tokens))
        shown = joined(
            Markup("<p>{}</p>").format(joined(self._token(*token) for token in window)) for window in self.tokens
        )
        return _TOKENS.format(used, windows * self.length, windows, "s" if windows > 1 else "", shown)

    def _token(self, text: str, place: int | None) -> Markup:
        if place is None:
            return Markup("<span>{}</span>").format(text)
        token = Markup('<span data-object="{}" style="--own:{}">{}</span>')
        return token.format(place, self.layers[place].colour, text)


def show_inside(studio: Studio, picture: Path | None, what: Insight) -> InsideView:
    """What the model read and saw in its last picture. Raises as `look_inside` does."""
    if picture is None:
        return InsideView()
    inside = look_inside(studio, picture, what)
    masks = what is Insight.MASKS
    layers = []
    for place, box in enumerate(inside.layout.boxes):
        colour = object_colour(place)
        map_ = None if inside.maps is None else inside.maps[place]
        layers.append(
            Layer(
                box.label,
                box.attribute or Attribute.EASY,
                f"rgb{colour}",
                "" if map_ is None else layer_address(0.6 * (map_ >= 0.5) if masks else 0.85 * map_, colour),
                mask_coverage(map_, box.xyxy) if masks and map_ is not None else None,
            )
        )
    tokens = tuple(tuple((token.text, token.object) for token in window) for window in inside.tokens)
    return InsideView(data_address(inside.picture), tuple(layers), masks, tokens, inside.length, _note_of(inside))


def _note_of(inside: Inside) -> str:
    if inside.maps is None:
        return f"{inside.model} has no perception head, so there are no masks; see its attention instead."
    if inside.what is not Insight.ATTENTION:
        return ""
    note = "Choose an object in the table to see where the model attended to its words."
    if inside.blueprint:
        note += " This model takes positions from its blueprint, so its attention covers the whole image."
    return note


def layer_address(alpha: np.ndarray, colour: tuple[int, int, int]) -> str:
    """One colour over a picture, [H, W] in 0..1 as thick as that, as a data address."""
    pixels = np.empty((*alpha.shape, 4), np.uint8)
    pixels[..., :3], pixels[..., 3] = colour, (alpha.clip(0, 1) * 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
