"""Streaming gives what json.load gives, wherever a chunk ends, and never holds more than one element."""

import json
from pathlib import Path

import pytest

from detdiffusion.core import json_stream
from detdiffusion.core.json_stream import BARE_LIST, elements
from detdiffusion.errors import DataError

DOCUMENTS = {
    "empty": {},
    "empty lists": {"a": [], "b": []},
    "order": {"info": {"x": [1, {"y": 2}]}, "b": [1, 2.5, -3e2], "skipped": [{"a": [9]}], "a": [{"id": 1}, {"id": 2}]},
    "strings": {"a": ['{"[', 'é\\"]}', "\u2028", "😀"], "n": None, "t": True, "f": 12},
    "deep": {"a": [[[[[1]]], {"b": {"c": []}}]], "b": [None, False]},
}


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("name", DOCUMENTS)
def test_as_json_load(
    name: str, indent: int | None, chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_stream, "CHUNK", chunk)
    path = tmp_path / "file.json"
    path.write_text(json.dumps(DOCUMENTS[name], indent=indent, ensure_ascii=False), encoding="utf-8")
    expected = [(key, item) for key, value in DOCUMENTS[name].items() if key in "ab" for item in value]
    assert list(elements(path, ("a", "b"))) == expected


@pytest.mark.parametrize("text", ["[]", "[1, 2.5, {}]", ' [{"a": [1]}]\n'])
def test_a_file_that_is_a_list(text: str, tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_text(text)
    assert list(elements(path, (BARE_LIST, "a"))) == [(BARE_LIST, item) for item in json.loads(text)]
    path.write_text('{"a": [3]}')
    assert list(elements(path, (BARE_LIST, "a"))) == [("a", 3)]


def test_a_mark_at_the_start_is_no_part_of_the_text(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_text('{"a": [1]}', encoding="utf-8-sig")
    assert list(elements(path, ("a",))) == [("a", 1)]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "expected '{', got the end of the file"),
        ("[]", "expected '{', got '['"),
        ('{"a": [{"id": 1}', "got the end of the file: it is cut short (character 16)"),
        ('{"a": [1', "got the end of the file"),
        ('{"a": [{"id": 1', "not JSON"),
        ('{"a": [1 2]}', "expected ',', got '2'"),
        ('{"a": [1,]}', "not JSON: Expecting value (character 9)"),
        ('{"a": 3}', "a needs to be a list"),
        ('{"a": []} x', "something follows"),
        ('{"a" []}', "expected ':'"),
        ('{"a": [' + "[" * 100_000, "not JSON"),
    ],
)
def test_what_is_wrong_is_said_with_the_place(text: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_text(text)
    with pytest.raises(DataError, match=r"file\.json") as caught:
        list(elements(path, ("a",)))
    assert reason in str(caught.value)


def test_files_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    with pytest.raises(DataError, match="no such file"):
        list(elements(path, ("a",)))
    path.write_bytes(b'{"a": ["\xff\xfe"]}')
    with pytest.raises(DataError, match="UTF-8"):
        list(elements(path, ("a",)))


def test_an_element_without_an_end_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault early in a large file must not bring all of it into memory."""
    monkeypatch.setattr(json_stream, "CHUNK", 64)
    monkeypatch.setattr(json_stream, "MAX_ELEMENT", 1000)
    path = tmp_path / "file.json"
    path.write_text('{"a": [{"id": 1}, {"id": "' + "x" * 100_000)
    found = elements(path, ("a",))
    assert next(found) == ("a", {"id": 1})
    with pytest.raises(DataError, match=r"no whole JSON value in 1,000 characters"):
        next(found)
