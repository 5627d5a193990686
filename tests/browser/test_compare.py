"""The comparison in a real browser: modes, linked zoom, rows and boxes, sides."""

from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from detdiffusion.image_record import read_image


def scene(page: Page, side: str) -> list[float]:
    """Where the picture of a side lies in its frame: left, top, width as fractions of the frame."""
    place: list[float] = page.locator(f"#pair .side.{side} .frame").evaluate(
        """frame => {
            const [outer, inner] = [frame, frame.querySelector(".scene")].map((node) => node.getBoundingClientRect());
            const { width, height } = outer;
            return [(inner.left - outer.left) / width, (inner.top - outer.top) / height, inner.width / width];
        }"""
    )
    return place


def few_steps(studio: Any) -> None:
    studio.page.locator("#more > button").click()
    studio.set_number("#steps", 4)
    studio.press("Escape")


def choose(page: Page, place: str, option: str) -> None:
    page.locator(f"{place} input").click()
    page.get_by_role("option", name=option, exact=True).click()


def test_modes(studio: Any) -> None:
    page = studio.page
    first, second = page.locator("#pair .side.a .frame"), page.locator("#pair .side.b .frame")
    left, right = first.bounding_box(), second.bounding_box()
    assert left["x"] + left["width"] < right["x"], "side by side"
    assert abs(left["width"] - right["width"]) < 1

    page.locator("[data-mode=slider]").click()
    left, right = first.bounding_box(), second.bounding_box()
    assert left == right, "one over the other"
    page.locator("#pair .cutter").focus()
    page.keyboard.press("Home")
    expect(second).to_have_css("clip-path", "inset(0px 0px 0px 0%)")
    page.locator("#pair .cutter").fill("800")
    expect(second).to_have_css("clip-path", "inset(0px 0px 0px 80%)")
    studio.screenshot("compare-slider")

    page.locator("[data-mode=flicker]").click()
    expect(second).to_be_hidden()
    expect(first).to_be_visible()
    page.locator("#pair .pictures").focus()
    page.keyboard.press("f")
    expect(first).to_be_hidden()
    expect(second).to_be_visible()
    second.click()
    expect(first).to_be_visible()

    page.locator("[data-mode=difference]").click()
    expect(page.locator("#pair .side.b")).to_have_css("mix-blend-mode", "difference")
    expect(page.locator("#pair .mark").first).to_be_hidden()
    box = first.bounding_box()
    shown = page.screenshot(clip=box)
    (file := studio.saved("#pair .caption.a").with_name("difference.png")).write_bytes(shown)
    assert 5 < np.asarray(Image.open(file).convert("L")).mean() < 150, "black where nothing changed"
    studio.screenshot("compare-difference")


def test_both_are_zoomed_as_one(studio: Any) -> None:
    page = studio.page
    assert scene(page, "a") == scene(page, "b") == pytest.approx([0, 0, 1])
    page.locator("#pair tbody tr").first.click()
    assert scene(page, "a") == pytest.approx(scene(page, "b"), abs=0.01)
    assert scene(page, "a")[2] > 1.2
    page.locator("#pair .enlarged").click()
    assert scene(page, "b") == pytest.approx([0, 0, 1])

    box = page.locator("#pair .side.b .frame").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.keyboard.down("Control")
    page.mouse.wheel(0, -120)
    page.keyboard.up("Control")
    left, top, zoom = scene(page, "a")
    assert zoom > 1.2
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2 + 20, box["y"] + box["height"] / 2 + 10, steps=3)
    page.mouse.up()
    moved = scene(page, "a")
    assert (moved[0] - left, moved[1] - top) == pytest.approx((20 / box["width"], 10 / box["height"]), abs=0.01)
    page.keyboard.press("Escape")
    assert scene(page, "a") == pytest.approx([0, 0, 1])


