"""A report as a list of blocks, and its two forms: one HTML page with everything inside, and Markdown with files."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from markupsafe import Markup
from PIL import Image

from detdiffusion.core.files import write_text, written_aside
from training.core.markup import element, joined

FILES = "files"  # beside the Markdown
_MARKUP = re.compile(r"[|`]|(?<=\])\(")  # cells, code, addresses of links
INTERVAL, NO_BREAK = re.compile(r"\[[^\]]*\]"), "\u00a0"

STYLE = """
:root { --paper: #f6f4ef; --card: #fff; --sunken: #f3f1eb; --ink: #24222c; --soft: #6d6977; --line: #e4e0d8;
  --accent: #4a4fc4; --easy: #0b7f72; --hard: #c8451b; color-scheme: light dark; }
@media (prefers-color-scheme: dark) { :root { --paper: #17161c; --card: #201f27; --sunken: #19181f; --ink: #ecebf2;
  --soft: #9c98a8; --line: #34323d; --accent: #8d92ff; --easy: #35b8a6; --hard: #f0794c; } }
* { box-sizing: border-box; }
body { margin: 0; padding: 28px 20px 60px; background: var(--paper); color: var(--ink);
  font: 14px/1.5 system-ui, sans-serif; }
main { max-width: 1080px; margin: auto; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 18px 22px;
  margin: 16px 0; }
h1 { font-size: 26px; margin: 0 0 4px; } h2 { font-size: 18px; margin: 0 0 8px; }
h3 { font-size: 14px; margin: 16px 0 4px; }
p { margin: 6px 0; max-width: 80ch; } .note { color: var(--soft); font-size: 13px; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: 8px 0; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: 4px 12px 4px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--soft); font-weight: 500; }
:is(th, td):first-child { text-align: left; position: sticky; left: 0; background: var(--card); }
@media (min-width: 700px) { :is(th, td):first-child { white-space: nowrap; } }
td.long { white-space: normal; overflow-wrap: anywhere; font: 12px ui-monospace, monospace; text-align: left; }
figure { margin: 10px 0; } figcaption { color: var(--soft); font-size: 13px; }
.row { display: flex; flex-wrap: wrap; gap: 10px 34px; } .row figure { flex: 1 1 300px; }
img { max-width: 100%; border-radius: 8px; display: block; } svg { display: block; max-width: 100%; height: auto; }
svg text { fill: var(--soft); font: 11px system-ui, sans-serif; } svg .name { fill: var(--ink); }
svg .axis { stroke: var(--line); fill: none; } svg .dot { fill: var(--accent); fill-opacity: .28; }
svg .bar { fill: var(--accent); fill-opacity: .75; } svg .whisker { stroke: var(--ink); fill: none; }
svg .easy { stroke: var(--easy); } svg .hard { stroke: var(--hard); } svg .line { fill: none; stroke-width: 2; }
@media print { body { padding: 0; background: #fff; } section { break-inside: avoid; border: 0; } }
"""


@dataclass(frozen=True, slots=True)
class Heading:
    """Begins a section."""

    text: str


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph."""

    text: str
    note: bool = False  # smaller, paler


@dataclass(frozen=True, slots=True)
class Table:
    """Cells as text; the first column names the row. `long`: columns whose cells may break (hashes)."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    long: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Plot:
    """A drawing as SVG; `name` becomes the file's. Plots that follow each other stand side by side."""

    name: str
    title: str
    svg: Markup


@dataclass(frozen=True, slots=True)
class ImageBlock:
    """An image with a title; `name` is its file."""

    name: str
    title: str
    image: Image.Image


Block = Heading | Text | Table | Plot | ImageBlock


def to_html(title: str, blocks: Sequence[Block]) -> str:
    """One page with styles, plots and images inside; it asks for nothing from anywhere."""
    sections = [element("section", *parts) if headed else joined(parts) for headed, parts in _sections(blocks)]
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width"),
        element("title", title),
        element("style", Markup(STYLE)),  # our own, as it stands
    )
    body = element("body", element("main", Markup("\n").join([element("h1", title), *sections])))
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def _sections(blocks: Sequence[Block]) -> Iterator[tuple[bool, list[Markup]]]:
    """What stands before the first heading, then a section for every heading; plots that follow each other in a row."""
    headed, parts = False, list[Markup]()
    for beside, group in groupby(blocks, key=lambda block: isinstance(block, Plot)):
        if beside:
            parts.append(element("div", *map(_html, group), class_="row"))
            continue
        for block in group:
            if isinstance(block, Heading):
                yield headed, parts
                headed, parts = True, []
            parts.append(_html(block))
    yield headed, parts


def _html(block: Block) -> Markup:
    match block:
        case Heading():
            return element("h2", block.text)
        case Text():
            return element("p", block.text, class_="note" if block.note else None)
        case Table():
            head = element("tr", *(element("th", column) for column in block.columns))
            rows = (element("tr", *_cells(block, row)) for row in block.rows)
            title = element("h3", block.title) if block.title else Markup("")
            return title + element("div", element("table", head, *rows), class_="wide", tabindex="0")
        case Plot():
            return element("figure", element("h3", block.title), block.svg)
        case ImageBlock():
            data = base64.b64encode(_jpeg(block.image)).decode()
            image = element("img", alt=block.title, src=f"data:image/jpeg;base64,{data}")
            return element("h3", block.title) + element("figure", image)


def _cells(table: Table, row: Sequence[str]) -> Iterator[Markup]:
    """An interval is broken nowhere, what is before it may stand on a line of its own."""
    whole = (INTERVAL.sub(lambda found: found[0].replace(" ", NO_BREAK), cell) for cell in row)
    return (element("td", cell, class_="long" if column in table.long else None) for column, cell in enumerate(whole))


def write_markdown(title: str, blocks: Sequence[Block], out: Path) -> None:
    """`out/report.md`, and its plots and pictures under `out/files`."""
    lines = [f"# {title}", ""]
    for block in blocks:
        match block:
            case Heading():
                lines += [f"## {_plain(block.text)}", ""]
            case Text():
                lines += [f"*{_plain(block.text)}*" if block.note else _plain(block.text), ""]
            case Table():
                lines += [f"**{_plain(block.title)}**", ""] if block.title else []
                lines += [_row(block.columns), _row(["---"] + ["---:"] * (len(block.columns) - 1))]
                lines += [*map(_row, block.rows), ""]
            case Plot() | ImageBlock():
                lines += [f"![{_plain(block.title)}]({FILES}/{_save(block, out / FILES)})", ""]
    write_text(out / "report.md", "\n".join(lines))


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(_plain(cell) for cell in cells) + " |"


def _plain(text: str) -> str:
    """Text as Markdown shows it: names of data sets and models are no markup."""
    return _MARKUP.sub(r"\\\g<0>", " ".join(text.split())).replace("<", "&lt;")


def _file_name(name: str) -> str:
    """A name from a report as that of a file in this folder: no path, nothing hidden, not too long."""
    return re.sub(r"[^\w. -]+", "-", name).lstrip(".-")[:100] or "plot"


def _save(block: Plot | ImageBlock, folder: Path) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(block, ImageBlock):
        name = f"{_file_name(block.name)}.jpg"
        with written_aside(folder / name) as aside:
            aside.write_bytes(_jpeg(block.image))
        return name
    name = f"{_file_name(block.name)}.svg"
    # Alone, a drawing has no page to take its colours from.
    style = (
        "<style>:root { --paper: #fff; }" + STYLE.replace(":root {", "svg {", 1) + "svg { background: #fff }</style>"
    )
    write_text(folder / name, str(block.svg).replace(">", f">{style}", 1))
    return name


def _jpeg(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.convert("RGB").save(file, "JPEG", quality=88, optimize=True)
    return file.getvalue()
