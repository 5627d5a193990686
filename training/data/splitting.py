"""Data in one piece -> two parts, by picture, seeded; near-duplicates stay together, or what is measured would flatter.

Near-duplicates are copies, frames of one film, and what Roboflow made of one picture. 100,000 pictures take seconds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from detdiffusion.errors import DataError
from training.data.images import SIGNATURE
from training.data.index import Index
from training.data.request import PARTS, SplitBy

_STEP = 3  # levels by which a pixel has to be brighter than its neighbour: less is noise
_BITS = 6  # of 64 differences of brightness that may be others
_LEVELS = 6.0  # by which the thumbnails may differ, on average
_QUARTER = 16  # bits of a hash by which pictures are looked up
_PAIRS = 250_000  # that are compared at once
_COPIES = ".rf."  # what Roboflow puts between the name of a picture and that of a version of it


def numbers_of(index: Index, split: SplitBy, part: str) -> frozenset[int]:
    """Numbers of the pictures of one part.

    Raises:
        DataError: there is no such part, or one of them would be empty.
    """
    if part not in PARTS:
        raise DataError(f"no split {part!r} here; --split-by makes {' and '.join(PARTS)}")
    rows = list(index.signatures())
    groups = groups_of([path for _, path, _ in rows], [signature for _, _, signature in rows])
    wanted, parts = round(split.share * len(rows)), {name: list[int]() for name in PARTS}
    for place in np.random.default_rng(split.seed).permutation(len(groups)):
        group = groups[place]
        fits = len(parts["train"]) + len(group) <= wanted
        parts["train" if fits else "val"] += [rows[at][0] for at in group]
    if not all(parts.values()):
        largest = max(map(len, groups), default=0)
        raise DataError(
            f"--split-by {split}: of {len(rows)} images, of which {largest} look alike and stay together, one part "
            "would be empty; take another share, or split the data yourself"
        )
    return frozenset(parts[part])


def groups_of(paths: Sequence[str], signatures: Sequence[bytes]) -> list[list[int]]:
    """Places of the pictures, those that are near-duplicates of each other together."""
    leader = list(range(len(paths)))

    def find(place: int) -> int:
        while leader[place] != place:
            leader[place] = place = leader[leader[place]]
        return place

    for one, other in (*_same_source(paths), *_alike(signatures)):
        leader[find(other)] = find(one)
    groups = defaultdict(list)
    for place in range(len(paths)):
        groups[find(place)].append(place)
    return list(groups.values())


def _same_source(paths: Sequence[str]) -> Iterator[tuple[int, int]]:
    first: dict[str, int] = {}
    for place, path in enumerate(paths):
        source, mark, _ = path.rpartition("/")[2].partition(_COPIES)
        if mark:
            yield first.setdefault(source, place), place


def _alike(signatures: Sequence[bytes]) -> Iterator[tuple[int, int]]:
    columns, rows = SIGNATURE
    thumbs = np.frombuffer(b"".join(signatures), np.uint8).reshape(-1, rows, columns, 3).astype(np.int16)
    hashes = _hashes(thumbs)
    flat = thumbs.reshape(len(thumbs), -1)
    for one, other in _near(hashes):
        close = np.abs(flat[one] - flat[other]).mean(axis=1) <= _LEVELS
        yield from zip(one[close].tolist(), other[close].tolist(), strict=True)


def _near(hashes: NDArray[np.uint64]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Pairs with at most `_BITS` other bits, some of them several times. Not all pairs are looked at: of six bits in
    four quarters, one quarter has at most one, so that it or a quarter with one bit flipped is the same in both."""
    for shift in range(0, 64, _QUARTER):
        key = (hashes >> np.uint64(shift)).astype(np.uint16).astype(np.int64)
        order = np.argsort(key, kind="stable")
        starts = np.searchsorted(key[order], np.arange(2**_QUARTER + 1))
        for flipped in (0, *(1 << bit for bit in range(_QUARTER))):
            first = starts[key ^ flipped]
            yield from _pairs(hashes, order, first, starts[(key ^ flipped) + 1] - first)


def _pairs(
    hashes: NDArray[np.uint64], order: NDArray[np.int64], first: NDArray[np.int64], count: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Of every picture with those in its range of the order, block by block, so that memory stays small."""
    blocks = np.cumsum(count) // _PAIRS
    for block in np.flatnonzero(np.diff(blocks, prepend=-1)).tolist():
        end = int(np.searchsorted(blocks, blocks[block], side="right"))
        some = count[block:end]
        one = np.repeat(np.arange(block, end), some)
        within = np.arange(len(one)) - np.repeat(np.cumsum(some) - some, some)
        other = order[np.repeat(first[block:end], some) + within]
        near = (one < other) & (np.bitwise_count(hashes[one] ^ hashes[other]) <= _BITS)
        yield one[near], other[near]


def _hashes(thumbs: NDArray[np.int16]) -> NDArray[np.uint64]:
    """A bit for every pixel of a thumbnail that is brighter than the one on its right."""
    grey = thumbs.mean(axis=-1)
    brighter = grey[:, :, :-1] > grey[:, :, 1:] + _STEP
    packed = np.packbits(brighter.reshape(len(thumbs), -1), axis=1)
    return np.ascontiguousarray(packed).view(np.uint64).ravel()
