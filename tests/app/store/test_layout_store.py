"""Layouts saved by name."""

from pathlib import Path
from typing import Any

import pytest

from app.store.layout_store import LayoutStore
from detdiffusion.errors import ConfigError
from detdiffusion.layout import Layout


@pytest.fixture
def store(tmp_path: Path) -> LayoutStore:
    return LayoutStore(tmp_path / "layouts")


def test_kept_by_name_replaced_and_forgotten(store: LayoutStore, street: dict[str, Any]) -> None:
    layout = Layout.from_json(street)
    assert store.layouts() == {}
    assert store.save("  Crossing   at noon ", layout) == "Crossing at noon"
    other = Layout.from_json({**street, "objects": street["objects"][:1]})
    store.save("Crossing at noon", other)
    store.save("Ampel", layout)
    assert LayoutStore(store.folder).layouts() == {"Ampel": layout, "Crossing at noon": other}
    store.remove("Ampel")
    store.remove("Ampel")
    assert list(store.layouts()) == ["Crossing at noon"]


@pytest.mark.parametrize("name", ["", "  ", "../secret", "a/b", "a\\b", ".hidden", "x" * 61, "a\x00b"])
def test_names_that_no_file_can_have(store: LayoutStore, street: dict[str, Any], name: str) -> None:
    with pytest.raises(ConfigError, match="needs to be a name"):
        store.save(name, Layout.from_json(street))
    with pytest.raises(ConfigError, match="needs to be a name"):
        store.remove(name)


def test_other_files_are_left_alone(store: LayoutStore, street: dict[str, Any]) -> None:
    store.save("mine", Layout.from_json(street))
    (store.folder / "broken.json").write_text("{")
    assert list(store.layouts()) == ["mine"]
    assert (store.folder / "broken.json").exists()


def test_a_folder_that_cannot_be_written_says_so(tmp_path: Path, street: dict[str, Any]) -> None:
    (tmp_path / "layouts").write_text("a file where the folder should be")
    with pytest.raises(ConfigError, match="cannot be written"):
        LayoutStore(tmp_path / "layouts").save("mine", Layout.from_json(street))
