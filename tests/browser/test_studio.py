"""A person at the studio: draws, tags, generates, compares, saves, opens, makes mistakes."""

import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gradio_client import Client
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from detdiffusion.image_record import read_image
from detdiffusion.layout import Layout

pytestmark = [pytest.mark.browser, pytest.mark.model]


def pixels(file: Path) -> np.ndarray:
    return np.asarray(Image.open(file).convert("RGB"))


def numbers(row: Locator) -> list[float]:
    return [float(text) for text in row.locator("td.number").all_inner_texts()]


@pytest.mark.bundled
def test_draw_tag_generate_compare(studio: Any) -> None:
    page = studio.page
    studio.screenshot("opening")
    assert page.evaluate("document.documentElement.scrollHeight <= window.innerHeight"), "the page scrolls"

    studio.clear()
    studio.draw("bu", 0.06, 0.38, 0.52, 0.68)
    studio.drag(0.62, 0.42, 0.80, 0.84)
    expect(page.locator(".popup li")).not_to_have_count(0)
    studio.screenshot("class-search")
    studio.type("pe")
    expect(page.locator(".popup li").first).to_contain_text("person")
    studio.press("Enter", "2", "b")
    studio.type("road")
    studio.press("Enter")
    drawn = studio.layout()
    assert [(item["label"], item["attribute"]) for item in drawn["objects"]] == [
        ("bus", "easy"),
        ("person", "hard"),
        ("road", "background"),
    ]
    assert np.allclose(drawn["objects"][0]["box"], [0.06, 0.38, 0.52, 0.68], atol=0.01)
    expect(page.locator("#prompt")).to_contain_text(
        re.compile(r"An image with \(bus, .*\[easy\]\), \(person, .*\[hard\]")
    )

    first = studio.generate()
    studio.screenshot("picture")
    layout, record = (kept := read_image(first)).layout, kept.to_json()
    assert layout == Layout.from_json(drawn)
    assert record["seed"] == int(studio.seed.input_value())
    rows = page.locator("#objects tbody tr")
    assert [text.split()[0] for text in rows.all_inner_texts()] == ["bus", "person", "road"]

    assert (pixels(studio.generate()) == pixels(first)).all(), "the same noise and layout give the same picture"
    page.get_by_label("Random").click()
    expect(studio.seed).to_be_disabled()
    other = studio.generate()
    assert (pixels(other) != pixels(first)).any()
    assert read_image(other).to_json()["seed"] == int(studio.seed.input_value()) != record["seed"], (
        "the seed used is shown"
    )
    page.get_by_label("Fixed").click()
    expect(studio.seed).to_be_enabled()

    studio.canvas.focus()
    studio.press("c")
    expect(page.locator("#pair .side.a.busy")).to_be_visible()
    studio.finished()
    studio.screenshot("compare")
    rows = page.locator("#pair tbody tr")
    expect(rows).to_have_count(2)
    for row in rows.all():
        easy, hard, drop = numbers(row)
        assert 0 <= easy <= 1
        assert 0 <= hard <= 1
        assert drop == pytest.approx(easy - hard, abs=0.011)
    pair = [read_image(studio.saved(place)) for place in ("#pair .caption.a", "#pair .caption.b")]
    assert [record.to_json()["seed"] for record in pair] == [int(studio.seed.input_value())] * 2
    assert [[str(box.attribute) for box in record.layout.boxes[:2]] for record in pair] == [["easy"] * 2, ["hard"] * 2]

    assert studio.layout() == drawn, "nothing that was generated touches what was drawn"


def test_boxes_can_be_hidden_and_a_run_cancelled(studio: Any) -> None:
    page = studio.page
    page.get_by_role("tab", name="Image").click()
    before, marks = studio.saved("#picture").read_bytes(), page.locator("#picture .mark")
    assert marks.count() > 0
    page.get_by_label("Boxes", exact=True).click()
    expect(marks.first).to_be_hidden()
    drawn = studio.layout()
    page.locator("#more > button").click()
    studio.set_number("#steps", 100)  # long enough to be seen
    page.keyboard.press("Escape")
    studio.canvas.focus()
    studio.press("Control+Enter")
    expect(page.locator("#picture .picture.busy img[src^='data:image/jpeg']")).to_be_visible()  # a preview
    studio.press("Shift+X")
    studio.message("cancelled")
    studio.finished()
    assert studio.saved("#picture").read_bytes() == before
    assert studio.layout() == drawn


def test_saved_picture_brings_everything_back(studio: Any) -> None:
    page = studio.page
    studio.clear()
    studio.draw("cat", 0.3, 0.3, 0.7, 0.8)
    studio.press("2", "b")
    studio.type("grass")
    studio.press("Enter")
    studio.seed.fill("4242")
    studio.canvas.focus()
    made, drawn = studio.generate(), studio.layout()

    studio.clear()
    assert studio.layout() != drawn
    page.get_by_label("Random").click()
    studio.drop("holiday.png", made.read_bytes())
    studio.message("restored layout")
    assert studio.layout() == drawn
    expect(studio.seed).to_have_value("4242")
    expect(page.get_by_label("Fixed")).to_be_checked()
    studio.canvas.focus()
    assert (pixels(studio.generate()) == pixels(made)).all()
    studio.press("Control+z")
    assert studio.layout() != drawn, "what was on the canvas before comes back by undo"


