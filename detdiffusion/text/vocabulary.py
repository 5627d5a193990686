"""What a model can say: class names, location bins and attribute words, and how a CLIP tokenizer learns them.

Sources: DetDiffusion, supplement A.1 (prompt); GeoDiffusion, section 3 (location tokens and their sine-cosine start).
"""

from __future__ import annotations

import difflib
import json
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from detdiffusion import bounds
from detdiffusion.core.files import one_line
from detdiffusion.errors import CheckpointError, ConfigError, LayoutError, quoted
from detdiffusion.layout import Attribute, Box, Layout

if TYPE_CHECKING:
    import torch
    from transformers import CLIPTextModel, CLIPTokenizer

ATTRIBUTES: tuple[Attribute, ...] = (Attribute.EASY, Attribute.HARD, Attribute.BACKGROUND)
VOCABULARY_FILE = "vocabulary.json"
NAMED = 8  # known classes, where one is unknown
MAX_GRID = 1024  # columns or rows of location words

# fmt: off
COCO_THINGS: tuple[str, ...] = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow", "elephant",
    "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard",
    "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange", "broccoli",
    "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed", "dining table", "toilet",
    "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink",
    "refrigerator", "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
)
COCO_STUFF: tuple[str, ...] = (
    "banner", "blanket", "branch", "bridge", "building-other", "bush", "cabinet", "cage", "cardboard", "carpet",
    "ceiling-other", "ceiling-tile", "cloth", "clothes", "clouds", "counter", "cupboard", "curtain", "desk-stuff",
    "dirt", "door-stuff", "fence", "floor-marble", "floor-other", "floor-stone", "floor-tile", "floor-wood", "flower",
    "fog", "food-other", "fruit", "furniture-other", "grass", "gravel", "ground-other", "hill", "house", "leaves",
    "light", "mat", "metal", "mirror-stuff", "moss", "mountain", "mud", "napkin", "net", "paper", "pavement", "pillow",
    "plant-other", "plastic", "platform", "playingfield", "railing", "railroad", "river", "road", "rock", "roof",
    "rug", "salad", "sand", "sea", "shelf", "sky-other", "skyscraper", "snow", "solid-other", "stairs", "stone",
    "straw", "structural-other", "table", "tent", "textile-other", "towel", "tree", "vegetable", "wall-brick",
    "wall-concrete", "wall-other", "wall-panel", "wall-stone", "wall-tile", "wall-wood", "water-other", "waterdrops",
    "window-blind", "window-other", "wood",
)
# fmt: on

_COLOUR = re.compile(r"#[0-9a-f]{6}")


