"""Settings that stay with a run: whoever goes on with it must mean the same ones."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from detdiffusion.core.files import json_object, read_json, write_json
from detdiffusion.errors import ConfigError

NOTHING: Mapping[str, Any] = MappingProxyType({})


def check_settings(
    path: Path, settings: Mapping[str, Any], old_names: Mapping[str, str] = NOTHING, added: Mapping[str, Any] = NOTHING
) -> None:
    """What `keep_settings` raises, of the settings that are known so far; nothing is written."""
    if path.exists():
        _compare(path, json.loads(json.dumps(settings)), old_names, added, known=settings.keys())


def keep_settings(
    path: Path, settings: Mapping[str, Any], old_names: Mapping[str, str] = NOTHING, added: Mapping[str, Any] = NOTHING
) -> None:
    """Writes the settings of a new run; a run that was started with these very ones goes on.

    Args:
        old_names: of settings, as version 0.1 wrote them, with those of now.
        added: settings that older files lack, with what they were then.

    Raises:
        ConfigError: it was started with others, which are named (`loss.use_dice was True, is False`).
    """
    now = json.loads(json.dumps(settings))  # as they are read back: tuples are lists
    if not path.exists():
        write_json(path, now)
        return
    _compare(path, now, old_names, added)


def _compare(
    path: Path,
    now: Mapping[str, Any],
    old_names: Mapping[str, str],
    added: Mapping[str, Any],
    known: Collection[str] | None = None,
) -> None:
    """known: the settings that are compared; None: all."""
    remedy = f"delete {path.parent} and start again"
    started = read_json(path, lambda values: _renamed(json_object(values), old_names), ConfigError, remedy)
    if known is not None:
        started = {name: value for name, value in started.items() if name in known}
    differing = sorted(_differences(started, now, added))
    if differing:
        raise ConfigError(
            f"{path.parent} was started with other settings: {'; '.join(differing)}. "
            "Use the old ones, give another --out, or delete that folder"
        )


def _renamed(settings: Any, names: Mapping[str, str]) -> Any:
    """With these names in place of the old ones, at any depth."""
    if not isinstance(settings, dict):
        return settings
    return {names.get(name, name): _renamed(value, names) for name, value in settings.items()}


def _differences(old: Any, new: Any, added: Mapping[str, Any], path: str = "") -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in old.keys() | new.keys():
            yield from _differences(old.get(key, added.get(key)), new.get(key), added, f"{path}.{key}".lstrip("."))
    elif old != new:
        yield f"{path} was {old!r}, is {new!r}"
