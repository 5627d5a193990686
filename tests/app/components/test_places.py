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
        with pytest.raises(ConfigError, match="outside of what the studio shows; type the path"):
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
