"""The number format of arithmetic: what is stored, what is asked for, and what this processor can do."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from detdiffusion.diffusion.pipeline import DetDiffusionPipeline, load_pipeline
from detdiffusion.errors import ConfigError
from detdiffusion.layout import Layout
from detdiffusion.models import precision
from detdiffusion.models.precision import arithmetic_dtype, computes_in, usable_dtype

CPU, GPU = torch.device("cpu"), torch.device("cuda")
FULL, BRAIN, HALF = torch.float32, torch.bfloat16, torch.float16


@pytest.fixture
def poor_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor that computes in float32 alone."""
    monkeypatch.setattr(precision, "computes_in", lambda device, dtype: device.type != "cpu" or dtype == FULL)
    monkeypatch.setattr(precision, "preferred_dtype", lambda device: FULL)


def test_a_cpu_computes_in_half_precision_where_onednn_does(monkeypatch: pytest.MonkeyPatch) -> None:
    assert computes_in(CPU, FULL) and computes_in(GPU, HALF)
    for has in (True, False):
        monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda has=has: has)
        assert computes_in(CPU, FULL)
        for dtype, asked in ((BRAIN, "_is_mkldnn_bf16_supported"), (HALF, "_is_mkldnn_fp16_supported")):
            assert computes_in(CPU, dtype) == (has and getattr(torch.ops.mkldnn, asked)())


@pytest.mark.usefixtures("poor_cpu")
def test_a_cpu_that_cannot_computes_in_float32_and_says_so() -> None:
    with pytest.warns(UserWarning, match="this CPU does not compute in float16: float32 is used instead"):
        assert usable_dtype(CPU, HALF) == FULL
    assert (usable_dtype(CPU, FULL), usable_dtype(GPU, HALF)) == (FULL, HALF)


@pytest.mark.parametrize(
    ("stored", "asked", "expected"),
    [
        ({"unet": FULL}, FULL, FULL),
        ({"unet": FULL, "text_encoder": FULL}, None, BRAIN),
        ({"unet": HALF, "text_encoder": HALF}, None, HALF),
        ({"unet": HALF}, HALF, HALF),
        (
            {"unet": FULL, "text_encoder": HALF},
            None,
            r"several formats \(unet float32, text_encoder float16\): pipe.to",
        ),
        ({"unet": BRAIN}, FULL, "weights are bfloat16: load the model in float32 to compute in torch.float32"),
    ],
)
def test_what_is_stored_decides(
    monkeypatch: pytest.MonkeyPatch, stored: dict[str, torch.dtype], asked: torch.dtype | None, expected: Any
) -> None:
    monkeypatch.setattr(precision, "preferred_dtype", lambda device: BRAIN)
    if isinstance(expected, str):
        with pytest.raises(ConfigError, match=expected):
            arithmetic_dtype(GPU, stored, asked)
    else:
        assert arithmetic_dtype(GPU, stored, asked) == expected


@pytest.mark.usefixtures("poor_cpu")
def test_a_pipeline_on_a_cpu_that_cannot(
    tmp_path: Path, tiny_pipeline: DetDiffusionPipeline, layout_of: Callable[..., Layout]
) -> None:
    """A call becomes one in float32, as does a load; weights that are in half precision already are refused."""

    def draw(pipe: DetDiffusionPipeline, **how: Any) -> bytes:
        image: bytes = pipe(layout_of(2), seeds=[1], steps=2, **how).images[0].tobytes()
        return image

    expected = draw(tiny_pipeline, dtype=FULL)
    with pytest.warns(UserWarning, match="does not compute in bfloat16"):
        assert draw(tiny_pipeline, dtype=BRAIN) == expected
    with pytest.warns(UserWarning, match="does not compute in bfloat16"):
        assert tiny_pipeline.computed_in(BRAIN) == ("float32", "cpu")
    tiny_pipeline.save_pretrained(tmp_path)
    with pytest.warns(UserWarning, match="does not compute in float16"):
        loaded = load_pipeline(tmp_path, dtype=HALF)
    assert loaded.unet.dtype == FULL and draw(loaded) == expected
    half = DetDiffusionPipeline.from_pretrained(tmp_path, dtype=HALF)  # on its way to a GPU
    with pytest.raises(ConfigError, match=r"the weights are float16, in which this CPU does not compute: .*pipe\.to"):
        draw(half)
    half.to(FULL)
    assert len(draw(half)) == len(expected)
