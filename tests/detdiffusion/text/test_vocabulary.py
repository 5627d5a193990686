"""Classes, location bins and attribute words, and how a tokenizer and a text encoder learn them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from detdiffusion.errors import CheckpointError, ConfigError, LayoutError
from detdiffusion.layout import Attribute, Box, Layout
from detdiffusion.text.vocabulary import (
    COCO_STUFF,
    COCO_THINGS,
    Vocabulary,
    extend_tokenizer,
    init_embeddings,
    location_embeddings,
    new_words,
    small_tokenizer,
    word_ids,
)

COCO = Vocabulary(COCO_THINGS, COCO_STUFF)
BOX = (0.1, 0.1, 0.9, 0.9)


def plain_clip_tokenizer() -> CLIPTokenizer:
    """CLIP's own kind of tokenizer, with letters and three words only: it knows nothing of layouts."""
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    merges = [("c", "a"), ("ca", "r</w>"), ("a", "n</w>")]
    tokens = [
        "<|startoftext|>",
        "<|endoftext|>",
        *letters,
        *(f"{letter}</w>" for letter in letters),
        "ca",
        "car</w>",
        "an</w>",
    ]
    return CLIPTokenizer(vocab={token: i for i, token in enumerate(tokens)}, merges=merges)


def test_coco_has_its_80_things_and_91_stuff() -> None:
    assert (len(set(COCO_THINGS)), len(set(COCO_STUFF))) == (80, 91)
    assert not set(COCO_THINGS) & set(COCO_STUFF)
    assert (COCO.class_index("person"), COCO.class_index("banner"), COCO.class_index("wood")) == (0, 80, 170)
    assert COCO.is_thing("toothbrush")
    assert not COCO.is_thing("banner")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"things": ()}, "needs class names"),
        ({"things": ("car", "car")}, "repeated: car"),
        ({"stuff": ("car",)}, "repeated: car"),
        ({"grid": (1, 8)}, "needs from 2 to 1024"),
        ({"location_format": "<loc>"}, "location_format"),
        ({"template": "An image"}, "template"),
        (
            {"attribute_words": ("[easy]", "[hard]")},
            "2 attribute_words and 0 spoken words: give 3 and 1 of them, or none",
        ),
        ({"spoken": ("auto", "wagon")}, "3 attribute_words and 2 spoken words"),
    ],
)
def test_a_vocabulary_is_checked_at_birth(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(Vocabulary(("car",)), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("grid", "point", "index"),
    [
        ((32, 32), (0, 0), 0),
        ((32, 32), (1, 0), 31),
        ((32, 32), (0, 1), 31 * 32),
        ((32, 32), (1, 1), 1023),
        ((32, 32), (0.5, 0.26), 8 * 32 + 16),
        ((256, 256), (0.2, 0.7), round(0.7 * 255) * 256 + round(0.2 * 255)),  # GeoDiffusion
        ((4, 2), (1, 1), 7),
    ],
)
def test_location_bins(grid: tuple[int, int], point: tuple[float, float], index: int) -> None:
    assert Vocabulary(("car",), grid=grid).location_index(*point) == index


def test_resolve_fills_in_attributes_and_keeps_given_ones() -> None:
    boxes = (Box("car", BOX), Box("car", BOX, Attribute.HARD), Box("road", BOX), Box("road", BOX, Attribute.EASY))
    layout = Vocabulary(("car",), ("road",)).resolve(Layout(64, 64, boxes))
    assert [box.attribute for box in layout.boxes] == ["easy", "hard", "background", "easy"]


@pytest.mark.parametrize(
    ("words", "seen"),
    [((), ["easy", "easy", "background", "background"]), (("e", "h", "b"), ["easy", "hard", "background", "easy"])],
)
def test_neutral_forgets_tags_that_the_model_cannot_say(words: tuple[str, ...], seen: list[str]) -> None:
    boxes = (Box("car", BOX), Box("car", BOX, Attribute.HARD), Box("road", BOX), Box("road", BOX, Attribute.EASY))
    shown = Vocabulary(("car",), ("road",), attribute_words=words).neutral(Layout(64, 64, boxes))
    assert [box.attribute for box in shown.boxes] == seen


def test_unknown_classes_are_all_named_with_the_nearest_known_first() -> None:
    layout = Layout(64, 64, (Box("traffic lights", BOX), Box("car", BOX), Box("Dog", BOX)))
    with pytest.raises(LayoutError) as caught:
        COCO.resolve(layout)
    first, second = caught.value.problems
    assert first.startswith("object 1: unknown class 'traffic lights'; known classes, nearest first: traffic light, ")
    assert second.startswith("object 3: unknown class 'Dog'; known classes, nearest first: dog, ")
    assert first.endswith(" more"), "not all of them"
    with pytest.raises(LayoutError, match=r"unknown class 'x{60}\.\.\.'; known"):
        COCO.class_index("x" * 300)
    with pytest.raises(LayoutError, match="nearest first: person"):
        COCO.class_index("persn")


def test_json_round_trip() -> None:
    vocabulary = Vocabulary(("car",), ("road",), (256, 256), "<l{}>", template="An image with {objects}.")
    assert Vocabulary.from_json(vocabulary.to_text()) == vocabulary
    assert Vocabulary.from_json(vocabulary.to_json()) == vocabulary


def test_a_vocabulary_without_attributes_and_with_spoken_words() -> None:
    plain, spoken = COCO.stuff.index("sky-other"), tuple(label.replace("-", " ") for label in COCO.labels)
    silent = replace(COCO, attribute_words=(), spoken=spoken)
    assert Vocabulary.from_json(silent.to_text()) == silent
    assert (COCO.words[80 + plain], silent.words[80 + plain]) == ("sky-other", "sky other")
    assert COCO.attributes_by_word == dict(zip(COCO.attribute_words, Attribute, strict=True))
    assert silent.attributes_by_word == {}
    assert new_words(silent) == [f"<{index}>" for index in range(1024)]
    old = {key: value for key, value in COCO.to_json().items() if key != "spoken"}  # files of before
    assert Vocabulary.from_json(old) == COCO


@pytest.mark.parametrize("text", ["", "[]", '{"stuff": ["road"]}', json.dumps({**COCO.to_json(), "colour": 1})])
def test_what_is_no_vocabulary_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="not a vocabulary"):
        Vocabulary.from_json(text)


