"""YAML from people: nothing in it makes objects, aliases cannot make it grow, and faults are told without its text."""

from __future__ import annotations

from typing import Any

import yaml  # type: ignore[import-untyped]

from detdiffusion.bounds import YAML_CHARACTERS


class BoundedLoader(yaml.SafeLoader):  # type: ignore[misc]  # PyYAML is Any to mypy
    """Refuses what is larger than `YAML_CHARACTERS` once all aliases are written out."""

    def get_single_node(self) -> Any:
        """The document's tree."""
        node = super().get_single_node()
        if node is not None and _size(node, {}) > YAML_CHARACTERS:
            raise yaml.YAMLError(f"its aliases stand for more than {YAML_CHARACTERS:,} characters")
        return node


def load_yaml(text: str, loader: type[BoundedLoader] = BoundedLoader) -> Any:
    """The value of a YAML document.

    Raises:
        ValueError: it is none; the message has the line, and no part of the text, which may be of any file.
    """
    if len(text) > YAML_CHARACTERS:
        raise ValueError(f"it has more than {YAML_CHARACTERS:,} characters")
    try:
        return yaml.load(text, Loader=loader)
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise ValueError(f"{line}this is no YAML") from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except yaml.reader.ReaderError as error:
        raise ValueError(f"character {error.position} cannot stand in YAML") from error
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, KeyError, OverflowError) as error:
        known = str(error) if type(error) is yaml.YAMLError else "a value cannot be read"
        raise ValueError(known) from error


def _size(node: Any, known: dict[int, int]) -> int:
    """Characters and values below a node; one that stands within itself is endless."""
    if isinstance(node, yaml.ScalarNode):
        return 1 + len(node.value)
    if id(node) not in known:
        known[id(node)] = YAML_CHARACTERS + 1  # while it is looked into
        parts = (part for pair in node.value for part in pair) if isinstance(node, yaml.MappingNode) else node.value
        known[id(node)] = 1 + sum(_size(part, known) for part in parts)
    return known[id(node)]
