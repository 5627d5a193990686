"""Every code block of README and docs/ runs, and every option that a sentence names is there.

Blocks of a page run in their order, in a folder of their own that sees assets/, where the bundled model asks for two
steps. Commands get the tiny settings of `TINY` behind their own: the last one counts; python draws with `FEW_STEPS`. A
comment before a block says how it is treated where it cannot run here:

    <!-- arguments only: WHY -->      commands: their options and values are checked
    <!-- with the studio running -->  python: a studio serves at the address that the block names
    <!-- input of VERB -->            yaml: the verb reads it, and checks what it says
"""

import argparse
import contextlib
import io
import re
import shlex
import subprocess
import tempfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import warm
from markdown_it import MarkdownIt
from small_models import write_quick_model

import app.__main__
import detdiffusion.__main__
import training.__main__
from detdiffusion.errors import ConfigError
from training.core.settings import with_settings

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
COMMENT = re.compile(r"<!--\s*(arguments only: .{5,}|with the studio running|input of \w+)\s*-->\s*")
LANGUAGES = ("sh", "console", "python", "yaml", "text", "tree")  # trees: tests/training/data builds and reads them
STUDIO = "http://127.0.0.1:7860"
TINY: Mapping[str, Sequence[str]] = {
    "papercut": ("--images", "8", "--workers", "1"),
    "generate": ("--count", "2", "--steps", "1", "--workers", "1"),
    "verify": (),
    "detector": ("--epochs", "1", "--image-size", "64", "--batch", "4", "--held-out", "2", "--device", "cpu"),
    "evaluate": ("--layouts", "papercut:1@900000", "--steps", "1", "--device", "cpu"),
    "report": (),
    "diagnose": ("--device", "cpu"),
    "plan": ("--count", "2"),
}
STEPS, FEW_STEPS = re.compile(r"\b((?:num_inference_)?steps)=\d+"), r"\1=3"
SHELL = r"""
exec 3>&1
record() { printf '%s\0' "$@" $'\x1e' >&3; }
for name in python make pip git mkdir mv detdiffusion-studio; do eval "$name() { record $name \"\$@\"; }"; done
PATH=
"""
OTHERS = ("accelerate ", "torchrun ", "pip ", "apt-get ", "docker ")  # programs whose options are not ours


