"""What makes an object naturally difficult: the causes, how often each is met, and which go together.

A difficult object is unusual, not unreadable: it has one cause, sometimes two, and a person can still name it (compare
DetDiffusion, supplement, Figs. 2 and 3). `effects.py` draws them; docs/PAPERCUT.md shows each on four classes.
"""

from enum import StrEnum, auto

from training.data.papercut.palette import Random


class Cause(StrEnum):
    """What makes an object naturally difficult."""

    COLOUR = auto()  # other colours than its class has
    PATTERN = auto()  # stripes, dots, checks or worn paper
    POSE = auto()  # turned, overturned, sheared, squashed or in perspective
    OCCLUSION = auto()  # a prop hides up to half of it
    GLARE = auto()  # white reflections
    CONTRAST = auto()  # the ground shows through
    BACKLIGHT = auto()  # a dark silhouette with a bright rim
    NIGHT = auto()  # in the dark
    BLUR = auto()  # out of focus
    CUT = auto()  # by the edge of the image
    SIZE = auto()  # smaller or larger than any ordinary thing
    PLACE = auto()  # printed on a poster


_SHARES = {
    Cause.COLOUR: 0.15,
    Cause.PATTERN: 0.13,
    Cause.POSE: 0.14,
    Cause.OCCLUSION: 0.12,
    Cause.GLARE: 0.10,
    Cause.CONTRAST: 0.10,
    Cause.BACKLIGHT: 0.12,
    Cause.NIGHT: 0.08,
    Cause.BLUR: 0.02,
    Cause.CUT: 0.02,
    Cause.SIZE: 0.01,
    Cause.PLACE: 0.01,
}
_LOOKS, _LOOK_SHARES = (Cause.COLOUR, Cause.PATTERN), (0.6, 0.4)
_OTHERS = (Cause.POSE, Cause.OCCLUSION, Cause.GLARE, Cause.CUT, Cause.SIZE)
_TWO = 0.15  # of the difficult objects have two causes


def choose_causes(rng: Random) -> frozenset[Cause]:
    """One cause of a difficult object, or two that leave it readable: an odd look and something else."""
    if rng.uniform() < _TWO:
        return frozenset((_LOOKS[rng.choice(2, p=_LOOK_SHARES)], _OTHERS[rng.integers(len(_OTHERS))]))
    return frozenset((tuple(_SHARES)[rng.choice(len(_SHARES), p=tuple(_SHARES.values()))],))
