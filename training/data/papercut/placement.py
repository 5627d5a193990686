"""Which regions and things a scene has, and where: regions from far to near, things that leave each other room."""

import math
from dataclasses import dataclass

from training.data.papercut.causes import Cause, choose_causes
from training.data.papercut.classes import THINGS
from training.data.papercut.palette import Random
from training.data.papercut.things import SHAPES, Zone

_GROUNDS = ("grass", "sea", "sand", "snow", "road")


@dataclass(frozen=True, slots=True)
class Plan:
    """A thing to be laid: its size and centre in fractions of the image, and what makes it difficult."""

    label: str
    width: float
    height: float
    x: float
    y: float
    causes: frozenset[Cause]
    own: Random  # draws of its causes: the rest of the scene is the same without them

    @property
    def bottom(self) -> float:
        """Its lower edge, as a fraction of the height: what is lower is nearer."""
        return self.y + self.height / 2

    def overlap(self, other: "Plan") -> float:
        """Intersection over the smaller of the two."""
        w = min(self.x + self.width / 2, other.x + other.width / 2)
        w -= max(self.x - self.width / 2, other.x - other.width / 2)
        h = min(self.bottom, other.bottom) - max(self.y - self.height / 2, other.y - other.height / 2)
        return max(w, 0) * max(h, 0) / min(self.width * self.height, other.width * other.height)


def region_names(rng: Random) -> tuple[tuple[str, ...], set[Zone]]:
    """The stuff of a scene from far to near, and the zones which it offers."""
    if rng.uniform() < 0.28:
        return ("wall-other", "floor-wood", "rug")[: 3 if rng.uniform() < 0.5 else 2], {Zone.ROOM}
    near = str(rng.choice(_GROUNDS))
    kind = rng.uniform()
    zones = {Zone.AIR, Zone.SEA if near == "sea" else Zone.GROUND}
    if kind < 0.3:
        return ("sky-other", near), zones
    if kind < 0.45 and near != "sea":
        return ("sky-other", "sea", str(rng.choice(("sand", "grass", "road")))), zones | {Zone.SEA}
    return ("sky-other", str(rng.choice(("mountain", "hill"))), near), zones


def plan_things(
    horizon: float, zones: set[Zone], hard_share: float, rng: Random, cause: Cause | None = None
) -> list[Plan]:
    """1 to 6 things which leave each other room, from far to near; `cause` is the only one of difficult things."""
    plans: list[Plan] = []
    fitting = [label for label in THINGS if SHAPES[label].zone in zones]
    crowd = int(rng.integers(1, 7))
    for _ in range(crowd):
        label = str(rng.choice(fitting if rng.uniform() < 0.45 else THINGS))
        (own,), causes = rng.spawn(1), frozenset[Cause]()
        if rng.uniform() < hard_share:
            causes = choose_causes(own) if cause is None else frozenset((cause,))
        for _ in range(8):
            plan = _plan(label, causes, own, horizon, zones, crowd, rng)
            if all(plan.overlap(other) < 0.06 for other in plans):
                plans.append(plan)
                break
    return sorted(plans, key=lambda plan: plan.bottom)


def _plan(
    label: str, causes: frozenset[Cause], own: Random, horizon: float, zones: set[Zone], crowd: int, rng: Random
) -> Plan:
    """A size and a place for a thing, mostly where it belongs when the scene has such a zone."""
    thing = SHAPES[label]
    least, most = math.log(0.042), math.log(0.2 if crowd <= 3 else 0.13)
    area, longest = math.exp(rng.uniform(least, most)), 0.62
    if Cause.SIZE in causes:
        area, longest = (0.45, 0.9) if crowd <= 2 else (own.uniform(0.022, 0.03), longest)
    aspect = thing.aspect * math.exp(rng.uniform(-0.1, 0.1))
    w, h = math.sqrt(area * aspect), math.sqrt(area / aspect)
    shrink = min(longest / max(w, h), 1.0)
    w, h = w * shrink, h * shrink
    x = rng.uniform(w / 2 + 0.01, 0.99 - w / 2)
    low, high = h / 2 + 0.01, 0.99 - h / 2
    if thing.zone in zones and rng.uniform() < 0.75:
        if thing.zone is Zone.AIR:
            high = max(horizon - h * 0.3, low + 0.01)
        else:
            low = max(min(horizon + 0.06 - h / 2, high - 0.01), low)
    return Plan(label, w, h, x, rng.uniform(low, high), causes, own)
