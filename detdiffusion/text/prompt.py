"""Layout -> prompt: the readable one of the paper, and token ids with the span of every object.

Ids are built from the structure, never by parsing text, in the paper's compact form (Fig. 3):
`An image with car <23> <44> [easy] person ...`. Our choice: the brackets and commas of the readable form (supplement
A.1) have no tokens, so that the 77 tokens of one encoder window hold more objects.

A caption (free words, our extension) stands before all that, in the first window.

A long prompt becomes several windows of the encoder's length. No object is split, none is left out, and one more object
changes nothing before it: each window is filled in order, and the encoder's attention is causal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from detdiffusion.core.devices import computing_device, send
from detdiffusion.errors import ConfigError, LayoutError
from detdiffusion.layout import Box, Layout
from detdiffusion.text.vocabulary import Vocabulary, new_words, word_ids

if TYPE_CHECKING:
    from transformers import CLIPTextModel, CLIPTokenizer

Word = TypeVar("Word", str, int)
FREE_TEXT_TOKENS = 10_000  # CLIP's tokenizer has 49,408, those of our small models some hundred


@dataclass(frozen=True, slots=True)
class Prompt:
    """Token ids of one layout.

    input_ids: [W, L] int64, W windows of the encoder's length L.
    attention_mask: [W * L] bool, False on padding, unless the model reads it.
    spans: (start, end) of each object, in the order of the layout, in the concatenated W * L sequence.
    """

    input_ids: np.ndarray
    attention_mask: np.ndarray
    spans: tuple[tuple[int, int], ...]


class TextCondition(NamedTuple):
    """What the U-Net and the perception head read, for B layouts of up to N objects.

    hidden: [B, S, D] the text encoder's output.
    mask: [B, S] bool, False on padding.
    objects: [B, N, D] mean of `hidden` over each object's own tokens; zeros where there is no object.
    object_mask: [B, N] bool.
    words: [B, N, S] which tokens are an object's own: weights that sum to 1, zeros where there is no object.
    """

    hidden: Tensor
    mask: Tensor
    objects: Tensor
    object_mask: Tensor
    words: Tensor

    def rows(self, chosen: Tensor | slice) -> TextCondition:
        """Some of the layouts."""
        return TextCondition(*(part[chosen] for part in self))

    def expand(self, batch: int) -> TextCondition:
        """One layout's condition for each of `batch` pictures."""
        return TextCondition(*(part.expand(batch, *part.shape[1:]) for part in self))


class PromptBatch(NamedTuple):
    """B prompts as the text encoder reads them: sum W windows of l tokens, cut to what the longest one uses.

    ids: [sum W, l] int64.
    attend: [sum W, l] bool, False on padding.
    padded: whether any of them is padding.
    counts: W of each prompt.
    words, object_mask: as in `TextCondition`.
    """

    ids: Tensor
    attend: Tensor
    padded: bool
    counts: tuple[int, ...]
    words: Tensor
    object_mask: Tensor


class _Words(NamedTuple):
    """Token ids of everything that a prompt can hold."""

    prefix: list[int]
    suffix: list[int]
    labels: list[list[int]]  # by class index
    locations: list[int]  # by bin; empty where prompts name classes alone
    attributes: list[int]  # by attribute index; empty where the model has none


@lru_cache(maxsize=8)
def _words(tokenizer: CLIPTokenizer, vocabulary: Vocabulary) -> _Words:
    def ids(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False)["input_ids"]) if text.strip() else []

    new = word_ids(tokenizer, new_words(vocabulary))
    before, _, after = vocabulary.template.partition("{objects}")
    return _Words(
        prefix=ids(before),
        suffix=ids(after),
        labels=[ids(word) for word in vocabulary.words],
        locations=new[len(vocabulary.attribute_words) :],
        attributes=new[: len(vocabulary.attribute_words)],
    )


def readable_prompt(layout: Layout, vocabulary: Vocabulary) -> str:
    """The prompt in the form of supplement A.1; without attributes where the model has none.

    >>> readable_prompt(layout, vocabulary)
    'An image with (car, <23><44>, [easy]), (road, <0><1023>, [background])'
    """
    objects = []
    for box in vocabulary.resolve(layout).boxes:
        where = "".join(vocabulary.location_word(index) for index in vocabulary.corner_indices(box))
        word = vocabulary.words[vocabulary.class_index(box.label)]
        said = [word, *([where] if where else []), *_said(box, vocabulary.attribute_words, vocabulary)]
        objects.append(f"({', '.join(said)})")
    return " ".join(filter(None, (layout.caption, vocabulary.template.format(objects=", ".join(objects)))))