def test_a_row_and_its_box_are_linked(studio: Any) -> None:
    page = studio.page
    layout = {box["label"]: box["box"] for box in studio.layout()["objects"]}
    drops = [float(text) for text in page.locator("#pair td.drop").all_inner_texts()]
    assert drops == sorted(drops, reverse=True)
    row = page.locator("#pair tbody tr").filter(has_text="car")
    row.hover()
    frame = page.locator("#pair .side.b .frame").bounding_box()
    spot = page.locator("#pair .side.b .spot").bounding_box()
    x1, y1, x2, y2 = layout["car"]
    wanted = (frame["x"] + x1 * frame["width"], frame["y"] + y1 * frame["height"], (x2 - x1) * frame["width"])
    assert (spot["x"], spot["y"], spot["width"]) == pytest.approx(wanted, abs=1.5)
    page.mouse.move(0, 0)
    expect(page.locator("#pair .spot:visible")).to_have_count(0)
    page.mouse.move(frame["x"] + (x1 + x2) / 2 * frame["width"], frame["y"] + (y1 + y2) / 2 * frame["height"])
    expect(page.locator("#pair tr.lit")).to_have_text(row.inner_text().replace("\n", "").replace("\t", ""))
    crops = row.locator(".crops i")
    expect(crops).to_have_count(2)
    addresses = [crops.nth(side).evaluate("node => getComputedStyle(node).backgroundImage") for side in (0, 1)]
    assert addresses[0] != addresses[1]
    assert all(".png" in address for address in addresses)


@pytest.mark.bundled
def test_sides_of_other_models_and_a_second_detector(studio: Any) -> None:
    page = studio.page
    few_steps(studio)
    page.locator("#sides > button").click()
    page.locator("#tags-b").get_by_label("Easy").check()
    choose(page, "#model-b", "papercut-geodiffusion (boxes)")
    choose(page, "#second-detector", "judge")
    studio.screenshot("compare-sides")
    page.keyboard.press("Escape")
    page.locator("#compare").click()
    expect(page.locator("#pair .caption.b")).to_contain_text("papercut-geodiffusion")
    studio.finished()
    expect(page.locator("#pair .eyes th.of")).to_have_count(2)
    records = [read_image(studio.saved(f"#pair .caption.{side}")).to_json() for side in "ab"]
    assert [record["model"] for record in records] == ["papercut", "papercut-geodiffusion"]
    assert len({record["seed"] for record in records}) == 1
    numbers = page.locator("#pair tbody tr").first.locator("td.number")
    expect(numbers).to_have_count(6)
    studio.screenshot("compare-models")

    page.locator("#sides > button").click()
    choose(page, "#model-b", "papercut (boxes, attributes)")
    page.keyboard.press("Escape")
    page.locator("#compare").click()
    studio.message("both sides ask for the same image")
    expect(page.locator("#pair .caption.b")).to_contain_text("papercut-geodiffusion")


@pytest.mark.long
def test_many_noises_run_while_one_looks(studio: Any) -> None:
    page = studio.page
    few_steps(studio)
    page.get_by_role("tab", name="Many noises").click()
    studio.set_number("#noises-count", 4)
    page.locator("#run-noises").click()
    expect(page.locator("#noises .meter")).to_be_visible()
    studio.draw("cat", 0.7, 0.05, 0.9, 0.25)
    assert studio.layout()["objects"][-1]["label"] == "cat", "one may draw meanwhile"
    expect(page.locator("#noises .numbers")).to_contain_text("4/4")
    expect(page.locator("#run-noises")).to_be_enabled()
    rows = page.locator("#noises tbody tr")
    expect(rows).to_have_count(4)
    assert rows.first.locator(".lane i").count() == 8
    studio.screenshot("many-noises")

    studio.set_number("#noises-count", 96)
    page.locator("#run-noises").click()
    expect(page.locator("#noises .numbers")).to_contain_text("/96")
    page.locator("#stop-noises").click()
    studio.message("cancelled")
    expect(page.locator("#run-noises")).to_be_enabled()
    expect(page.locator("#noises .numbers")).to_contain_text("/96")


