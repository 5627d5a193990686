"""Settings of a run: changed by `--set`, kept with the run, and compared when it goes on (fault 12)."""

import dataclasses
import difflib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from detdiffusion.errors import ConfigError
from detdiffusion.files import write_json

Settings = TypeVar("Settings")  # a dataclass, with dataclasses in it


def check_same_config(saved: Path, new: Mapping[str, Any]) -> None:
    """Refuses to go on with another config (fault 12).

    Raises:
        ConfigError: with the fields that differ.
    """
    old = json.loads(saved.read_text())
    differing = sorted(_differences(old, json.loads(json.dumps(new))))
    if differing:
        raise ConfigError(
            f"{saved.parent} was started with another config; these differ: {'; '.join(differing)}. "
            "Use the old settings, or another --out"
        )


def _differences(old: Any, new: Any, path: str = "") -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            d
            for key in old.keys() | new.keys()
            for d in _differences(old.get(key), new.get(key), f"{path}.{key}".lstrip("."))
        ]
    return [] if old == new else [f"{path} was {old!r}, is {new!r}"]


def with_settings(config: Settings, settings: Sequence[str]) -> Settings:
    """A config with `field=value` settings; a field of the loss is `loss.field`, a value is JSON or plain text.

    Raises:
        ConfigError: no such field (the nearest is named), or a value of another kind.
    """
    for setting in settings:
        path, equals, text = setting.partition("=")
        if not equals:
            raise ConfigError(f"{setting!r}: --set takes field=value, such as learning_rate=1e-4")
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        config = _replaced(config, path.split("."), value, path)
    return config


def _replaced(part: Any, names: Sequence[str], value: Any, path: str) -> Any:
    name, *inner = names
    fields = {f.name for f in dataclasses.fields(part)}
    if name not in fields or (inner and not dataclasses.is_dataclass(getattr(part, name))):
        near = difflib.get_close_matches(name, fields, 1)
        raise ConfigError(f"--set {path}: there is no such field" + (f"; did you mean {near[0]}?" if near else ""))
    old = getattr(part, name)
    new = _replaced(old, inner, value, path) if inner else _checked(old, value, path)
    return dataclasses.replace(part, **{name: new})


def _checked(old: Any, value: Any, path: str) -> Any:
    """A value of the kind that the field has: numbers stay whole or not, lists become tuples."""
    if dataclasses.is_dataclass(old):
        raise ConfigError(f"--set {path}={value}: set its fields, such as {path}.{dataclasses.fields(old)[0].name}")
    if isinstance(old, Mapping) or old is None:
        if value is None or isinstance(value, dict):
            return value
        raise ConfigError(f'--set {path}={value}: needs a JSON object such as {{"width": 64}}, or null')
    if isinstance(old, tuple) and isinstance(value, list) and len(value) == len(old):
        return tuple(_checked(a, b, path) for a, b in zip(old, value, strict=True))
    if isinstance(old, float) and type(value) is int:
        return float(value)
    if type(value) is not type(old):
        raise ConfigError(f"--set {path}={value}: needs a value like {json.dumps(old)}")
    return value


def keep_settings(path: Path, settings: Mapping[str, Any]) -> None:
    """Writes the settings of a new run; a run that was started with these very ones goes on.

    Raises:
        ConfigError: it was started with others, which are named.
    """
    now = json.loads(json.dumps(settings))  # as they are read back: tuples are lists
    if not path.exists():
        write_json(path, now)
        return
    try:
        started = dict(json.loads(path.read_text(encoding="utf-8")))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{path} is damaged ({error}); delete {path.parent} and start again") from error
    differing = [
        f"{key} was {started.get(key)!r}, is {now.get(key)!r}"
        for key in sorted({*started, *now})
        if started.get(key) != now.get(key)
    ]
    if differing:
        raise ConfigError(
            f"{path.parent} was started with other settings: {'; '.join(differing)}. "
            "Use the old ones, give another --out, or delete that folder"
        )