def _said(box: Box, words: Sequence[Word], vocabulary: Vocabulary) -> Sequence[Word]:
    """The word (or its id) of a box's attribute; nothing where the model has no attributes."""
    assert box.attribute is not None  # resolved
    index = vocabulary.attribute_index(box.attribute)
    return words[index : index + 1]


def encode_prompt(layout: Layout, vocabulary: Vocabulary, tokenizer: CLIPTokenizer, max_length: int) -> Prompt:
    """Token ids of a layout, in windows of `max_length`, each `<start> An image with OBJECTS <end>` and padding; a
    caption stands before `An image with` in the first one.

    Raises:
        LayoutError: a class that the vocabulary lacks; a caption that is too long, or in words that the model lacks.
        CheckpointError: the tokenizer lacks location or attribute words.
        ConfigError: one object alone is longer than a window.
    """
    words = _words(tokenizer, vocabulary)
    most = max_length - 2 - len(words.suffix)  # tokens of a window
    windows = [_caption_ids(layout.caption, tokenizer, max_length) + words.prefix]
    spans = []
    for box in vocabulary.resolve(layout).boxes:
        ids = _object_ids(box, vocabulary, words)
        if len(words.prefix) + len(ids) > most:
            room = most - len(words.prefix)
            raise ConfigError(f"{box.label}: {len(ids)} tokens, but a window of {max_length} has room for {room}")
        if len(windows[-1]) + len(ids) > most:
            windows.append(list(words.prefix))
        first = (len(windows) - 1) * max_length + 1 + len(windows[-1])
        spans.append((first, first + len(ids)))
        windows[-1] += ids
    full = [window + words.suffix for window in windows]
    return _prompt(full, spans, tokenizer, max_length, padding=vocabulary.padding)


def knows_free_text(tokenizer: CLIPTokenizer) -> bool:
    """Whether it has words beyond the model's own, as CLIP's has; the small ones spell any other word in bytes."""
    return len(tokenizer) >= FREE_TEXT_TOKENS


def _caption_ids(caption: str, tokenizer: CLIPTokenizer, max_length: int) -> list[int]:
    if not caption:
        return []
    if not knows_free_text(tokenizer):
        raise LayoutError("this model knows the words of its classes alone: leave the caption out")
    ids = list(tokenizer(caption, add_special_tokens=False)["input_ids"])
    if len(ids) > max_length // 2:
        raise LayoutError(f"the caption has {len(ids)} tokens; at most {max_length // 2}, so that objects have room")
    return ids


@dataclass(frozen=True, slots=True)
class Token:
    """A token as the tokenizer writes it, and the object whose it is; None for words of the template."""

    text: str
    object: int | None


def prompt_tokens(
    layout: Layout, vocabulary: Vocabulary, tokenizer: CLIPTokenizer, max_length: int
) -> list[list[Token]]:
    """The prompt as the text encoder reads it, window by window, without padding. Raises as `encode_prompt` does."""
    prompt = encode_prompt(layout, vocabulary, tokenizer, max_length)
    owner = {place: number for number, span in enumerate(prompt.spans) for place in range(*span)}
    windows = []
    for row, ids in enumerate(prompt.input_ids.tolist()):
        used = ids.index(tokenizer.eos_token_id, 1) + 1
        texts = [str(text).removesuffix("</w>") for text in tokenizer.convert_ids_to_tokens(ids[:used])]
        windows.append([Token(text, owner.get(row * max_length + place)) for place, text in enumerate(texts)])
    return windows


def empty_prompt(tokenizer: CLIPTokenizer, max_length: int, *, padding: bool = False) -> Prompt:
    """The unconditional prompt: start and end only. `padding`: as `Vocabulary.padding`."""
    return _prompt([[]], [], tokenizer, max_length, padding=padding)


def _object_ids(box: Box, vocabulary: Vocabulary, words: _Words) -> list[int]:
    label = words.labels[vocabulary.class_index(box.label)]
    where = [words.locations[index] for index in vocabulary.corner_indices(box)] if words.locations else []
    return [*label, *where, *_said(box, words.attributes, vocabulary)]


def _prompt(
    windows: Sequence[list[int]],
    spans: Sequence[tuple[int, int]],
    tokenizer: CLIPTokenizer,
    max_length: int,
    *,
    padding: bool,
) -> Prompt:
    ids = np.full((len(windows), max_length), tokenizer.pad_token_id, dtype=np.int64)
    mask = np.full((len(windows), max_length), padding)
    for row, window in enumerate(windows):
        ids[row, : len(window) + 2] = [tokenizer.bos_token_id, *window, tokenizer.eos_token_id]
        mask[row, : len(window) + 2] = True
    return Prompt(ids, mask.reshape(-1), tuple(spans))