@dataclass(frozen=True)
class Vocabulary:
    """Words of one model. `things` can be easy or hard; `stuff` is background unless a layout says otherwise.

    Raises:
        ConfigError: a class is named twice, the grid has fewer than two bins a side, a format has no place to fill, or
            there are words for some attributes or some classes only.
    """

    things: tuple[str, ...]
    stuff: tuple[str, ...] = ()
    grid: tuple[int, int] = (32, 32)  # (columns, rows) of location bins; GeoDiffusion: (256, 256)
    location_format: str = "<{}>"  # GeoDiffusion: "<l{}>"; empty: prompts name classes alone (ControlNet)
    attribute_words: tuple[str, ...] = ("[easy]", "[hard]", "[background]")  # or none: GeoDiffusion has no attributes
    template: str = "An image with {objects}"
    spoken: tuple[str, ...] = ()  # how a prompt says each of `labels` ("sky other" for "sky-other"); none: as they are
    padding: bool = False  # the model reads the padding of a prompt too, as Stable Diffusion has learned to
    colours: tuple[str, ...] = ()  # "#rrggbb" of each of `labels` in a published ControlNet's images; none: our own
    _index: dict[str, int] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        _check_kinds(self)
        repeated = [label for label, count in Counter(self.labels).items() if count > 1]
        if repeated or not self.labels:
            raise ConfigError(f"a vocabulary needs class names, each once; repeated: {', '.join(repeated) or 'none'}")
        if not 2 <= min(self.grid) <= max(self.grid) <= MAX_GRID:
            raise ConfigError(f"location grid {self.grid} needs from 2 to {MAX_GRID} columns and rows")
        bare = (self.location_format.replace("{}", "", 1), self.template.replace("{objects}", "", 1))
        without = self.location_format and "{}" not in self.location_format
        if without or "{objects}" not in self.template or any(brace in text for text in bare for brace in "{}"):
            raise ConfigError("location_format needs '{}' (or to be empty), and template needs '{objects}' once")
        if len(self.attribute_words) not in (0, len(ATTRIBUTES)) or len(self.spoken) not in (0, len(self.labels)):
            raise ConfigError(
                f"{len(self.attribute_words)} attribute_words and {len(self.spoken)} spoken words: give "
                f"{len(ATTRIBUTES)} and {len(self.labels)} of them, or none"
            )
        if len(self.colours) not in (0, len(self.labels)) or not all(map(_COLOUR.fullmatch, self.colours)):
            raise ConfigError(
                f"colours needs to be one '#rrggbb' for each of {len(self.labels)} classes, or none; "
                f"there are {len(self.colours)}: {quoted(list(self.colours))}"
            )
        self._index.update({label: i for i, label in enumerate(self.labels)})

    @property
    def labels(self) -> tuple[str, ...]:
        """All class names, things first: the order of `class_index`."""
        return self.things + self.stuff

    @property
    def words(self) -> tuple[str, ...]:
        """What a prompt says for each of `labels`, in that order."""
        return self.spoken or self.labels

    @property
    def locations(self) -> int:
        """Number of location words: the bins of the grid, or none."""
        return self.grid[0] * self.grid[1] if self.location_format else 0

    def class_index(self, label: str) -> int:
        """Index of a class in `labels`; LayoutError with the nearest known classes where there is none."""
        try:
            return self._index[label]
        except KeyError:
            raise LayoutError(self._unknown(label)) from None

    def is_thing(self, label: str) -> bool:
        """Whether a class is of things, not stuff. LayoutError for an unknown one."""
        return self.class_index(label) < len(self.things)

    def attribute_index(self, attribute: Attribute) -> int:
        """An attribute's place in the fixed order of all of them."""
        return ATTRIBUTES.index(attribute)

    @property
    def attributes_by_word(self) -> dict[str, Attribute]:
        """The attributes that a prompt can say; empty for a model without them."""
        return dict(zip(self.attribute_words, ATTRIBUTES, strict=False))

    def location_index(self, x: float, y: float) -> int:
        """Bin of a point given in fractions, row by row (GeoDiffusion, Eq. 1)."""
        columns, rows = self.grid
        return round(y * (rows - 1)) * columns + round(x * (columns - 1))

    def corner_indices(self, box: Box) -> tuple[int, int]:
        """Bins of the upper-left and lower-right corners."""
        x1, y1, x2, y2 = box.xyxy
        return self.location_index(x1, y1), self.location_index(x2, y2)

    def location_word(self, index: int) -> str:
        """The word for a cell of the grid."""
        return self.location_format.format(index)

    def resolve(self, layout: Layout) -> Layout:
        """The layout with known classes only and an attribute on every object.

        An object without an attribute gets the default one of its class.

        Raises:
            LayoutError: one problem for each object of an unknown class, nearest known classes first.
        """
        unknown = [(i, box) for i, box in enumerate(layout.boxes) if box.label not in self._index]
        if unknown:
            raise LayoutError([f"object {i + 1}: {self._unknown(box.label)}" for i, box in unknown])
        if all(box.attribute is not None for box in layout.boxes):
            return layout
        return layout.with_attributes([box.attribute or self.default_attribute(box.label) for box in layout.boxes])

    def neutral(self, layout: Layout) -> Layout:
        """What the model is shown of a layout: without words for attributes, every object as its class is by default.

        Raises:
            LayoutError: as `resolve`.
        """
        resolved = self.resolve(layout)
        if self.attribute_words:
            return resolved
        return resolved.with_attributes([self.default_attribute(box.label) for box in resolved.boxes])

    def default_attribute(self, label: str) -> Attribute:
        """Of an object that has none: easy for things, background for stuff."""
        return Attribute.EASY if self.is_thing(label) else Attribute.BACKGROUND

    def _unknown(self, label: str) -> str:
        nearest = difflib.get_close_matches(label.lower(), self.labels, n=len(self.labels), cutoff=0.0)
        rest = f" and {len(nearest) - NAMED} more" if len(nearest) > NAMED else ""
        return f"unknown class {quoted(label)}; known classes, nearest first: {', '.join(nearest[:NAMED])}{rest}"

    def to_text(self) -> str:
        """The text of a vocabulary.json."""
        return json.dumps(self.to_json(), indent=1) + "\n"

    def to_json(self) -> dict[str, Any]:
        """The public fields; `from_json` is its inverse."""
        values = {name: value for name, value in asdict(self).items() if not name.startswith("_")}
        if not self.colours:  # as files of models without them have always been
            del values["colours"]
        return values

    @classmethod
    def from_json(cls, data: str | bytes | Mapping[str, Any]) -> Vocabulary:
        """Inverse of `to_json`; also takes the text of a vocabulary.json. ConfigError on anything else."""
        try:
            values = dict(data if isinstance(data, Mapping) else json.loads(data))
            fields: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
            return cls(**fields)
        except (TypeError, ValueError, RecursionError) as error:
            raise ConfigError(f"this is not a vocabulary: {one_line(error)}") from error


