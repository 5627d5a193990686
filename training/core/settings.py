"""Settings as people give them: `--set field=value` and `--config FILE`, over a config that is there."""

import dataclasses
import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar, get_args, get_type_hints

from detdiffusion.errors import ConfigError, why

Settings = TypeVar("Settings")  # a dataclass, with dataclasses in it
SET = "--set "


def parse_settings(words: Iterable[str]) -> dict[str, Any]:
    """ "steps=3", "name=fast" -> {"steps": 3, "name": "fast"}: a value is JSON or plain text, the last one counts.

    Raises:
        ConfigError: a word is not of this form.
    """
    found: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals:
            raise ConfigError(f"{word!r}: --set takes field=value, such as learning_rate=1e-4")
        try:
            found[name] = json.loads(text)
        except ValueError:
            found[name] = text
    return found


def with_settings(config: Settings, words: Sequence[str], *, fixed: Sequence[str] = ()) -> Settings:
    """A config with `field=value` settings; a field of the loss is `loss.field`, a value is JSON or plain text.

    Args:
        fixed: fields that other arguments set, and that are no settings.

    Raises:
        ConfigError: no such field (the nearest is named), or a value of another kind.
    """
    changes: dict[str, Any] = {}
    for path, value in parse_settings(words).items():
        *parents, name = path.split(".")
        part, place = config, changes
        for parent in parents:
            if not dataclasses.is_dataclass(getattr(part, parent, None)):
                _refuse(part, parent, f"{SET}{path}", fixed)
            part, place = getattr(part, parent), place.setdefault(parent, {})
        place[name] = value
    return with_fields(config, changes, SET, fixed=fixed)


def with_fields(
    config: Settings, values: Mapping[str, Any], source: str, *, fixed: Sequence[str] = (), path: str = ""
) -> Settings:
    """A config with other fields, all changed at once; those of a config in it are a mapping of their own.

    Args:
        source: what a message begins with, `--set ` or `FILE: `.
        path: of the config, where it is part of another one ("loss.").

    Raises:
        ConfigError: no such field (the nearest is named), or a value of another kind.
    """
    kinds = get_type_hints(type(config))
    new: dict[str, Any] = {}
    for name, value in values.items():
        here = f"{path}{name}"
        if name not in kinds or name in fixed:
            _refuse(config, name, f"{source}{here}", fixed)
        old = getattr(config, name)
        if dataclasses.is_dataclass(old) and isinstance(value, Mapping):
            new[name] = with_fields(old, value, source, path=f"{here}.")
        else:
            new[name] = _checked(old, value, f"{source}{here}", any_length=Ellipsis in get_args(kinds[name]))
    return dataclasses.replace(config, **new)  # type: ignore[type-var]


def read_settings(path: Path) -> dict[str, Any]:
    """Fields by their names, from a JSON or YAML file.

    Raises:
        ConfigError: it cannot be read, or holds something else.
    """
    from detdiffusion.core.yaml_files import load_yaml

    try:
        text = path.read_text(encoding="utf-8")
        try:
            values = json.loads(text)  # first, for YAML reads JSON's 1e-05 as text
        except (ValueError, RecursionError):
            values = load_yaml(text)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {why(error)}") from error
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise ConfigError(f"{path} needs fields and their values, such as steps: 1000")
    return values


def _refuse(part: object, name: str, where: str, fixed: Sequence[str]) -> NoReturn:
    known = [field.name for field in dataclasses.fields(part) if field.name not in fixed]  # type: ignore[arg-type]
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
    raise ConfigError(f"{where}: there is no such field; {hint}")


def _checked(old: Any, value: Any, where: str, *, any_length: bool = False) -> Any:
    """A value of the kind that the field has: numbers stay whole or not, lists become tuples."""
    if dataclasses.is_dataclass(old):
        raise ConfigError(f"{where}={value}: set its fields, such as {_path(where)}.{dataclasses.fields(old)[0].name}")
    if isinstance(old, Mapping) or old is None:
        if value is None or isinstance(value, dict):
            return _tuples(value)
        raise ConfigError(f'{where}={value}: needs a JSON object such as {{"width": 64}}, or null')
    if isinstance(old, tuple) and isinstance(value, list) and (len(value) == len(old) or (any_length and old)):
        kinds = [old[0]] * len(value) if any_length else old
        return tuple(_checked(a, b, where) for a, b in zip(kinds, value, strict=True))
    if isinstance(old, float) and type(value) in (int, str):  # as text: 1e-4 in YAML
        try:
            return float(value)
        except ValueError:
            pass
    if type(value) is not type(old):
        raise ConfigError(f"{where}={value}: needs a value like {json.dumps(old)}")
    return value


def _tuples(value: Any) -> Any:
    """The value with tuples for its lists, as presets have them."""
    if isinstance(value, dict):
        return {name: _tuples(inner) for name, inner in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _path(where: str) -> str:
    """ "--set loss" -> "loss"."""
    return where.split(" ")[-1]