@dataclass(frozen=True)
class Block:
    """A fenced block: its place, its language, its text, and what the comment before it says."""

    page: Path
    line: int
    language: str
    text: str
    comment: str

    @property
    def name(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def only_arguments(self) -> bool:
        return self.comment.startswith("arguments only")


@cache
def blocks(page: Path) -> tuple[Block, ...]:
    found, before = [], ""
    for token in MarkdownIt().parse(page.read_text(encoding="utf-8")):
        if token.type in ("fence", "code_block"):
            assert token.map is not None
            comment = match[1].strip() if (match := COMMENT.fullmatch(before)) else ""
            language = token.info.strip().partition(" ")[0]  # a tree says, too, how it is asked for
            found.append(Block(page, token.map[0] + 1, language, token.content, comment))
        before = token.content if token.type == "html_block" else ""
    return tuple(found)


def spans(page: Path) -> Iterator[str]:
    """Code inside sentences and tables."""
    for token in MarkdownIt("gfm-like", {"linkify": False}).parse(page.read_text(encoding="utf-8")):
        yield from (child.content for child in token.children or () if child.type == "code_inline")


def commands(block: Block) -> list[list[str]]:
    """What a shell makes of a block: every command that it would run, as its words. Nothing is run."""
    text = block.text
    if block.language == "console":
        text = "\n".join(line[2:] for line in text.splitlines() if line.startswith("$ "))
    with tempfile.TemporaryDirectory() as folder:  # for what a block would write by itself
        shell = ["/bin/bash", "-euc", f"{SHELL}\n{text}"]
        done = subprocess.run(shell, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{block.name}: {done.stderr}"
    return [words.removesuffix("\0").split("\0") for words in done.stdout.split("\x1e\0")[:-1]]


def check(words: Sequence[str]) -> None:
    """AssertionError where a command would be refused for its words; what they name need not be there."""
    program, *more = words
    if program == "make":
        rules = re.findall(r"^([\w -]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        assert set(more) <= set(" ".join(rules).split()), f"the Makefile makes no {more}"
    elif program == "detdiffusion-studio":
        scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
        assert scripts[program] == "app.__main__:main"
        parsed(app.__main__.build_parser(), more)
    elif program == "python":
        check_python(more)
    else:
        assert program in ("pip", "git", "mkdir", "mv"), f"{program} is no command of these pages"


def check_python(words: Sequence[str]) -> None:
    if words[0] != "-m":
        assert (ROOT / words[0]).is_file(), f"there is no {words[0]}"
        return
    _, module, *more = words
    if module == "training":
        check_fields(more[0], parsed(training.__main__.build_parser(more[0]), more))
    elif module == "detdiffusion":
        with refusals():
            detdiffusion.__main__._parse(more)
    elif module == "app":
        parsed(app.__main__.build_parser(), more)
    else:
        assert flags(more) <= options_of(module), f"python -m {module}: {' '.join(more)}"


def check_fields(verb: str, arguments: argparse.Namespace) -> None:
    """ConfigError where `--set` names a field that is not there. A detector's depend on its kind, and are not asked for
    here."""
    if not getattr(arguments, "set", ()) or getattr(arguments, "config", None):
        return
    if verb == "bundle":
        from training.generator.config import PRESETS

        with_settings(PRESETS[arguments.preset], arguments.set)
    elif verb in ("train", "autoencoder"):
        import_module(f"training.{training.__main__.VERBS[verb].module}").request_of(arguments)


def parsed(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    with refusals():
        return parser.parse_args(list(words))


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    """Turns the end of a parser into a failure with what it said."""
    with contextlib.redirect_stderr(io.StringIO()) as said:
        try:
            yield
        except SystemExit as end:
            raise AssertionError(said.getvalue() or f"it ended with {end.code}") from end


def flags(words: Sequence[str]) -> set[str]:
    return {match[0] for word in words if (match := re.match(r"--[a-z][\w-]*", word))}


@cache
def options_of(module: str, verb: str | None = None) -> frozenset[str]:
    """The options of `python -m MODULE [VERB]`, from its help or, where it has no parser to ask, from its text."""
    if module == "training":
        parser = training.__main__.build_parser(verb)
        chosen = next(action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction))
        parser = chosen[verb] if verb else parser
        return frozenset(parser._option_string_actions)
    if module in ("app", "detdiffusion"):
        with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.suppress(SystemExit):
            import_module(f"{module}.__main__").main(["--help"])
        return frozenset(re.findall(r"--[a-z][\w-]*", said.getvalue()))
    source = ROOT.joinpath(*module.split(".")).with_suffix(".py")
    assert source.is_file(), f"there is no module {module}"
    return frozenset(re.findall(r"--[a-z][\w-]*", source.read_text(encoding="utf-8"))) | {"--help"}


@cache
def all_options() -> frozenset[str]:
    verbs = (options_of("training", verb) for verb in training.__main__.VERBS)
    return frozenset().union(options_of("app"), options_of("detdiffusion"), options_of("benchmarks.rooms"), *verbs)


def named(pages: Sequence[Path], languages: Sequence[str], arguments: bool | None = None) -> list[Any]:
    chosen = [
        block
        for page in pages
        for block in blocks(page)
        if block.language in languages and (arguments is None or block.only_arguments == arguments)
    ]
    return [pytest.param(block, id=block.name) for block in chosen]


def runs(block: Block) -> bool:
    return block.language in ("sh", "python") and not block.comment


# --- every block is of a known kind, and none is passed over ---------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_says_what_it_is(page: Path) -> None:
    for block in blocks(page):
        assert block.language in LANGUAGES, f"{block.name}: a block is one of {', '.join(LANGUAGES)}"
        allowed = {"sh": "arguments only", "console": "arguments only", "python": "with the studio", "yaml": "input of"}
        assert not block.comment or block.comment.startswith(allowed.get(block.language, "nothing")), block.name
        assert block.comment or block.language not in ("console", "yaml"), f"{block.name}: say what it is for"


def test_no_comment_before_a_block_is_misspelt() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        comments = re.findall(r"^<!--.*-->\n```", text, re.MULTILINE)
        assert len(comments) == sum(bool(block.comment) for block in blocks(page)), page


@pytest.mark.parametrize("block", named(PAGES, ("sh", "console")))
def test_commands_are_taken(block: Block) -> None:
    """Also those that run, as they stand: with their own values."""
    found = commands(block)
    assert found, "a block of commands holds one"
    for words in found:
        check(words)


@pytest.mark.parametrize("block", named(PAGES, ("yaml",)))
def test_inputs_are_read(block: Block, tmp_path: Path) -> None:
    file = tmp_path / "input.yaml"
    file.write_text(block.text, encoding="utf-8")
    if block.comment == "input of loop":
        from training.loop.command import plan_of
        from training.loop.stages import LoopConfig

        for stage in plan_of(LoopConfig.read(file)):
            check(["python", "-m", "training", *stage.words])
    else:
        assert block.comment == "input of pilots"
        from training.studies.pilots import read_pilots

        assert read_pilots(file, tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_sentences_name_commands_and_options_that_are_there(page: Path) -> None:
    for span in spans(page):
        if span.startswith(OTHERS):
            continue
        words = span.split()
        if words[:2] == ["python", "-m"]:
            module, *more = words[2:]
            verb = more[0] if module == "training" and more and more[0] in training.__main__.VERBS else None
            assert verb or module != "training" or not more or more[0] in ("VERB", "--help"), span
            assert flags(words) <= options_of(module, verb), span
        assert flags(words) <= all_options(), span


# --- the runner itself -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("language", "text", "message"),
    [
        ("sh", "python -m training papercut --images 3 --out x --pictures 3", "unrecognized arguments: --pictures"),
        ("sh", "for s in a b; do python -m training verify $s --deep; done", "unrecognized arguments: --deep"),
        ("console", "$ python -m detdiffusion x.json --steps many --out y\nmade", "--steps"),
        ("sh", "python -m training train --preset papercut-cpu --data d --out o --set stepz=3", "stepz"),
        ("sh", "python -m training bundle --preset cpu --out o --set samples.scene=3", "scene"),
        ("sh", "make tests", "the Makefile makes no"),
        ("sh", "python -m app --colour red", "unrecognized arguments"),
        ("sh", "python -m benchmarks.steps --fake DIR", "python -m benchmarks.steps"),
        ("sh", "python -m benchmarks.nothing", "there is no module benchmarks.nothing"),
        ("sh", "python docs/nothing.py", "there is no docs/nothing.py"),
        ("sh", "curl https://example.org", "command not found|No such file"),
    ],
)
def test_a_wrong_command_is_seen(language: str, text: str, message: str) -> None:
    with pytest.raises((AssertionError, ConfigError), match=message):
        check(commands(Block(ROOT / "README.md", 1, language, text, ""))[0])


def test_words_of_a_command_are_those_of_the_shell() -> None:
    text = "# a comment\npython -m x 'two words' \\\n    --flag  # and another\ngit clone y && mkdir -p z\n"
    found = commands(Block(ROOT / "README.md", 1, "sh", text, ""))
    assert found == [["python", "-m", "x", "two words", "--flag"], ["git", "clone", "y"], ["mkdir", "-p", "z"]]


# --- what runs, runs -------------------------------------------------------------------------------


@pytest.mark.model
@pytest.mark.process
@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if any(map(runs, blocks(page)))],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_a_page_runs(page: Path, assets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its blocks share one folder, and its python one set of names, as for a reader who tries one after another."""
    (tmp_path / "assets").symlink_to(assets)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # for processes that commands start
    names: dict[str, Any] = {"__name__": "__page__"}
    for block in filter(runs, blocks(page)):
        if block.language == "python":
            run_python(block, names)
            continue
        for words in commands(block):
            assert words[:3] == ["python", "-m", "training"] and words[3] in TINY, f"{block.name}: {shlex.join(words)}"
            assert training.__main__.main([*words[3:], *TINY[words[3]]]) == 0, f"{block.name}: {shlex.join(words)}"


def run_python(block: Block, names: dict[str, Any]) -> None:
    """A traceback shows the page's own line."""
    exec(compile("\n" * block.line + STEPS.sub(FEW_STEPS, block.text), block.name, "exec"), names)


@pytest.fixture(scope="module")
def assets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`assets/`, with a bundled model that is asked for two steps."""
    models = tmp_path_factory.mktemp("assets") / "models"
    models.mkdir()
    write_quick_model(models / "papercut")
    for model in (ROOT / "assets/models").iterdir():
        if not (models / model.name).exists():
            (models / model.name).symlink_to(model)
    return models.parent


@pytest.fixture
def studio(assets: Path, tmp_path: Path) -> Iterator[str]:
    """Where a studio serves."""
    with warm.studio(assets / "models/papercut", tmp_path / "studio") as (_, address):
        yield address


@pytest.mark.model
@pytest.mark.process
@pytest.mark.slow
def test_blocks_that_ask_a_studio(studio: str, capsys: pytest.CaptureFixture[str]) -> None:
    asking = [block for page in PAGES for block in blocks(page) if block.comment == "with the studio running"]
    for block in asking:
        assert STUDIO in block.text, block.name
        run_python(replace(block, text=block.text.replace(STUDIO, studio)), {})
        said = capsys.readouterr().out.splitlines()
        assert said and not said[-1].startswith("Loaded as API"), f"{block.name}: the client alone has said something"
    assert asking