def test_small_tokenizer_has_one_token_for_every_word() -> None:
    tokenizer = small_tokenizer(COCO)
    for label in COCO.labels:
        ids = tokenizer(label, add_special_tokens=False)["input_ids"]
        assert all(token.endswith("</w>") for token in tokenizer.convert_ids_to_tokens(ids)), label
        assert tokenizer.decode(ids).replace(" ", "") == label.replace(" ", "")
    ids = tokenizer("An image with car <23><44> [hard]")["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids[1:-1]) == [
        "an</w>", "image</w>", "with</w>", "car</w>", "<23>", "<44>", "[hard]"
    ]  # fmt: skip
    assert tokenizer.decode(tokenizer("xylophon é")["input_ids"], skip_special_tokens=True) == "xylophon é"
    assert tokenizer.eos_token_id != 2  # CLIPTextModel reads 2 as "a config of before 2023"


@pytest.mark.slow
@pytest.mark.long
def test_65536_location_words_are_added_quickly_and_survive_saving(tmp_path: Path) -> None:
    vocabulary = Vocabulary(("car",), grid=(256, 256), location_format="<l{}>")
    tokenizer = plain_clip_tokenizer()
    own = len(tokenizer)
    assert extend_tokenizer(tokenizer, vocabulary) == 65_536 + 3
    assert extend_tokenizer(tokenizer, vocabulary) == 0
    assert word_ids(tokenizer, new_words(vocabulary)) == list(range(own, own + 65_539))
    assert tokenizer("a car <l23><l65535> [hard]")["input_ids"][2:-1] == [
        *tokenizer("car", add_special_tokens=False)["input_ids"], own + 3 + 23, own + 3 + 65_535, own + 1
    ]  # fmt: skip
    tokenizer.save_pretrained(tmp_path)
    again = CLIPTokenizer.from_pretrained(tmp_path)
    assert word_ids(again, new_words(vocabulary)) == list(range(own, own + 65_539))


def test_missing_words_are_named() -> None:
    tokenizer = small_tokenizer(Vocabulary(("car",), grid=(4, 4)))
    wanted = Vocabulary(("car",), grid=(5, 4))
    with pytest.raises(CheckpointError, match=r"lacks 4 of the vocabulary's 23 .* \(<16>, <17>, <18>, <19>\)"):
        word_ids(tokenizer, new_words(wanted))


def test_location_rows_are_2d_sine_cosine() -> None:
    columns, rows, width = 5, 3, 16
    ours = location_embeddings((columns, rows), width).numpy()
    for index in (0, 4, 7, 14):
        expected = []
        for position in (index % columns, index // columns):  # first half x, second half y
            angles = [position / 10_000 ** (i / (width / 4)) for i in range(width // 4)]
            expected += [np.sin(a) for a in angles] + [np.cos(a) for a in angles]
        np.testing.assert_allclose(ours[index], expected, atol=1e-6)
    np.testing.assert_allclose(
        np.linalg.norm(location_embeddings((256, 256), 768), axis=1), 768**0.5 / 2**0.5, rtol=1e-5
    )
    with pytest.raises(ConfigError, match="4 divides, not 18"):
        location_embeddings((4, 4), 18)


@pytest.mark.parametrize("rescale", [True, False])
def test_new_embeddings_start_at_the_scale_of_the_old_ones(rescale: bool) -> None:
    vocabulary = Vocabulary(("car",), grid=(4, 4))
    tokenizer = plain_clip_tokenizer()
    own = len(tokenizer)
    encoder = CLIPTextModel(
        CLIPTextConfig(vocab_size=own, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=1)
    )
    before = encoder.get_input_embeddings().weight.detach().clone()
    extend_tokenizer(tokenizer, vocabulary)
    init_embeddings(encoder, tokenizer, vocabulary, rescale=rescale)
    rows = encoder.get_input_embeddings().weight.detach()
    assert rows.shape == (own + 3 + 16, 16)
    assert encoder.config.vocab_size == len(tokenizer)
    torch.testing.assert_close(rows[:own], before)
    expected = before.norm(dim=1).mean() if rescale else torch.tensor(8**0.5)
    torch.testing.assert_close(rows[own + 3 :].norm(dim=1), expected.expand(16))
    direction = location_embeddings((4, 4), 16)
    torch.testing.assert_close(
        torch.nn.functional.cosine_similarity(rows[own + 3 :], direction), torch.ones(16), atol=1e-5, rtol=0
    )
    hard = torch.tensor(tokenizer("hard", add_special_tokens=False)["input_ids"])
    torch.testing.assert_close(rows[own + 1], before[hard].mean(dim=0))
