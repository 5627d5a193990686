"""Sizes of canvases."""

import pytest

from app.components.canvas_sizes import nearest_size, proposed_sizes


@pytest.mark.parametrize(
    ("ratio", "size"), [(1.0, (256, 256)), (4 / 3, (256, 192)), (3 / 4, (192, 256)), (1.02, (256, 256))]
)
def test_sizes_are_near_the_models_own(ratio: float, size: tuple[int, int]) -> None:
    assert nearest_size(ratio, (256, 256), 64) == size


def test_a_wide_model_keeps_its_own_size() -> None:
    assert nearest_size(800 / 456, (456, 800), 64) == (800, 456)


@pytest.mark.parametrize("multiple", [32, 64])
@pytest.mark.parametrize("native", [(256, 256), (512, 512), (456, 800)])
def test_proposals_differ_and_can_be_drawn(native: tuple[int, int], multiple: int) -> None:
    sizes = [(width, height) for _, width, height in proposed_sizes(native, multiple)]
    assert len(set(sizes)) == len(sizes) >= 3
    assert all(size == native[::-1] or not (size[0] % multiple or size[1] % multiple) for size in sizes)
