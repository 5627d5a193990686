"""What can be fetched by name: from where, how large it is, under which licence, and what is done with it then."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

GB = 1_000_000_000


@dataclass(frozen=True, slots=True)
class WebFile:
    """A file at an address.

    Attributes:
        size: in bytes, as its publisher says it, rounded; exact where `exact`.
        sha256: where its publisher says it; else empty.
        members: what is unpacked of an archive, as patterns; none: the file is kept as it is.
        place: where it is put, relative; empty: under its own name.
    """

    url: str
    size: int
    exact: bool = False
    sha256: str = ""
    members: tuple[str, ...] = ()
    place: str = ""

    @property
    def name(self) -> str:
        """Where it is put, relative."""
        return self.place or self.url.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Offer:
    """What a name stands for.

    Attributes:
        size: bytes that are fetched, about.
        files: at addresses of their own; none: those of `repository`, of the Hugging Face hub.
        then: how to go on; `{out}` is the folder.
    """

    about: str
    size: int
    licence: str
    then: str
    files: tuple[WebFile, ...] = ()
    repository: str = ""

    @property
    def sources(self) -> tuple[str, ...]:
        """Where it comes from, for people."""
        return tuple(file.url for file in self.files) or (f"https://huggingface.co/{self.repository}",)


_OPENRAIL = "CreativeML Open RAIL-M (https://huggingface.co/spaces/CompVis/stable-diffusion-license)"
_COCO = (
    "annotations: CC BY 4.0; images: the terms of use of Flickr and the licence of each image "
    "(https://cocodataset.org/#termsofuse)"
)
_COCO_SERVER = "http://images.cocodataset.org"
# Sizes are those of https://cocodataset.org/#download, which publishes no hashes.
_ANNOTATIONS, _STUFF, _VAL, _TRAIN = 241_000_000, 1_100_000_000, GB, 18 * GB


def _coco(split: str, size: int) -> tuple[WebFile, ...]:
    where = f"{_COCO_SERVER}/annotations"
    things, stuff = (f"annotations/{kind}_{split}.json" for kind in ("instances", "stuff"))
    return (
        WebFile(f"{where}/annotations_trainval2017.zip", _ANNOTATIONS, members=(things,)),
        WebFile(f"{where}/stuff_annotations_trainval2017.zip", _STUFF, members=(stuff,)),
        WebFile(f"{_COCO_SERVER}/zips/{split}.zip", size, members=(f"{split}/*.jpg",)),
    )


def _geodiffusion(side: int) -> Offer:
    name = f"KaiChen1998/geodiffusion-coco-stuff-{side}x{side}"
    return Offer(
        about=f"GeoDiffusion for COCO-Stuff at {side} pixels: boxes as words (Chen et al. 2024), in .bin files",
        size=6 * GB,
        licence=f"that of its card (https://huggingface.co/{name}), and of Stable Diffusion v1.5: {_OPENRAIL}",
        then="python -m training convert {out} " + f"models/geodiffusion-{side}",
        repository=name,
    )


OFFERS: Mapping[str, Offer] = MappingProxyType(
    {
        "sd15": Offer(
            about="Stable Diffusion v1.5, the base of the sd15 presets (safetensors)",
            size=5_500_000_000,
            licence=_OPENRAIL,
            then="python -m training train --base {out} ...",
            repository="stable-diffusion-v1-5/stable-diffusion-v1-5",
        ),
        "coco-val": Offer(
            about="COCO 2017, 5,000 images to measure on, with boxes and masks of things and stuff",
            size=_ANNOTATIONS + _STUFF + _VAL,
            licence=_COCO,
            then="python -m training annotate --data {out} ...",
            files=_coco("val2017", _VAL),
        ),
        "coco-train": Offer(
            about="COCO 2017, 118,000 images to learn from, with boxes and masks of things and stuff",
            size=_ANNOTATIONS + _STUFF + _TRAIN,
            licence=_COCO,
            then="python -m training annotate --data {out} ...",
            files=_coco("train2017", _TRAIN),
        ),
        "yolov4": Offer(
            about="YOLOv4 for COCO, the paper's detector (darknet weights)",
            size=257_717_640,
            licence="that of its repository (https://github.com/AlexeyAB/darknet/blob/master/LICENSE)",
            then="python -m training annotate --detector {out}/yolov4.weights ...",
            files=(
                WebFile(
                    "https://github.com/AlexeyAB/darknet/releases/download/darknet_yolo_v3_optimal/yolov4.weights",
                    257_717_640,
                    exact=True,
                ),
            ),
        ),
        "geodiffusion-256": _geodiffusion(256),
        "geodiffusion-512": _geodiffusion(512),
    }
)