def prompt_batch(prompts: Sequence[Prompt], *, pad_to: int = 8) -> PromptBatch:
    """Prompts as tensors on the CPU.

    Columns that are padding in every window are cut, up to a multiple of `pad_to`: eight objects do not cost 77
    tokens. Masks hide the padding that stays, so a prompt's condition does not depend on its neighbours in the batch.

    Args:
        prompts: B prompts with windows of the same length.
        pad_to: the window length is rounded up to a multiple of this; the encoder's own length keeps every column.
    """
    masks = [prompt.attention_mask.reshape(prompt.input_ids.shape) for prompt in prompts]
    full = prompts[0].input_ids.shape[1]
    used = max(int(mask.sum(axis=1).max()) for mask in masks)
    length = min(full, -(-used // pad_to) * pad_to)
    ids = np.concatenate([prompt.input_ids[:, :length] for prompt in prompts])
    attend = np.concatenate([mask[:, :length] for mask in masks])
    counts = tuple(map(len, masks))
    pooling, object_mask = _pooling(prompts, full, length, max(counts) * length)
    ids_, attend_, words, mask = map(torch.from_numpy, (ids, attend, pooling, object_mask))
    return PromptBatch(ids_, attend_, not attend.all(), counts, words, mask)


def encode_batch(text_encoder: CLIPTextModel, batch: PromptBatch) -> TextCondition:
    """What the text encoder makes of prompts, on its device. Nothing here waits for an accelerator."""
    device = computing_device(text_encoder)
    ids, attend, words, object_mask = (
        send(part, device) for part in (batch.ids, batch.attend, batch.words, batch.object_mask)
    )
    seen = _attention_mask(text_encoder, attend, padded=batch.padded)
    encoded = text_encoder(input_ids=ids, attention_mask=seen).last_hidden_state  # [sum W, l, D]

    if len(set(batch.counts)) == 1:
        hidden = encoded.reshape(len(batch.counts), -1, encoded.shape[-1])  # [sum W, l, D] -> [B, S = W * l, D]
        mask = attend.reshape(len(batch.counts), -1)
    else:
        hidden = _padded(encoded, batch.counts)
        mask = _padded(attend, batch.counts)
    objects = words @ hidden.float()  # [B, N, S] x [B, S, D] -> [B, N, D]
    return TextCondition(hidden, mask, objects.to(hidden.dtype), object_mask, words)


def _attention_mask(text_encoder: CLIPTextModel, attend: Tensor, *, padded: bool) -> Tensor | None:
    """The mask that transformers would make of `attend`; made here, it need not ask the device for its values."""
    if text_encoder.config._attn_implementation != "sdpa":
        return attend
    if not padded:
        return None
    causal = torch.ones(attend.shape[1], attend.shape[1], dtype=torch.bool, device=attend.device).tril()
    return causal & attend[:, None, None, :]  # [sum W, 1, l, l]


def encode_phrases(text_encoder: CLIPTextModel, tokenizer: CLIPTokenizer, phrases: Sequence[str]) -> Tensor:
    """What the text encoder makes of whole phrases, each by itself: [P, D], its pooled output."""
    given = tokenizer(list(phrases), padding=True, return_tensors="pt").to(computing_device(text_encoder))
    pooled: Tensor = text_encoder(**given).pooler_output
    return pooled


def _padded(windows: Tensor, counts: Sequence[int]) -> Tensor:
    """[sum W, l, ...] -> [B, max W * l, ...]: each prompt's windows in one sequence, zeros behind the shorter ones."""
    parts = [part.flatten(0, 1) for part in windows.split(list(counts))]
    return torch.nn.utils.rnn.pad_sequence(parts, batch_first=True)


def _pooling(prompts: Sequence[Prompt], full: int, length: int, sequence: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights [B, N, S] that average each object's tokens, windows cut from `full` to `length`, and the mask [B, N]."""
    most = max(1, max(len(prompt.spans) for prompt in prompts))
    pooling = np.zeros((len(prompts), most, sequence), dtype=np.float32)
    mask = np.zeros((len(prompts), most), dtype=bool)
    for b, prompt in enumerate(prompts):
        mask[b, : len(prompt.spans)] = True
        for n, (start, end) in enumerate(prompt.spans):
            first = start // full * length + start % full
            pooling[b, n, first : first + end - start] = 1 / (end - start)
    return pooling, mask
