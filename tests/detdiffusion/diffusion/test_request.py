"""What may be asked of a pipeline, in which forms, and what is said of everything else."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from detdiffusion.diffusion.pipeline import DetDiffusionPipeline, load_pipeline
from detdiffusion.errors import CheckpointError, ConfigError, LayoutError
from detdiffusion.image_record import ImageRecord, save_image
from detdiffusion.layout import Layout
from detdiffusion.sampling_config import MAX_SEED, SamplingConfig

LayoutOf = Callable[..., Layout]


def drawn(pipe: DetDiffusionPipeline, layouts: Any, seeds: Any = (1,), **how: Any) -> bytes:
    images = pipe(layouts, seeds=seeds, **{"steps": 1, **how}).images
    return b"".join(image.tobytes() for image in images)


def test_a_layout_may_be_a_value_a_dict_or_a_file(
    tmp_path: Path, tiny_pipeline: DetDiffusionPipeline, layout_of: LayoutOf
) -> None:
    layout, file, picture = layout_of(3), tmp_path / "layout.json", tmp_path / "image.png"
    file.write_text(json.dumps(layout.to_json()))
    save_image(picture, Image.new("RGB", (8, 8)), ImageRecord(layout, SamplingConfig(1)))
    expected = drawn(tiny_pipeline, layout)
    for form in (layout.to_json(), file, str(file), picture):
        assert drawn(tiny_pipeline, form) == expected
    forms = [layout, layout.to_json(), str(file), picture]
    assert drawn(tiny_pipeline, (form for form in forms), [1] * 4) == 4 * expected
    assert drawn(tiny_pipeline, file, range(1, 3)) == expected + drawn(tiny_pipeline, layout, [2])


def test_whole_numbers_of_numpy_and_torch_are_seeds(tiny_pipeline: DetDiffusionPipeline, layout_of: LayoutOf) -> None:
    expected = drawn(tiny_pipeline, layout_of(2), [3, 4])
    for seeds in (np.array([3, 4]), torch.tensor([3, 4]), (3, 4), iter([3, 4])):
        assert drawn(tiny_pipeline, layout_of(2), seeds, steps=np.int64(1)) == expected


@pytest.mark.parametrize(
    ("layouts", "message"),
    [
        (None, "layouts needs to be a Layout, its JSON form as a dict, or the path of a layout file.*, not None"),
        (7, "or a list of these, not int"),
        (b"{}", "not bytes"),
        ([3], "a layout needs to be a Layout, its JSON form .*, not int"),
        ([None], "not None"),
        ({"width": 64}, "height is missing; objects is missing"),
        ("nowhere.json", "nowhere.json: no such file"),
        ("x" * 5000, "no such file"),
        (Path(), "no such file"),
    ],
)
def test_what_is_no_layout_is_named(tiny_pipeline: DetDiffusionPipeline, layouts: Any, message: str) -> None:
    with pytest.raises(LayoutError, match=message):
        tiny_pipeline(layouts, seeds=[1])


def test_a_file_that_is_no_layout_is_named(tmp_path: Path, tiny_pipeline: DetDiffusionPipeline) -> None:
    (tmp_path / "notes.json").write_text("[1, 2]")
    with pytest.raises(LayoutError, match="a layout needs to be a JSON object, got list"):
        tiny_pipeline(tmp_path / "notes.json", seeds=[1])


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"seeds": [-1]}, f"seed -1 needs to be a whole number from 0 to {MAX_SEED}"),
        ({"seeds": [MAX_SEED + 1]}, "needs to be a whole number from 0"),
        ({"seeds": -1}, "seeds needs to be a list of whole numbers from 0 to .*, one an image, not -1"),
        ({"seeds": 3}, "seeds needs to be a list .*not 3"),
        ({"seeds": "12"}, "seeds needs to be a list"),
        ({"seeds": [1.0]}, "seeds needs to be a list"),
        ({"seeds": [True]}, "seeds needs to be a list"),
        ({"guidance_scale": math.nan}, "guidance nan needs to be a number"),
        ({"guidance_scale": "3"}, "guidance '3' needs to be a number"),
        ({"guidance_scale": [2]}, r"guidance \[2\] needs to be a number"),
        ({"attribute_guidance": math.inf}, "attribute guidance inf needs to be a number"),
        ({"steps": 0}, "0 steps; choose 1 to 1000"),
        ({"steps": 1001}, "1001 steps; choose 1 to 1000"),
        ({"steps": 2.0}, "2.0 steps; choose 1 to 1000"),
        ({"steps": True}, "True steps"),
        ({"sampler": "heun"}, "no sampler 'heun'; choose one of dpm"),
        ({"sampler": 5}, "no sampler 5; choose one of dpm"),
        ({"on_step": 5}, "on_step needs to be a function that takes a StepInfo, not int"),
        ({"output_type": "jpeg"}, "output_type needs to be pil, np, pt, latent, not 'jpeg'"),
        ({"output_type": None}, "output_type needs to be pil"),
        ({"dtype": "float16"}, "dtype needs to be one of torch.float32, torch.bfloat16, torch.float16, not 'float16'"),
        ({"dtype": torch.float64}, "dtype needs to be one of .*, not torch.float64"),
    ],
)
def test_what_cannot_be_drawn_is_named(
    tiny_pipeline: DetDiffusionPipeline, layout_of: LayoutOf, how: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        tiny_pipeline(layout_of(1), **{"seeds": [1], "steps": 1, **how})


@pytest.mark.parametrize("folder", [None, 7, "", b"model"])
def test_a_model_is_named_by_its_folder(folder: Any) -> None:
    for load in (load_pipeline, DetDiffusionPipeline.from_pretrained):
        with pytest.raises(CheckpointError, match="needs to be named by the path of its folder, as text or as a Path"):
            load(folder)


def test_what_a_model_cannot_be_loaded_as_or_on_is_named() -> None:
    with pytest.raises(ConfigError, match="device abacus: there is no such device"):
        load_pipeline("nowhere", device="abacus")
    with pytest.raises(ConfigError, match="dtype needs to be one of"):
        load_pipeline("nowhere", dtype=torch.int8)
    with pytest.raises(CheckpointError, match="nowhere is no model folder"):
        load_pipeline("nowhere")
    with pytest.raises(CheckpointError, match="nowhere is no folder; give one that holds"):
        DetDiffusionPipeline.from_pretrained("nowhere")
