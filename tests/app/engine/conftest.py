"""What the tests of the engine share."""

from typing import Any

import pytest

from detdiffusion.layout import Layout


@pytest.fixture
def layout(street: dict[str, Any]) -> Layout:
    return Layout.from_json(street)
