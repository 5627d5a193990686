"""What is asked of a model: the views of a plan, and which object is the hard one."""

from collections import Counter
from typing import Any, cast

import pytest

from detdiffusion.attributes import Strategy
from detdiffusion.errors import ConfigError
from detdiffusion.layout import Attribute, Box, Layout
from detdiffusion.sampling_config import SamplingConfig
from training.evaluation.variants import ONE_HARD, Variant, draw, tagged_object, variants_of

EASY, HARD, BACKGROUND = Attribute.EASY, Attribute.HARD, Attribute.BACKGROUND


def layout(*attributes: Attribute) -> Layout:
    return Layout(8, 8, tuple(Box("car", (0, 0, 1, 1), attribute) for attribute in attributes))


def attributes(layout: Layout) -> list[Attribute | None]:
    return [box.attribute for box in layout.boxes]


@pytest.mark.parametrize(
    ("strategies", "strengths", "one_hard", "words", "names"),
    [
        (["origin", "hard"], [], False, True, ["origin", "hard"]),
        (
            ["easy"],
            [1.0, 1.5, -2.0],
            True,
            True,
            ["easy", "attribute guidance 1", "attribute guidance 1.5", "attribute guidance -2", "one-hard"],
        ),
        (["origin"], [2.0, 2.0], False, True, ["origin", "attribute guidance 2"]),
        (["easy", "hard"], [1.0], True, False, ["origin"]),
    ],
)
def test_views(strategies: list[str], strengths: list[float], one_hard: bool, words: bool, names: list[str]) -> None:
    asked = variants_of([Strategy(name) for name in strategies], strengths, one_hard=one_hard, attributes=words)
    assert [view.name for view in asked] == names


def test_one_hard_needs_easy() -> None:
    with pytest.raises(ConfigError, match="add easy to --strategies"):
        variants_of([Strategy.ORIGIN], [], one_hard=True, attributes=True)


def test_names() -> None:
    view = Variant("origin", 1.5)
    assert (view.name, view.slug, Variant(ONE_HARD).slug) == ("attribute guidance 1.5", "difficulty-1.5", "one-hard")


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        (Variant("origin"), [HARD, BACKGROUND, EASY]),
        (Variant("origin", 2.0), [HARD, BACKGROUND, EASY]),
        (Variant("easy"), [EASY, BACKGROUND, EASY]),
        (Variant("hard"), [HARD, BACKGROUND, HARD]),
    ],
)
def test_what_is_asked(view: Variant, expected: list[Attribute]) -> None:
    assert attributes(view.asked(0, layout(HARD, BACKGROUND, EASY))) == expected


def test_one_object_is_hard() -> None:
    given = layout(HARD, BACKGROUND, EASY, HARD)
    chosen = Counter(tagged_object(place, given) for place in range(300))
    assert set(chosen) == {0, 2, 3} and min(chosen.values()) > 60
    for place in range(5):
        asked = attributes(Variant(ONE_HARD).asked(place, given))
        assert [i for i, attribute in enumerate(asked) if attribute is HARD] == [tagged_object(place, given)]
        assert asked[1] is BACKGROUND


def test_without_things_nothing_is_hard() -> None:
    given = layout(BACKGROUND)
    assert tagged_object(0, given) is None
    assert attributes(Variant(ONE_HARD).asked(0, given)) == [BACKGROUND]


@pytest.mark.parametrize(
    ("view", "sampler", "more"),
    [
        (Variant("origin"), "", {}),
        (Variant("origin", 1.5), "", {"attribute_guidance": 1.5}),
        (Variant("hard"), "euler", {"sampler": "euler"}),
    ],
)
def test_how_images_are_made_is_passed_on(view: Variant, sampler: str, more: dict[str, Any]) -> None:
    calls: list[dict[str, Any]] = []

    class Pipe:
        images = ("picture",)

        def __call__(self, layouts: list[Layout], **words: Any) -> "Pipe":
            calls.append(words)
            return self

    images = draw(cast(Any, Pipe()), view, [layout(EASY)], [7], SamplingConfig(0, 4, 3.0, sampler=sampler))
    assert calls == [{"seeds": [7], "steps": 4, "guidance_scale": 3.0, **more}]
    assert len(images) == 1