def test_a_reload_in_mid_generation_loses_nothing(studio: Any) -> None:
    page = studio.page
    studio.clear()
    studio.draw("cat", 0.3, 0.3, 0.7, 0.8)
    drawn = studio.layout()
    page.locator("#more > button").click()
    studio.set_number("#steps", 60)
    studio.canvas.focus()
    studio.press("Control+Enter")
    expect(page.locator("#picture .picture.busy img")).to_be_visible()
    page.reload()
    expect(page.locator("svg g.box")).to_have_count(1)
    assert studio.layout() == drawn
    studio.finished()
    studio.canvas.focus()
    layout, record = (kept := read_image(studio.generate())).layout, kept.to_json()
    assert (layout, record["steps"]) == (Layout.from_json(drawn), 2), "the run before does not stand in the way"


def test_two_tabs_at_once(visit: Callable[..., Page], address: str, studio: Any, person: Any) -> None:
    """Each has its own canvas, settings and run; a cancel in one leaves the other alone."""
    tabs = [studio, person(visit(address))]
    for tab, label, seed in zip(tabs, ("cat", "kite"), (11, 12), strict=True):
        tab.clear()
        tab.draw(label, 0.3, 0.3, 0.7, 0.8)
        tab.seed.fill(str(seed))
        tab.page.locator("#more > button").click()
        tab.set_number("#steps", 40)
        tab.canvas.focus()
    for tab in tabs:
        tab.press("Control+Enter")
    for tab in tabs:
        expect(tab.page.locator("#cancel")).to_be_visible()
    studio.press("Shift+X")
    studio.message("cancelled")
    tabs[1].finished()
    layout, record = (kept := read_image(tabs[1].saved("#picture"))).layout, kept.to_json()
    assert ([box.label for box in layout.boxes], record["seed"], record["steps"]) == (["kite"], 12, 40)
    assert [item["label"] for item in studio.layout()["objects"]] == ["cat"]


def test_settings_say_what_they_cost_and_are_used(studio: Any) -> None:
    page = studio.page
    page.get_by_role("tab", name="Settings").click()
    page.locator("#measure").click()
    rows = page.locator("#costs tbody tr")
    expect(rows).to_have_count(7)
    expect(page.locator("#costs")).not_to_contain_text("Measuring")
    expect(page.locator("#measure")).to_be_enabled()
    took = [float(text.split()[0].replace(",", "")) for text in rows.locator(".number").all_inner_texts()]
    assert len(took) == 7 and min(took) > 0
    studio.screenshot("settings")
    for choice in ("float32", "automatic"):
        page.locator("#settings-precision").get_by_label(choice).click()
        page.locator("#use-settings").click()
        studio.message("yolo11n checks")
    page.locator("#settings-detector input").click()
    page.get_by_role("option", name="judge").click()
    page.locator("#use-settings").click()
    studio.message("yolov8n checks")
    expect(page.locator("#header")).to_contain_text("yolov8n")
    page.get_by_role("tab", name="Studio", exact=True).click()
    page.locator("#more > button").click()
    studio.set_number("#steps", 9)
    page.locator("#sampler input").click()
    page.get_by_role("option", name="DDIM").click()
    studio.canvas.focus()
    record = read_image(studio.generate()).to_json()
    assert (record["detector"], record["sampler"], record["steps"]) == ("yolov8n", "ddim", 9)
    expect(page.locator("#spent")).to_contain_text(re.compile(r"1 image in [\d.]+ s · \d+ ms per step · [\d.]+ GB"))
    page.get_by_role("tab", name="Settings").click()
    page.locator("#settings-detector input").click()
    page.get_by_role("option", name="bundled").click()
    page.locator("#use-settings").click()
    studio.message("yolo11n checks")


def test_mistakes_get_a_message_and_cost_nothing(studio: Any) -> None:
    drawn = studio.layout()
    plain = io.BytesIO()
    Image.new("RGB", (64, 64)).save(plain, format="PNG")
    inverted = {"label": "car", "box": [0.5, 0.1, 0.1, 0.5]}
    crowd = [{"label": "car", "box": [0.1, 0.1, 0.5, 0.5]}] * 101
    for name, content, message in (
        ("broken.json", b'{"width": 256,', "not JSON"),
        ("photo.png", plain.getvalue(), "finds nothing in photo.png"),
        ("inverted.json", json.dumps({**drawn, "objects": [inverted]}).encode(), r"object 1 \(car\).*inverted"),
        ("unknown.json", json.dumps({**drawn, "objects": [{**inverted, "label": "carr"}]}).encode(), "object 1"),
        ("crowd.json", json.dumps({**drawn, "objects": crowd}).encode(), "101 objects; at most 100"),
    ):
        studio.open(name, content)
        studio.message(message)
        assert studio.layout() == drawn, name
    studio.open("unknown.json", json.dumps({**drawn, "objects": [{"label": "carr", "box": [0, 0, 1, 1]}]}).encode())
    studio.message("nearest first: car")

    studio.seed.fill("")
    studio.canvas.focus()
    studio.press("Control+Enter")
    studio.message("needs a seed")
    studio.finished()
    for seed in ("1.5", "-5", "99999999999999999999"):  # as it was typed, not as something near it
        studio.seed.fill(seed)
        studio.canvas.focus()
        studio.press("Control+Enter")
        studio.message("Not generated.*whole number from 0 to")
        studio.finished()
    studio.seed.fill("7")
    studio.clear()
    for key in ("Control+Enter", "c"):
        studio.press(key)
        studio.message("no objects")
        studio.finished()
    studio.screenshot("empty")
    for _ in drawn["objects"]:
        studio.press("Control+z")
    assert studio.layout() == drawn


