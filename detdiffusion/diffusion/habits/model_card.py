"""README.md of a model, made from its folder: what the hub shows beside the files."""

from __future__ import annotations

from pathlib import Path

from detdiffusion.diffusion.abilities import read_abilities
from detdiffusion.diffusion.manifest import components, read_recommended, read_vocabulary
from detdiffusion.layout import Attribute
from detdiffusion.text.vocabulary import Vocabulary

NAMED = 40  # classes that a card names
_HEADER = """---
library_name: diffusers
pipeline_tag: text-to-image
tags: [detdiffusion, layout-to-image, object-detection, synthetic-data]
---
"""
_PARTS = {
    "blueprint": "a blueprint of the layout, which the U-Net reads beside the noise",
    "controlnet": "a ControlNet, which reads the layout as an image",
    "perception_head": "a perception head, which trained the model and draws masks",
    "safety_checker": "Stable Diffusion's safety checker, which no image passes unchecked",
}


def model_card(folder: Path, name: str, size: tuple[int, int]) -> str:
    """The card of a whole model folder.

    Args:
        name: by which others will load it.
        size: (height, width) in pixels of the images that it was trained for.

    Raises:
        CheckpointError: this is no folder of a DetDiffusion model.
    """
    vocabulary, sampling = read_vocabulary(folder), read_recommended(folder)
    present = components(folder)
    parts = [text for part, text in _PARTS.items() if present.get(part, (None, None))[1] is not None]
    steps = "step" if sampling.steps == 1 else "steps"
    knows = "easy, hard and background" if vocabulary.attribute_words else "none: objects are drawn as they come"
    facts = [
        f"{len(vocabulary.things)} classes of things: {_listed(vocabulary.things)}.",
        *([f"{len(vocabulary.stuff)} classes of stuff: {_listed(vocabulary.stuff)}."] if vocabulary.stuff else []),
        f"It can be asked for: {read_abilities(folder)}.",
        f"Attributes of objects: {knows}.",
        f"Images of {size[1]}x{size[0]} pixels, in {sampling.steps} {steps} with guidance {sampling.guidance_scale:g} "
        "unless asked otherwise.",
        *(f"It has {part}." for part in parts),
    ]
    return (
        f"{_HEADER}# {name.rpartition('/')[2]}\n\n"
        "Draws images of layouts: boxes with class names. Made with DetDiffusion Studio.\n\n"
        f"{_code(name, vocabulary, size)}\n\n" + "".join(f"* {fact}\n" for fact in facts)
    )


def _code(name: str, vocabulary: Vocabulary, size: tuple[int, int]) -> str:
    label = vocabulary.things[0] if vocabulary.things else vocabulary.labels[0]
    thing = {"label": label, "box": [0.2, 0.2, 0.8, 0.8]}
    if vocabulary.attribute_words:
        thing["attribute"] = Attribute.EASY.value
    return (
        "```python\nfrom detdiffusion import DetDiffusionPipeline\n\n"
        f'pipe = DetDiffusionPipeline.from_pretrained("{name}")\n'
        f'layout = {{"width": {size[1]}, "height": {size[0]}, "objects": [{thing}]}}\n'
        'pipe(layout, seeds=[0]).images[0].save("image.png")\n```'
    )


def _listed(labels: tuple[str, ...]) -> str:
    more = f", and {len(labels) - NAMED} more" if len(labels) > NAMED else ""
    return ", ".join(labels[:NAMED]) + more