def test_attribute_guidance_rises_while_one_looks(studio: Any) -> None:
    page = studio.page
    few_steps(studio)
    page.get_by_role("tab", name="Attribute guidance").click()
    page.locator("#run-attribute-guidance").click()
    expect(page.locator("#strip .meter")).to_be_visible()
    expect(page.locator("#run-attribute-guidance")).to_be_enabled()
    expect(page.locator("#strip figure img")).to_have_count(6)
    expect(page.locator("#attribute-guidance-curve tbody tr")).to_have_count(4)
    rows = page.locator("#attribute-guidance-curve tbody tr").all_inner_texts()
    means = [sum(float(row.split("\t")[column]) for row in rows) for column in (1, 6)]
    assert means[0] > means[1] + 0.3, "the detector is less and less sure"
    studio.screenshot("attribute-guidance")
    page.locator("#run-attribute-guidance").click()
    page.locator("#stop-attribute-guidance").click()
    studio.message("cancelled")
    expect(page.locator("#run-attribute-guidance")).to_be_enabled()


def test_what_waits_behind_another_run_can_be_stopped(studio: Any) -> None:
    """Its first news come at once, together with what shows the buttons."""
    page = studio.page
    page.get_by_role("tab", name="Many noises").click()
    page.locator("#run-noises").click()
    expect(page.locator("#noises .meter")).to_be_visible()
    studio.press("Control+Enter")
    expect(page.locator("#cancel")).to_be_visible()
    expect(page.locator("#picture figcaption")).to_contain_text("Waiting")
    page.get_by_role("tab", name="Attribute guidance").click()
    page.locator("#run-attribute-guidance").click()
    expect(page.locator("#strip")).to_contain_text("Waiting")
    expect(page.locator("#run-attribute-guidance")).to_be_disabled()
    page.locator("#stop-attribute-guidance").click()
    expect(page.locator("#run-attribute-guidance")).to_be_enabled()
    expect(page.locator("#cancel")).to_be_visible()  # of the image, which waits on
    page.locator("#cancel").click()
    studio.finished()
    page.get_by_role("tab", name="Many noises").click()
    page.locator("#stop-noises").click()
    expect(page.locator("#run-noises")).to_be_enabled()


def test_what_the_model_read_and_saw(studio: Any) -> None:
    page = studio.page
    page.get_by_role("tab", name="Inside").click()
    layers, rows = page.locator("#inside .layer"), page.locator("#inside tbody tr")
    expect(layers).to_have_count(7)
    bus = rows.filter(has_text="bus")
    assert int(bus.locator("td.number").inner_text().rstrip("%")) > 50, "its mask fills its box"
    expect(page.locator("#inside .tokens")).to_contain_text("<|startoftext|>animagewithbus")
    studio.screenshot("inside-masks")
    bus.hover()
    expect(page.locator("#inside .layer.lit")).to_have_count(1)
    expect(page.locator("#inside .tokens .lit")).to_have_count(4)
    expect(layers.nth(1)).to_have_css("opacity", "0")
    page.mouse.move(0, 0)
    expect(page.locator("#inside .lit")).to_have_count(0)

    page.locator("#insight").get_by_label("Attention").check()
    expect(page.locator("#inside .inside.heat")).to_be_visible()
    expect(page.locator("#inside .read")).to_contain_text("from its blueprint")
    rows.filter(has_text="bus").hover()
    expect(page.locator("#inside .layer.lit")).to_have_css("opacity", "1")
    studio.screenshot("inside-attention")


@pytest.mark.parametrize(
    ("number", "count", "name"),
    [
        pytest.param(1, 3, "papercut-controlnet", marks=pytest.mark.long),
        (2, 3, "Hard"),
        pytest.param(4, 8, "As tagged", marks=pytest.mark.long),
    ],
)
def test_a_figure_is_one_click(studio: Any, number: int, count: int, name: str) -> None:
    page = studio.page
    few_steps(studio)
    page.locator("#figures > button").click()
    page.locator(f"#figure-{number}").click()
    expect(page.locator(f"#figure-{number}")).to_be_hidden()
    panels = page.locator("#sheet figure")
    expect(panels).to_have_count(count)
    studio.finished()
    expect(panels.filter(has_text=name).first).to_be_visible()
    assert all(image.evaluate("image => image.naturalWidth") == 256 for image in panels.locator("img").all())
    studio.screenshot(f"figure-{number}")