def test_canvas_by_mouse_and_keys(studio: Any) -> None:
    studio.clear()

    def boxes() -> list[list[float]]:
        return [item["box"] for item in studio.layout()["objects"]]

    def near(*expected: tuple[float, float, float, float]) -> bool:
        found = boxes()
        return len(found) == len(expected) and bool(np.allclose(found, expected, atol=0.012))

    studio.draw("kite", 0.2, 0.2, 0.4, 0.5)
    studio.drag(0.3, 0.4, 0.4, 0.5)  # move
    assert near((0.3, 0.3, 0.5, 0.6))
    studio.drag(0.5, 0.6, 0.6, 0.7)  # resize by a corner
    assert near((0.3, 0.3, 0.6, 0.7))
    studio.press("Control+z", "Control+z")
    assert near((0.2, 0.2, 0.4, 0.5))
    studio.press("Control+Shift+Z", "Control+y")
    assert near((0.3, 0.3, 0.6, 0.7))
    studio.press("]", "Shift+ArrowLeft", "ArrowDown")
    assert near((0.3 - 10 / 256, 0.3 + 1 / 256, 0.6 - 10 / 256, 0.7 + 1 / 256))
    studio.press("Control+d", "Control+c", "Control+v", "3")
    labels = [(item["label"], item["attribute"]) for item in studio.layout()["objects"]]
    assert labels == [("kite", "easy"), ("kite", "easy"), ("kite", "background")]
    studio.press("h")
    expect(studio.canvas.locator("g.box")).to_have_count(2)
    studio.press("h")
    expect(studio.canvas.locator("g.box")).to_have_count(3)
    studio.page.locator("[data-tag=hard]").click()
    studio.press("[", "Delete", "[", "Delete")
    assert len(boxes()) == 1
    studio.press("n")
    studio.drag(0.35, 0.4, 0.55, 0.6)  # on top of the other: drawn, not moved
    studio.press("Escape")
    assert len(boxes()) == 2
    studio.canvas.focus()
    studio.press("?")
    expect(studio.page.locator(".editor .help")).to_be_visible()
    studio.screenshot("keys")
    studio.press("Escape")
    expect(studio.page.locator(".editor .help")).to_be_hidden()


def test_programs_may_ask_too(address: str) -> None:
    layout = {"width": 256, "height": 256, "objects": [{"label": "car", "box": [0.2, 0.4, 0.8, 0.7]}]}
    client = Client(address, verbose=False, httpx_kwargs={"timeout": 120})
    assert set(client.view_api(return_format="dict")["named_endpoints"]) == {"/generate", "/compare", "/classes"}
    record = client.predict(layout=layout, seed=3, steps=2, api_name="/generate")
    assert [item["attribute"] for item in record["objects"]] == ["easy"]
    assert set(client.predict(layout=layout, seed=3, steps=2, api_name="/compare")) == {"easy", "hard"}
    with pytest.raises(Exception, match="no objects"):
        client.predict(layout={**layout, "objects": []}, api_name="/generate")


def test_the_tour_and_the_dark(studio: Any) -> None:
    page = studio.page
    card, on = page.locator(".tour-card"), page.locator("[data-tour=on]")
    page.get_by_role("button", name="Tour").click()
    for name in ("Draw", "Tag", "Generate", "Compare"):
        expect(card.locator("h3")).to_contain_text(name)
        expect(page.locator(".toured")).to_have_count(1)
        box = card.bounding_box()
        assert box["x"] >= 0 and box["y"] >= 0 and box["x"] + box["width"] <= 1366 and box["y"] + box["height"] <= 768
        studio.screenshot(f"tour-{name.lower()}")
        on.press("Enter")
    expect(card).to_be_hidden()
    expect(page.locator(".toured")).to_have_count(0)
    page.get_by_role("button", name="Tour").click()
    studio.press("Escape")
    expect(card).to_be_hidden()

    page.get_by_role("button", name="Light or dark").click()
    expect(page.locator("body.dark")).to_be_visible()
    expect(page.locator("#new-seed")).to_have_css("background-color", "rgb(32, 31, 39)")
    studio.screenshot("dark")
    page.reload()
    expect(page.locator("body.dark.tour-seen")).to_be_visible()
    page.locator("#pair table").wait_for()
