"""What reads ahead does so in order, and leaves the cores to whoever uses it."""

from collections.abc import Iterator

import pytest
import torch

from training.core.reading import read_ahead


@pytest.fixture
def two_threads() -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield 2
    torch.set_num_threads(before)


def test_items_come_in_their_order() -> None:
    assert list(read_ahead(range(20), lambda item: item**2, ahead=3)) == [(item, item**2) for item in range(20)]


def test_readers_compute_by_themselves(two_threads: int) -> None:
    """One that computes on all cores has a team of threads of its own, which keeps that of whoever uses it waiting."""
    found = [threads for _, threads in read_ahead(range(4), lambda _: torch.get_num_threads(), ahead=2)]
    assert found == [1] * 4
    assert torch.get_num_threads() == two_threads