def _check_kinds(vocabulary: Vocabulary) -> None:
    """ConfigError where a field holds something else than it says; files are read into it as they are."""
    names = (vocabulary.things, vocabulary.stuff, vocabulary.attribute_words, vocabulary.spoken, vocabulary.colours)
    words = [word for part in names if isinstance(part, tuple) for word in part]
    texts = (*words, vocabulary.location_format, vocabulary.template)
    if not all(isinstance(part, tuple) for part in names) or not all(map(_is_word, texts)):
        raise ConfigError(f"a vocabulary's words need to be lists of text of at most {bounds.CLASS_NAME} characters")
    if len(words) > 5 * bounds.CLASSES:
        raise ConfigError(f"a vocabulary of {len(words):,} words; at most {bounds.CLASSES:,} classes are possible")
    grid = vocabulary.grid
    if not isinstance(grid, tuple) or len(grid) != 2 or not all(type(side) is int for side in grid):
        raise ConfigError(f"location grid {quoted(grid)} needs to be two whole numbers: columns, rows")
    if not isinstance(vocabulary.padding, bool):
        raise ConfigError(f"padding {quoted(vocabulary.padding)} needs to be true or false")


def _is_word(text: object) -> bool:
    return isinstance(text, str) and len(text) <= bounds.CLASS_NAME


def new_words(vocabulary: Vocabulary) -> list[str]:
    """The words that must each be one token: attributes, then location bins in order."""
    return [*vocabulary.attribute_words, *(vocabulary.location_word(i) for i in range(vocabulary.locations))]


def extend_tokenizer(tokenizer: CLIPTokenizer, vocabulary: Vocabulary) -> int:
    """Adds the attribute and location words that the tokenizer lacks, in one call; returns how many were added."""
    from tokenizers import AddedToken

    # Not normalised: the words are matched as written, and 65,536 of them build one search tree instead of two.
    known = tokenizer.get_added_vocab()
    missing = [AddedToken(word, normalized=False) for word in new_words(vocabulary) if word not in known]
    return int(tokenizer.add_tokens(missing)) if missing else 0


def missing_words(known: Collection[str], words: Sequence[str]) -> list[str]:
    """The problem that a tokenizer lacks some of these words, as a list of one message or none."""
    missing = [word for word in words if word not in known]
    if not missing:
        return []
    shown = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
    return [
        f"the tokenizer lacks {len(missing)} of the vocabulary's {len(words)} location and attribute words ({shown}): "
        f"the model was trained with another location grid or format; use its own {VOCABULARY_FILE}"
    ]


def word_ids(tokenizer: CLIPTokenizer, words: Sequence[str]) -> list[int]:
    """Token ids of words that must be in the tokenizer as they are.

    Raises:
        CheckpointError: naming the missing ones.
    """
    known = tokenizer.get_vocab()
    problems = missing_words(known, words)
    if problems:
        raise CheckpointError(problems[0])
    return [known[word] for word in words]


