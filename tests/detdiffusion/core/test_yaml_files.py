"""YAML of people: no growth by aliases, no text of other files in messages."""

import pytest

from detdiffusion.bounds import YAML_CHARACTERS
from detdiffusion.core.yaml_files import load_yaml


def test_plain_values_and_aliases() -> None:
    assert load_yaml("a: &x [1, two]\nb: *x\nc: {<<: {d: 3}}") == {"a": [1, "two"], "b": [1, "two"], "c": {"d": 3}}
    assert load_yaml("") is None


BOMB = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (BOMB, "its aliases stand for more"),
        (f"name: &n {'x' * 100_000}\nall: [{', '.join(['*n'] * 100)}]", "its aliases stand for more"),
        ("a: &a [*a]", "more than|cannot be read|no YAML"),
        ("x" * (YAML_CHARACTERS + 1), "more than 4,000,000 characters"),
        ("[" * 5000, "nested too deeply|no YAML"),
        ("root:x:0:0:secret line\nroot: [", "line 2: this is no YAML"),
        ("a: !!python/object/apply:os.system [id]", "line 1: this is no YAML"),
        ("a: 2024-99-99", "cannot be read"),
        ("a: \x00", "character 3 cannot stand in YAML"),
    ],
)
def test_what_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        load_yaml(text)
    assert "secret" not in str(caught.value)
