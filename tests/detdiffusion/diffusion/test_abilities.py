"""What a model can be asked for, by its folder."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from detdiffusion.diffusion.abilities import Abilities, read_abilities
from detdiffusion.diffusion.checkpoint import save_pipeline
from detdiffusion.diffusion.pipeline import DetDiffusionPipeline
from detdiffusion.errors import CheckpointError
from detdiffusion.text.prompt import FREE_TEXT_TOKENS, knows_free_text
from detdiffusion.text.vocabulary import Vocabulary

THINGS, STUFF = ("car",), ("road",)
PLAIN: dict[str, Any] = {"blueprint_config": None, "head_config": None}


@pytest.mark.parametrize(
    ("words", "parts", "expected"),
    [
        ({"grid": (8, 8)}, {}, "boxes, attributes"),
        ({"grid": (8, 8), "attribute_words": ()}, PLAIN, "boxes"),
        ({"location_format": "", "attribute_words": ()}, {}, "boxes"),
        ({"location_format": "", "attribute_words": ()}, PLAIN, "classes alone"),
        ({"location_format": ""}, PLAIN, "attributes"),
    ],
)
def test_abilities(
    tmp_path: Path,
    make_pipeline: Callable[..., DetDiffusionPipeline],
    words: dict[str, Any],
    parts: dict[str, Any],
    expected: str,
) -> None:
    save_pipeline(make_pipeline(Vocabulary(THINGS, STUFF, **words), **parts), tmp_path / "model")
    assert str(read_abilities(tmp_path / "model")) == expected


def test_free_words_are_known_by_the_tokenizer_and_a_new_folder_is_read_anew(
    tmp_path: Path, tiny_pipeline: DetDiffusionPipeline
) -> None:
    tiny_pipeline.save_pretrained(tmp_path)
    assert read_abilities(tmp_path) == Abilities(boxes=True, attributes=True, caption=False)
    assert not knows_free_text(tiny_pipeline.tokenizer)
    path = tmp_path / "tokenizer/tokenizer.json"
    saved = json.loads(path.read_text())
    saved["model"]["vocab"] |= {f"word{number}": 50_000 + number for number in range(FREE_TEXT_TOKENS)}
    path.write_text(json.dumps(saved))
    (tmp_path / "vocabulary.json").touch()
    assert str(read_abilities(tmp_path)) == "boxes, attributes, caption"


def test_what_is_no_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is no DetDiffusion model: no such file"):
        read_abilities(tmp_path)
