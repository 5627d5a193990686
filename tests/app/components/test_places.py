"""Folders that the page may list: what lies in them, and nothing beside the roots."""

from pathlib import Path

import pytest

from app.components.places import MOST, Places
from detdiffusion.errors import ConfigError


@pytest.fixture
def data(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    for name in ("images", "Annotations", ".cache"):
        (root / name).mkdir(parents=True)
    for name in ("loop.yaml", "LOOP.YML", "readme.txt", ".hidden"):
        (root / name).write_text("")
    return root


def test_what_lies_in_a_folder(data: Path) -> None:
    listing = Places([data]).look(str(data))
    assert (listing.folder, listing.above) == (data, None), "nothing above the only root"
    assert listing.folders == ("Annotations", "images")
    assert listing.files == ("loop.yaml", "LOOP.YML", "readme.txt")
    within = Places([data]).look(str(data / "images"), (".yaml",))
    assert (within.above, within.folders, within.files) == (str(data), (), ())
    assert Places([data]).look(str(data), (".yaml", ".yml")).files == ("loop.yaml", "LOOP.YML")


def test_several_roots_are_a_list(data: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    places = Places([data, data / "images", tmp_path / "other", data])
    assert places.look("").folders == (str(data), str(tmp_path / "other")), "each once, and none within another"
    assert places.look(str(data)).above == ""


def test_nothing_beside_the_roots_is_listed(data: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (data / "way out").symlink_to(secret)
    places = Places([data])
    for path in (secret, tmp_path, data / "..", data / ".." / "secret", data / "way out", Path("/")):
        with pytest.raises(ConfigError, match="outside of what the studio shows: start it"):
            places.look(str(path))
        assert places.start(str(path)).folder == data


def test_where_the_dialog_opens(data: Path) -> None:
    places = Places([data])
    assert places.start("").folder == data
    assert places.start(f" {data}/images ").folder == data / "images"
    assert places.start(f"{data}/loop.yaml").folder == data, "the folder of a file"
    assert places.start("Preset default").folder == data


def test_what_cannot_be_listed_is_named(data: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere is not a folder"):
        Places([data / "nowhere"])
    with pytest.raises(ConfigError, match=r"loop\.yaml cannot be read: a file stands where a folder"):
        Places([data]).look(str(data / "loop.yaml"))


def test_a_long_folder_is_cut_and_says_so(data: Path) -> None:
    for number in range(MOST + 7):
        (data / "images" / f"{number:04d}").mkdir()
    listing = Places([data]).look(str(data / "images"))
    assert (len(listing.folders), listing.left_out) == (MOST, 7)


def test_what_is_read_lies_below_a_root_and_what_is_written_in_the_workspace(data: Path, tmp_path: Path) -> None:
    models, workspace, secret = tmp_path / "models", tmp_path / "workspace", tmp_path / "secret"
    for folder in (models, workspace, secret):
        folder.mkdir()
    (data / "link").symlink_to(secret)
    places = Places([workspace, data], also=[models], workspace=workspace)
    assert places.readable(f" {data}/images ") == data.resolve() / "images"
    assert places.readable(str(models / "one")) and places.writable(str(workspace / "new/run"))
    for path in (secret, data / "link", data / "../secret", "/etc/passwd", "~", tmp_path):
        with pytest.raises(ConfigError, match="--allow-path"):
            places.readable(str(path))
    for path in (data, models, workspace / "../data"):
        with pytest.raises(ConfigError, match="outside of the workspace"):
            places.writable(str(path))
    assert Places([workspace]).look("").folders == (str(workspace.resolve()),)


@pytest.mark.parametrize(
    "words",
    [
        ["--data", "/etc"],
        ["--data=/etc"],
        ["--set", "start=/etc/passwd"],
        ["--synthetic", "{data},/etc"],
        ["--synthetic", "{data} /etc"],
        ["--detector", "yolo11n=/etc/passwd"],
        ["--data", "../../etc"],
        ["--data", "~root"],
        ["--out", "{data}"],
        ["--ou", "{data}/run"],
        ["--out={data}"],
        ["--out", "run"],
    ],
)
def test_commands_name_no_other_paths(words: list[str], data: Path, tmp_path: Path) -> None:
    workspace = tmp_path / "a workspace"
    workspace.mkdir()
    places = Places([workspace, data], workspace=workspace)
    places.check_command(
        ["--data", str(workspace), "--layouts", "papercut:9@1", "--base", "owner/model", "--out", str(workspace)]
    )
    with pytest.raises(ConfigError, match="outside"):
        places.check_command([word.format(data=data) for word in words])


@pytest.mark.parametrize("typed", ["~nosuchuser/x", "a\0b", "x" * 5000, "/" + "y" * 300])
def test_no_paths(typed: str, data: Path) -> None:
    for ask in (Places([data]).readable, Places([data]).look, Places([data]).start):
        with pytest.raises(ConfigError):
            ask(typed)
