"""Another model is chosen, of other classes, and Papercut again: each with its own examples, detectors and canvas."""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from small_models import add_small_detectors, write_quick_model, write_small_model

from detdiffusion.text.vocabulary import Vocabulary

pytestmark = [pytest.mark.browser, pytest.mark.model, pytest.mark.alone]

CELLS = ("RBC", "WBC", "Platelets")
SMEAR = {
    "width": 64,
    "height": 64,
    "objects": [
        {"label": label, "box": [0.1 + 0.3 * place, 0.2, 0.3 + 0.3 * place, 0.7], "attribute": "easy"}
        for place, label in enumerate(CELLS)
    ],
}
SWITCH_SECONDS = 3.0  # on a machine that has nothing else to do


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A quick Papercut and, beside it, an untrained model of blood cells with three examples, one of them broken."""
    write_quick_model(tmp_path / "models/papercut")
    cells = write_small_model(tmp_path / "models/blood-cells", Vocabulary(things=CELLS, stuff=(), grid=(8, 8)))
    add_small_detectors(cells, CELLS, "bundled", "held-out")
    (cells / "layouts").mkdir()
    for name, text in (("1-smear", json.dumps(SMEAR)), ("another", json.dumps(SMEAR)), ("broken", "{")):
        (cells / "layouts" / f"{name}.json").write_text(text)
    return tmp_path / "models"


def busy() -> float:
    """How many times as long as on an idle machine something takes now."""
    began, used = time.monotonic(), time.process_time()
    while time.process_time() - used < 0.2:
        pass
    return (time.monotonic() - began) / 0.2


def choose(page: Page, model: str) -> float:
    """In the settings, as a person does; seconds of an idle machine from the press until the canvas is the model's."""
    page.get_by_role("tab", name="Settings").click()
    page.locator("#settings-model input").click()
    shown = re.compile(rf"^{re.escape(model)} \(")  # and what it can be asked for
    with page.expect_response(lambda answer: json.dumps(model) in answer.text() if "/run/" in answer.url else False):
        page.get_by_role("option", name=shown).click()  # answered: with the detectors of this model
    expect(page.locator("#settings-model input")).to_have_value(shown)
    before, began = busy(), time.monotonic()
    page.locator("#use-settings").click()
    expect(page.locator("#header")).to_contain_text(re.compile(rf"{re.escape(model)}(, fast \(\d steps\))? · "))
    page.get_by_role("tab", name="Studio", exact=True).click()
    known = "RBC" if model == "blood-cells" else "person"
    expect(page.locator(f'.editor .palette button[data-label="{known}"]')).to_be_visible()
    took = time.monotonic() - began
    return took / max(1.0, (before + busy()) / 2)


def finished_example(page: Page) -> None:
    expect(page.locator("#pair .picture.busy")).to_have_count(0)
    expect(page.locator("#pair table")).to_be_visible()


def test_each_model_has_its_own_classes_examples_detectors_and_canvas(
    serve: Callable[[Path], str], models: Path, visit: Any, person: Any
) -> None:
    page = visit(serve(models / "papercut"))
    studio = person(page)
    expect(page.locator("#header")).to_contain_text("papercut, fast (2 steps) · 16 things, 11 stuff · yolo11n")
    studio.canvas.focus()
    studio.press("Shift+Digit2")
    drawn = studio.layout()
    made = page.locator("#pair table").inner_text()

    assert choose(page, "blood-cells") <= SWITCH_SECONDS
    expect(page.locator("#header")).to_contain_text("blood-cells · 3 things · untrained bundled")
    assert studio.layout() == SMEAR, "its first example"
    finished_example(page)
    expect(page.locator("#pair table")).to_contain_text("Platelets")
    page.locator("#layouts > button").click()
    assert page.locator("#shelf .tile span").all_inner_texts() == ["Smear", "Another"]
    expect(page.locator("#shelf")).to_contain_text("Left out: broken.json: is damaged")
    page.keyboard.press("Escape")
    page.locator("#sides > button").click()
    page.locator("#second-detector input").click()
    expect(page.get_by_role("option", name="held-out")).to_be_visible()
    assert page.get_by_role("option").count() == 2, "none, and that of this model alone"
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    studio.canvas.focus()
    studio.press("Control+z")
    assert studio.layout() == SMEAR, "nothing of another model's canvas comes back"
    studio.press("Shift+Digit2")
    cells = studio.layout()
    assert {item["attribute"] for item in cells["objects"]} == {"hard"}
    studio.press("c")
    studio.finished()
    expect(page.locator("#results .stale")).to_have_count(0)
    compared = page.locator("#pair table").inner_text()

    assert choose(page, "papercut") <= SWITCH_SECONDS
    assert studio.layout() == drawn, "the old canvas is back"
    expect(page.locator("#pair table")).to_have_text(made, use_inner_text=True)
    studio.canvas.focus()
    studio.press("Control+z")
    assert studio.layout() != drawn, "and so is what can be undone"
    studio.press("Control+Shift+z")

    page.reload()
    expect(page.locator("svg g.box")).to_have_count(len(drawn["objects"]))
    assert studio.layout() == drawn
    assert choose(page, "blood-cells") <= SWITCH_SECONDS
    assert studio.layout() == cells, "kept across a switch, a switch back and a reload"
    expect(page.locator("#pair table")).to_have_text(compared, use_inner_text=True)
    studio.screenshot("blood-cells")
