"""The workspace's history -> what the Gallery tab shows, and what is done with it there. No gradio here."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from app.components.html import hint_html
from app.gallery.views import (
    GalleryScreen,
    count_text,
    facts_html,
    head_html,
    large_view,
    size_text,
    storage_html,
    tiles_html,
    trash_html,
)
from app.store.entries import EVERYTHING, Entry, Filter
from app.store.history import A_PAGE, TRASH_DAYS, History
from app.store.history_export import export_zip
from detdiffusion.errors import ConfigError, DataError, LayoutError
from detdiffusion.image_record import ImageRecord, image_fault, read_image

NONE_YET = "No images yet: every image made in the Studio is kept here, with its layout and detections."
NONE_SUCH = "No image matches: choose another filter."


@dataclass(frozen=True, slots=True)
class Form:
    """The filter as the page holds it."""

    label: str | None
    model: str | None
    drop: float
    missed: bool
    starred: bool

    def wanted(self) -> Filter:
        """A least drop of 0 asks for nothing: pictures without a drop are shown too."""
        least = self.drop if self.drop > 0 else None
        return Filter(self.label or "", self.missed, least, self.starred, self.model or "")


class Deletion(StrEnum):
    """What has to be asked before."""

    SELECTED = "selected"
    UNSTARRED = "unstarred"


def look(history: History, form: Form, page: int = 0, selected: Sequence[int] = ()) -> GalleryScreen:
    """A page of what the form asks for; where there is no history, why."""
    wanted = form.wanted()
    try:
        count, size = history.count(wanted), history.size()
        pages = max(1, -(-count // A_PAGE))
        page = min(max(page, 0), pages - 1)
        entries = history.find(wanted, page)
        there = {entry.id: entry for entry in history.get(selected, wanted)}
        labels, models, newest = history.labels(), history.models(), history.newest()
    except DataError as error:
        return GalleryScreen(hint_html(str(error)))
    chosen = tuple(number for number in selected if number in there)
    none = NONE_YET if wanted == EVERYTHING else NONE_SUCH
    screen = GalleryScreen(
        tiles_html(entries, history.pictures, chosen) if entries else hint_html(none),
        head_html(count, len(chosen)),
        storage_html(*size),
        trash_html(*history.trash_size()),
        page,
        pages,
        count,
        chosen,
        labels=labels,
        models=models,
        newest=newest,
    )
    if not chosen:
        return screen
    large = there[chosen[-1]]
    fault = image_fault(history.pictures / large.file)
    return replace(screen, shown=large_view(large, history.pictures), facts=facts_html(large, fault))


def has_news(history: History, newest: int) -> bool:
    """Whether there is a picture that the gallery, as it is shown, does not know."""
    try:
        return history.newest() > newest
    except DataError:
        return False  # it says so already


def click(history: History, name: str, selected: Sequence[int]) -> tuple[int, ...]:
    """A button of a tile: "pick 7" chooses it or not any more, "star 7" stars it or not any more. Returns what is
    selected then. DataError where the history cannot be used."""
    kind, _, text = name.partition(" ")
    number = int(text)
    if kind == "star":
        for entry in history.get([number]):
            history.star(number, not entry.starred)
        return tuple(selected)
    rest = tuple(other for other in selected if other != number)
    return rest if number in selected else (*rest, number)


def select_all(history: History, form: Form, selected: Sequence[int]) -> tuple[int, ...]:
    """All that the form asks for, on all pages; nothing where something is selected already."""
    return () if selected else tuple(entry.id for entry in history.find(form.wanted()))


def chosen_last(history: History, selected: Sequence[int]) -> Entry:
    """ConfigError where nothing is selected; DataError where it is not there any more."""
    if not selected:
        raise ConfigError("select an image first")
    found = history.get(selected[-1:])
    if not found:
        raise DataError("the image has been deleted")
    return found[0]


def record_of(history: History, entry: Entry) -> ImageRecord:
    """How the image was made: as its file says, or as the history does where the file cannot tell."""
    try:
        return read_image(history.pictures / entry.file)
    except LayoutError:
        made_by = (entry.model, entry.model_sha256, entry.detector)
        return ImageRecord(entry.layout, entry.sampling, entry.strategy, *made_by)


def export(history: History, form: Form, selected: Sequence[int], into: Path) -> Path:
    """What is selected, or all that the form asks for, as a zip file in a folder. Raises as `export_zip` does."""
    entries = history.get(selected) if selected else history.find(form.wanted())
    return export_zip(entries, history.pictures, into / f"gallery-{time.strftime('%Y%m%d-%H%M%S')}.zip")


def question(history: History, what: Deletion, selected: Sequence[int]) -> str:
    """Asked before something is deleted.

    Raises:
        ConfigError: there is nothing to delete.
        DataError: the history cannot be used.
    """
    doomed = history.get(selected) if what is Deletion.SELECTED else history.find()
    doomed = tuple(entry for entry in doomed if what is Deletion.SELECTED or not entry.starred)
    if not doomed:
        raise ConfigError("nothing is selected" if what is Deletion.SELECTED else "every image has a star")
    if what is Deletion.SELECTED:
        starred = sum(entry.starred for entry in doomed)
        also = f", {starred} of them with a star" if starred else ""
        return f"Delete {count_text(len(doomed))}{also}? They stay in the trash for {TRASH_DAYS} days."
    return f"Delete {count_text(len(doomed))}, all without a star? They stay in the trash for {TRASH_DAYS} days."


def delete(history: History, what: Deletion, selected: Sequence[int]) -> str:
    """Returns what was done, for people. DataError: a file cannot be deleted, or the history cannot be used."""
    gone = history.delete(selected) if what is Deletion.SELECTED else history.clean()
    return f"{count_text(gone)} moved to the trash. Undo takes that back."


def undo(history: History) -> str:
    """Brings back what was deleted last. DataError as of `delete`; ConfigError: the trash is empty."""
    back = history.undo()
    if not back:
        raise ConfigError("the trash is empty")
    return f"{count_text(back)}"


def empty_trash(history: History) -> str:
    """Deletes for good what is in the trash. DataError as of `delete`."""
    size = history.trash_size()[1]
    return f"{count_text(history.empty_trash())}, {size_text(size)} freed"
