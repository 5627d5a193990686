"""A model whose tokenizer knows free text, as Stable Diffusion's does: the canvas takes a caption of the scene."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from small_models import write_quick_model

from detdiffusion.diffusion.checkpoint import save_pipeline
from detdiffusion.diffusion.manifest import write_manifest
from detdiffusion.diffusion.pipeline import load_pipeline
from detdiffusion.image_record import read_image
from detdiffusion.text.prompt import FREE_TEXT_TOKENS

pytestmark = [pytest.mark.browser, pytest.mark.model]

SAID = "harbour dusk"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A quick Papercut with as many words as it takes. It has never learned them, and draws as well as before."""
    quick = write_quick_model(tmp_path / "quick")
    pipeline = load_pipeline(quick)
    pipeline.tokenizer.add_tokens([*SAID.split(), *(f"word{number}" for number in range(FREE_TEXT_TOKENS))])
    pipeline.text_encoder.resize_token_embeddings(len(pipeline.tokenizer), mean_resizing=False)
    save_pipeline(pipeline, tmp_path / "talker")
    shutil.copytree(quick / "detectors", tmp_path / "talker" / "detectors")
    write_manifest(tmp_path / "talker")
    return tmp_path / "talker"


def test_a_caption_is_part_of_the_prompt(
    model: Path, serve: Callable[[Path], str], visit: Callable[..., Page], person: Any
) -> None:
    page = visit(serve(model))
    studio = person(page)
    caption = page.locator(".editor .caption")
    expect(caption).to_be_visible()
    studio.clear()
    studio.draw("cat", 0.3, 0.3, 0.7, 0.8)
    caption.fill(SAID)
    caption.press("Tab")
    expect(page.locator("#prompt")).to_contain_text(f"{SAID} An image with (cat")
    studio.canvas.focus()
    studio.screenshot("caption")
    bottom = "(id) => document.getElementById(id).getBoundingClientRect().bottom"
    assert page.evaluate(bottom, "prompt") < page.evaluate(bottom, "layout-card"), "the field has its own room"
    layout = read_image(studio.generate()).layout
    assert layout.caption == studio.layout()["caption"] == SAID
    page.locator("#results").get_by_role("tab", name="Inside").click()
    expect(page.locator("#inside")).to_contain_text("harbour")

    caption.fill("dusk " * 39)
    caption.press("Tab")
    studio.canvas.focus()
    studio.press("Control+Enter")
    studio.message("the caption has 39 tokens; at most 38")
    studio.press("Control+z")
    expect(caption).to_have_value(SAID)


def test_the_bundled_model_takes_none(studio: Any) -> None:
    expect(studio.page.locator(".editor .caption")).to_be_hidden()