def location_embeddings(grid: tuple[int, int], width: int, temperature: float = 10_000.0) -> torch.Tensor:
    """2-D sine-cosine rows of every location bin, [rows * columns, width]; first half x, second half y.

    Args:
        grid: (columns, rows).
        width: channels; a multiple of 4.
        temperature: longest wavelength is 2 pi * temperature bins. GeoDiffusion: 10,000.
    """
    import torch

    if width % 4:
        raise ConfigError(f"sine-cosine locations need a text width that 4 divides, not {width}")
    columns, rows = grid
    frequency = temperature ** -(torch.arange(width // 4, dtype=torch.float64) / (width // 4))  # [D/4]

    def axis(bins: int) -> torch.Tensor:
        angle = torch.arange(bins, dtype=torch.float64)[:, None] * frequency  # [bins, D/4]
        return torch.cat([angle.sin(), angle.cos()], dim=1)  # [bins, D/2]

    x = axis(columns).expand(rows, columns, width // 2)
    y = axis(rows)[:, None].expand(rows, columns, width // 2)
    return torch.cat([x, y], dim=-1).reshape(rows * columns, width).float()


def init_embeddings(
    text_encoder: CLIPTextModel,
    tokenizer: CLIPTokenizer,
    vocabulary: Vocabulary,
    *,
    rescale: bool = True,
    temperature: float = 10_000.0,
) -> None:
    """Gives the text encoder a row for every token and starts those of locations and attributes. In place.

    Locations start as `location_embeddings`. Our choice: `rescale` brings them to the mean norm of the encoder's own
    rows (GeoDiffusion starts them at norm 19.6 where CLIP's have 0.4). Our choice: an attribute starts as the mean of
    its plain word's rows ("[hard]" as "hard").
    """
    import torch

    new = word_ids(tokenizer, new_words(vocabulary))
    attributes, locations = new[: len(vocabulary.attribute_words)], new[len(vocabulary.attribute_words) :]
    rows_before = text_encoder.get_input_embeddings().num_embeddings
    own = torch.tensor(sorted(set(range(min(rows_before, len(tokenizer)))) - set(new)))
    text_encoder.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    rows = text_encoder.get_input_embeddings().weight
    with torch.no_grad():
        if locations:
            start = location_embeddings(vocabulary.grid, rows.shape[1], temperature).to(rows)
            if rescale:
                start = start / start.norm(dim=1, keepdim=True) * rows[own].norm(dim=1).mean()
            rows[torch.tensor(locations)] = start
        for row, word in zip(attributes, vocabulary.attribute_words, strict=True):
            plain = tokenizer(word.strip("[]<>()"), add_special_tokens=False)["input_ids"]
            rows[row] = rows[torch.tensor(plain)].mean(dim=0)


def small_tokenizer(vocabulary: Vocabulary, max_length: int = 77) -> CLIPTokenizer:
    """A CLIPTokenizer for models trained from scratch: bytes, one token for every word that the model uses, and the
    location and attribute words. Any other text still encodes, byte by byte."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTokenizer

    plain = " ".join([*vocabulary.words, vocabulary.template.replace("{objects}", " "), *vocabulary.attribute_words])
    splitter = CLIPTokenizer().backend_tokenizer
    pieces = splitter.pre_tokenizer.pre_tokenize_str(splitter.normalizer.normalize_str(plain))
    words = sorted({piece for piece, _ in pieces})
    alphabet = sorted(ByteLevel.alphabet())
    merges = _merges(words)
    tokens = ["<|startoftext|>", "<|endoftext|>", *alphabet, *(f"{symbol}</w>" for symbol in alphabet)]
    tokens += ["".join(pair) for pair in merges]
    vocab = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
    tokenizer = CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=max_length)
    extend_tokenizer(tokenizer, vocabulary)
    return tokenizer


def _merges(words: Sequence[str]) -> list[tuple[str, str]]:
    """Byte-pair merges after which each of the words is one symbol (most frequent pair first, ties by spelling)."""
    spelled = [[*word[:-1], f"{word[-1]}</w>"] for word in words]
    merges: list[tuple[str, str]] = []
    while any(len(word) > 1 for word in spelled):
        pairs = Counter(pair for word in spelled for pair in pairwise(word))
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        merges.append(best)
        spelled = [_merged(word, best) for word in spelled]
    return merges


def _merged(word: list[str], pair: tuple[str, str]) -> list[str]:
    result: list[str] = []
    for symbol in word:
        if result and (result[-1], symbol) == pair:
            result[-1] += symbol
        else:
            result.append(symbol)
    return result
