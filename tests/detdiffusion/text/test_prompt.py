"""Layout -> prompt: exact words, exact tokens, windows that lose nothing, and conditions that padding cannot change."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch

from detdiffusion.diffusion.pipeline import DetDiffusionPipeline
from detdiffusion.errors import CheckpointError, ConfigError, LayoutError
from detdiffusion.layout import Attribute, Box, Layout
from detdiffusion.text import prompt as prompt_module
from detdiffusion.text.prompt import (
    Prompt,
    TextCondition,
    empty_prompt,
    encode_batch,
    encode_prompt,
    prompt_batch,
    prompt_tokens,
    readable_prompt,
)
from detdiffusion.text.vocabulary import Vocabulary

LayoutOf = Callable[..., Layout]


def layout(*boxes: Box) -> Layout:
    return Layout(64, 64, boxes)


CAR = Box("car", (0, 0, 0.5, 0.5))
LIGHT = Box("traffic light", (0.5, 0, 1, 1), Attribute.HARD)
ROAD = Box("road", (0, 0.5, 1, 1))


def tokens(pipe: DetDiffusionPipeline, prompt: Prompt) -> list[str]:
    ids = prompt.input_ids.reshape(-1)[prompt.attention_mask]
    return list(pipe.tokenizer.convert_ids_to_tokens(ids.tolist()))


def encode(pipe: DetDiffusionPipeline, value: Layout, max_length: int = 77) -> Prompt:
    return encode_prompt(value, pipe.vocabulary, pipe.tokenizer, max_length)


@torch.no_grad()
def condition(pipe: DetDiffusionPipeline, layouts: Sequence[Layout], pad_to: int = 8) -> TextCondition:
    return encode_batch(
        pipe.text_encoder.eval(), prompt_batch([encode(pipe, value) for value in layouts], pad_to=pad_to)
    )


def test_readable_prompt_is_the_papers(vocabulary: Vocabulary) -> None:
    assert readable_prompt(layout(CAR, LIGHT, ROAD), vocabulary) == (
        "An image with (car, <0><36>, [easy]), (traffic light, <4><63>, [hard]), (road, <32><63>, [background])"
    )


def test_a_prompt_without_attributes_says_classes_as_they_are_spoken() -> None:
    from detdiffusion.text.vocabulary import small_tokenizer

    words = {"attribute_words": (), "spoken": ("auto", "lamp", "road")}
    vocabulary = Vocabulary(("car", "traffic light"), ("road",), (8, 8), **words)  # type: ignore[arg-type]
    value, tokenizer = layout(CAR, LIGHT), small_tokenizer(vocabulary)
    assert readable_prompt(value, vocabulary) == "An image with (auto, <0><36>), (lamp, <4><63>)"
    prompt = encode_prompt(value, vocabulary, tokenizer, 77)
    said = tokenizer.convert_ids_to_tokens(prompt.input_ids.reshape(-1)[prompt.attention_mask].tolist())
    assert " ".join(said).replace("</w>", "") == (
        "<|startoftext|> an image with auto <0> <36> lamp <4> <63> <|endoftext|>"
    )
    assert prompt.spans == ((4, 7), (7, 10))


def test_a_caption_stands_before_the_objects(
    tiny_pipeline: DetDiffusionPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = layout(CAR, LIGHT)
    said = replace(plain, caption="road car")  # words that this small tokenizer has, too
    with pytest.raises(LayoutError, match="knows the words of its classes alone: leave the caption out"):
        encode(tiny_pipeline, said)
    monkeypatch.setattr(prompt_module, "FREE_TEXT_TOKENS", 0)
    assert readable_prompt(said, tiny_pipeline.vocabulary).startswith("road car An image with (car, ")
    without, within = encode(tiny_pipeline, plain), encode(tiny_pipeline, said)
    words = tokens(tiny_pipeline, within)
    assert words[:3] == ["<|startoftext|>", "road</w>", "car</w>"]
    assert [words[0], *words[3:]] == tokens(tiny_pipeline, without)
    assert within.spans == tuple((start + 2, end + 2) for start, end in without.spans)
    with pytest.raises(LayoutError, match="the caption has 40 tokens; at most 38"):
        encode(tiny_pipeline, replace(plain, caption=" ".join(["car"] * 40)))


def test_tokens_say_whose_they_are(tiny_pipeline: DetDiffusionPipeline) -> None:
    vocabulary, tokenizer = tiny_pipeline.vocabulary, tiny_pipeline.tokenizer
    (window,) = prompt_tokens(layout(CAR, LIGHT), vocabulary, tokenizer, 77)
    assert [token.text for token in window if token.object == 1] == ["traffic", "light", "<4>", "<63>", "[hard]"]
    assert [token.text for token in window if token.object is None] == [
        "<|startoftext|>",
        "an",
        "image",
        "with",
        "<|endoftext|>",
    ]
    first, second = prompt_tokens(layout(*[CAR] * 4), vocabulary, tokenizer, 20)
    assert [{token.object for token in part} - {None} for part in (first, second)] == [{0, 1, 2}, {3}]


def test_tokens_and_spans_are_exact(tiny_pipeline: DetDiffusionPipeline) -> None:
    prompt = encode(tiny_pipeline, layout(CAR, LIGHT, ROAD))
    assert " ".join(tokens(tiny_pipeline, prompt)).replace("</w>", "") == (
        "<|startoftext|> an image with car <0> <36> [easy] traffic light <4> <63> [hard] "
        "road <32> <63> [background] <|endoftext|>"
    )
    assert prompt.input_ids.shape == (1, 77)
    assert prompt.spans == ((4, 8), (8, 13), (13, 17))


def test_a_template_may_end_in_words() -> None:
    from detdiffusion.text.vocabulary import small_tokenizer

    vocabulary = Vocabulary(("car",), ("road",), (8, 8), template="A {objects} scene")
    prompt = encode_prompt(layout(CAR, ROAD), vocabulary, small_tokenizer(vocabulary), 10)
    assert prompt.input_ids.shape == (2, 10)  # each window is a prompt of its own
    assert prompt.spans == ((2, 6), (12, 16))
    assert prompt.attention_mask.tolist() == [*[True] * 8, False, False] * 2


@pytest.mark.parametrize("count", [1, 14, 40, 100])
def test_nothing_is_cut_and_no_object_is_split(
    tiny_pipeline: DetDiffusionPipeline, layout_of: LayoutOf, count: int
) -> None:
    value = layout_of(count)
    prompt = encode(tiny_pipeline, value)
    windows, length = prompt.input_ids.shape
    assert (length, len(prompt.spans)) == (77, count)
    assert windows == {1: 1, 14: 1, 40: 3, 100: 7}[count]
    flat = prompt.input_ids.reshape(-1).tolist()
    for (start, end), box in zip(prompt.spans, value.boxes, strict=True):
        assert start // 77 == (end - 1) // 77
        alone = encode(tiny_pipeline, layout(box))
        assert flat[start:end] == alone.input_ids[0, slice(*alone.spans[0])].tolist()
    others = windows * 5  # start, three words of the template, end
    assert prompt.attention_mask.sum() == others + sum(end - start for start, end in prompt.spans)


@pytest.mark.parametrize("count", [1, 14, 17, 39, 99])
def test_one_object_more_changes_only_what_is_after_it(
    tiny_pipeline: DetDiffusionPipeline, layout_of: LayoutOf, count: int
) -> None:
    before, after = encode(tiny_pipeline, layout_of(count)), encode(tiny_pipeline, layout_of(count + 1))
    assert after.spans[:count] == before.spans
    end = before.spans[-1][1]
    assert (after.input_ids.reshape(-1)[:end] == before.input_ids.reshape(-1)[:end]).all()
    full = len(before.input_ids) - 1
    assert (after.input_ids[:full] == before.input_ids[:full]).all()
    one, two = (condition(tiny_pipeline, [layout_of(n)]) for n in (count, count + 1))
    torch.testing.assert_close(two.objects[:, :count], one.objects, atol=1e-5, rtol=0)  # causal attention: felt by none


@pytest.mark.parametrize("pad_to", [1, 8, 77])
def test_a_prompt_is_encoded_alike_whatever_its_neighbours(
    tiny_pipeline: DetDiffusionPipeline, layout_of: LayoutOf, pad_to: int
) -> None:
    layouts = [layout_of(n) for n in (1, 14, 40, 3)]
    together = condition(tiny_pipeline, layouts, pad_to)
    assert together.objects.shape[:2] == (4, 40)
    assert together.object_mask.sum(dim=1).tolist() == [1, 14, 40, 3]
    latents = torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    raw = tiny_pipeline.draw_layouts(layouts, (8, 8))
    assert raw is not None
    t = torch.tensor(500)
    with torch.no_grad():
        batch = tiny_pipeline.denoise(latents, t, together, raw)
        for row, value in enumerate(layouts):
            alone = condition(tiny_pipeline, [value])
            own = together.hidden[row][together.mask[row]]
            torch.testing.assert_close(own, alone.hidden[0][alone.mask[0]], atol=1e-4, rtol=0)
            count = len(value.boxes)
            torch.testing.assert_close(together.objects[row, :count], alone.objects[0], atol=1e-4, rtol=0)
            single = tiny_pipeline.denoise(latents[[row]], t, alone, raw[[row]])
            torch.testing.assert_close(batch[row], single[0], atol=1e-4, rtol=0)


def test_a_model_that_reads_padding_reads_all_of_it(tiny_pipeline: DetDiffusionPipeline, layout_of: LayoutOf) -> None:
    """Every window as the text encoder gives it for whole padded windows; only a window that is not there is hidden."""
    pipe, reads = tiny_pipeline, replace(tiny_pipeline.vocabulary, padding=True)
    short, long = (encode_prompt(layout_of(n), reads, pipe.tokenizer, 77) for n in (3, 20))
    prompts = [empty_prompt(pipe.tokenizer, 77, padding=True), short, long]
    windows = [len(prompt.input_ids) for prompt in prompts]
    assert windows == [1, 1, 2]
    with torch.no_grad():
        encoded = encode_batch(pipe.text_encoder.eval(), prompt_batch(prompts))
        whole = pipe.text_encoder(input_ids=torch.from_numpy(short.input_ids)).last_hidden_state
    torch.testing.assert_close(encoded.hidden[1, :77], whole[0])
    assert encoded.mask.sum(dim=1).tolist() == [77, 77, 154]
    assert encode(pipe, layout_of(3)).spans == short.spans


def test_windows_are_cut_to_the_longest_of_the_batch(tiny_pipeline: DetDiffusionPipeline, layout_of: LayoutOf) -> None:
    assert condition(tiny_pipeline, [layout_of(1), layout_of(8)]).hidden.shape[1] == 40  # 39 tokens, rounded up to 8
    assert condition(tiny_pipeline, [layout_of(8)], pad_to=77).hidden.shape[1] == 77


def test_an_objects_embedding_is_the_mean_of_its_own_tokens(
    tiny_pipeline: DetDiffusionPipeline, layout_of: LayoutOf
) -> None:
    value = layout_of(40)
    whole = condition(tiny_pipeline, [value], pad_to=77)  # nothing is cut: spans count the full sequence
    for n, (start, end) in enumerate(encode(tiny_pipeline, value).spans):
        torch.testing.assert_close(whole.objects[0, n], whole.hidden[0, start:end].mean(dim=0), atol=1e-5, rtol=0)


def test_the_empty_prompt_has_no_objects(tiny_pipeline: DetDiffusionPipeline) -> None:
    prompt = empty_prompt(tiny_pipeline.tokenizer, 77)
    assert tokens(tiny_pipeline, prompt) == ["<|startoftext|>", "<|endoftext|>"]
    with torch.no_grad():
        encoded = encode_batch(tiny_pipeline.text_encoder, prompt_batch([prompt]))
    assert encoded.hidden.shape[:2] == (1, 8)
    assert encoded.mask.tolist() == [[True, True, *[False] * 6]]
    assert not encoded.object_mask.any()
    assert encoded.objects.abs().sum() == 0


def test_what_cannot_be_encoded_is_refused(tiny_pipeline: DetDiffusionPipeline) -> None:
    with pytest.raises(ConfigError, match="traffic light: 5 tokens, but a window of 9 has room for 4"):
        encode(tiny_pipeline, layout(LIGHT), max_length=9)
    with pytest.raises(LayoutError, match="unknown class 'cars'"):
        encode(tiny_pipeline, layout(Box("cars", CAR.xyxy)))
    finer = Vocabulary(("car", "traffic light"), ("road",), (9, 9))
    with pytest.raises(CheckpointError, match="lacks 17 of the vocabulary's 84"):
        encode_prompt(layout(CAR), finer, tiny_pipeline.tokenizer, 77)
