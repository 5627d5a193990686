"""What each tab of a browser saw last, so that a reload brings it back."""

import threading
from collections import OrderedDict
from dataclasses import dataclass, replace

from app.studio.results.compare import Pair
from app.studio.results.generate import Single

MOST_TABS = 256  # remembered; the one that was longest away is forgotten


@dataclass(frozen=True, slots=True)
class Seen:
    """The last image and the last comparison of a tab."""

    single: Single | None = None
    pair: Pair | None = None


class LastResults:
    """By a tab's own number (`canvas/state.js`), which a reload keeps. All calls may come from any thread."""

    def __init__(self) -> None:
        self._seen: OrderedDict[str, Seen] = OrderedDict()
        self._turn = threading.Lock()

    def keep(self, tab: str, result: Single | Pair) -> None:
        """A finished result, in place of the one before."""
        if not tab:
            return
        with self._turn:
            seen = self._seen.pop(tab, Seen())
            self._seen[tab] = replace(seen, single=result) if isinstance(result, Single) else replace(seen, pair=result)
            while len(self._seen) > MOST_TABS:
                self._seen.popitem(last=False)

    def of(self, tab: str) -> Seen:
        """What is still there: images may have been deleted since, in the gallery for one."""
        with self._turn:
            seen = self._seen.get(tab, Seen())
        single, pair = seen.single, seen.pair
        if single and not single.picture.there:
            single = None
        if pair and not (pair.a.there and pair.b.there):
            pair = None
        return Seen(single, pair)
