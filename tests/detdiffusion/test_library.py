"""The library as a person first meets it: three names of `detdiffusion`, and the model that comes with them."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import detdiffusion
from detdiffusion import DetDiffusionPipeline, Layout, load_pipeline
from detdiffusion.core.assets import BUNDLED_MODEL

ROOT = Path(__file__).resolve().parents[2]
BASELINE = BUNDLED_MODEL.with_name("papercut-geodiffusion")
STREET = BUNDLED_MODEL / "layouts/1-street.json"

FIRST_STEPS = """
import json, sys
import detdiffusion
named = set(detdiffusion.__all__) <= set(dir(detdiffusion))
detdiffusion.Layout
heavy = [name for name in ("torch", "diffusers", "transformers", "numpy", "PIL") if name in sys.modules]
print(json.dumps({"named": named, "heavy": heavy}))
"""


def test_importing_the_package_loads_nothing_large() -> None:
    done = subprocess.run([sys.executable, "-c", FIRST_STEPS], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {"named": True, "heavy": []}


def test_names_of_the_package_are_those_of_its_modules() -> None:
    from detdiffusion.diffusion import pipeline
    from detdiffusion.layout import Layout as own

    assert (DetDiffusionPipeline, load_pipeline) == (pipeline.DetDiffusionPipeline, pipeline.load_pipeline)
    assert Layout is own
    with pytest.raises(AttributeError, match="module 'detdiffusion' has no attribute 'load_pipelines'"):
        _ = detdiffusion.load_pipelines


@pytest.mark.model
@pytest.mark.parametrize("folder", [BUNDLED_MODEL, BASELINE])
def test_from_pretrained_draws_what_load_pipeline_draws(folder: Path) -> None:
    """The weights are stored as float16, a baseline's autoencoder lies beside it, and both are ready to draw."""
    pipe = DetDiffusionPipeline.from_pretrained(str(folder))
    parts = [part for part in pipe.components.values() if isinstance(part, torch.nn.Module)]
    assert {weight.dtype for part in parts for weight in part.parameters()} == {torch.float32}
    image, same = (one(STREET, seeds=[1], steps=2).images[0] for one in (pipe, load_pipeline(str(folder))))
    assert np.array_equal(np.asarray(image), np.asarray(same))
    assert np.asarray(image).std() > 10


@pytest.mark.model
def test_from_pretrained_keeps_the_format_that_is_asked_for() -> None:
    for words in ({"dtype": torch.bfloat16}, {"torch_dtype": torch.bfloat16}):
        pipe = DetDiffusionPipeline.from_pretrained(BASELINE, **words)
        assert {pipe.unet.dtype, pipe.text_encoder.dtype, pipe.vae.dtype} == {torch.bfloat16}
