"""What the page shows of data sets, as HTML: layouts to choose from, stages of a loop, pictures, the data card's table.
What is put into it is escaped."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from app.components.html import hint_html
from app.components.layout_svg import layout_svg
from detdiffusion.layout import Attribute, Layout
from training.core.markup import joined
from training.core.status import StageStatus
from training.synthesis.checking import Reason

FACTS = Markup(
    '<p class="facts"><b>What the form asks for</b> · {about} · {objects:,} objects: {tags}</p>{unknown}'
    '<div class="strip">{classes}</div>{tiles}'
)
TILES = Markup('<div class="{kind}">{tiles}</div>')
CLASS = Markup(
    '<button type="button" class="{known}" data-name="class {name}" aria-pressed="{chosen}">{name} '
    "<small>{count:,}</small></button>"
)
UNKNOWN = Markup('<p class="unknown">The model does not know {}: it cannot generate these layouts.</p>')
TILE = Markup(
    '<button type="button" class="tile" data-name="layout {number}" title="Open in the Studio: {names}">'
    "{drawing}</button>"
)
STAGE = Markup('<li class="{state}"><i></i><span>{name}</span><small>{state}</small></li>')
STAGES = Markup('<ol class="stages">{}</ol>')
PICTURE = Markup(
    '<figure class="{kind}"><button type="button" class="tile" data-name="image {number}" title="Enlarge">'
    '<img src="{address}" alt="{said}"></button><figcaption title="{said}">{said}</figcaption></figure>'
)
TABLE = Markup(
    '<div class="scroll" tabindex="0"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    "{fates}{refused}"
)
ROW, NAME, NUMBER = Markup("<tr>{}{}</tr>"), Markup("<{0}>{1}</{0}>"), Markup("<{0} class=number>{1}</{0}>")
REFUSED = Markup("<p class=facts>Refused, so not among the annotations: {}</p>")
FATE = Markup("<p class=facts>Asked {}: {}</p>")
HEADS = ("Objects", "Easy in data", "Hard in data", "Asked easy", "Asked hard", "Found", "Missed", "Mean")


def layouts_html(
    counted: Sequence[Layout], whole: int, label: str, shown: Sequence[Layout], known: Collection[str] = ()
) -> str:
    """Classes by number of objects, each a button that filters, tags, and a tile for each layout of a page.

    Args:
        counted: the first layouts of `whole` ones.
        label: the class that is filtered by.
        shown: those of the page.
        known: classes of the model that is to draw; empty: nobody can tell.
    """
    classes = Counter(box.label for layout in counted for box in layout.boxes)
    tags = Counter(str(box.attribute or "things") for layout in counted for box in layout.boxes)
    about = f"{whole:,} layouts" if whole == len(counted) else f"{whole:,} layouts, the first {len(counted):,} shown"
    unknown = [name for name in sorted(classes) if known and name not in known]
    return FACTS.format(
        unknown=UNKNOWN.format(", ".join(unknown)) if unknown else "",
        about=about,
        objects=classes.total(),
        tags=", ".join(f"{count:,} {tag}" for tag, count in sorted(tags.items())),
        classes=joined(
            CLASS.format(
                name=name, chosen=str(name == label).lower(), count=count, known="unknown" if name in unknown else ""
            )
            for name, count in classes.most_common()
        ),
        tiles=TILES.format(kind="tiles", tiles=joined(tile_html(number, one) for number, one in enumerate(shown))),
    )


def tile_html(number: int, layout: Layout) -> Markup:
    """A layout of the page: a press opens it in the studio."""
    return TILE.format(number=number, names=", ".join(layout.labels), drawing=layout_svg(layout))


def stages_html(stages: Sequence[StageStatus]) -> str:
    """The stages of a loop, each with its state."""
    rows = joined(STAGE.format(name=stage.name, state=stage.state) for stage in stages)
    return STAGES.format(rows) if rows else hint_html("The stages appear here.")


def images_html(pictures: Iterable[tuple[str, Mapping[str, Any]]]) -> str:
    """Pictures of a page: the data address of each, and its row in the commit."""
    tiles = (
        PICTURE.format(number=row["id"], address=address, said=_said(row), kind="refused" if row.get("refused") else "")
        for address, row in pictures
    )
    return TILES.format(kind="tiles pictures", tiles=joined(tiles))


def reasons(row: Mapping[str, Any]) -> str:
    """Why an image was refused."""
    objects = row["layout"]["objects"]
    return "; ".join(_reason(one, objects) for one in row["refused"])


def _reason(one: Mapping[str, Any], objects: Sequence[Mapping[str, Any]]) -> str:
    match Reason(one["reason"]):
        case Reason.ABSENT:
            return f"{one['absent']} of {one['things']} things are not there"
        case Reason.WRONG_CLASS:
            return f"{objects[one['object']]['label']} looks like {one['found']} ({one['score']:.2f})"
        case Reason.EXTRA:
            return f"{one['found']} that nobody asked for ({one['score']:.2f})"
        case Reason.COPY:
            return f"nearly a copy of {one['nearest']}"


def _said(row: Mapping[str, Any]) -> str:
    """Why a picture was refused, or what the detector says of its objects."""
    if row.get("refused"):
        return f"Refused: {reasons(row)}"
    objects = row["layout"]["objects"]
    known = [(item["label"], value) for item, value in zip(objects, row["confidence"], strict=True)]
    said = ", ".join(f"{label} {value:.2f}" for label, value in known if value is not None)
    if said:
        return said
    empty = all(item["attribute"] == Attribute.BACKGROUND for item in objects)
    return "background only" if empty else "not checked by a detector"


def card_html(card: Mapping[str, Any]) -> str:
    """The data card's table, what became of objects that were asked to be easy or hard, and of images refused."""
    refused = ", ".join(f"{count:,} {reason}" for reason, count in card.get("refused", {}).items())
    return TABLE.format(
        head=NAME.format("th", "Class") + joined(NUMBER.format("th", head) for head in HEADS),
        body=joined(_class_row(name, counts) for name, counts in card["classes"].items()),
        fates=joined(
            FATE.format(tag, ", ".join(f"{count:,} {fate}" for fate, count in counts.items()))
            for tag, counts in card["fates"].items()
        ),
        refused=REFUSED.format(refused) if refused else "",
    )


def _class_row(name: str, counts: Mapping[str, Any]) -> Markup:
    parts = [counts[when][tag] for when in ("before", "asked", "after") for tag in ("easy", "hard")]
    mean = counts["mean_confidence"]
    cells = [f"{number:,}" for number in (counts["objects"], *parts)] + ["–" if mean is None else f"{mean:.2f}"]
    return ROW.format(NAME.format("td", name), joined(NUMBER.format("td", cell) for cell in cells))
