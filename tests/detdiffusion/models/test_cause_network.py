"""The network of causes: where the box is, what it is told of the box, and that both count."""

import pytest
import torch

from detdiffusion.models.cause_network import CauseNetwork, box_masks, geometry

FRAME = (0.25, 0.25, 0.75, 0.75)


def inputs(count: int = 3, side: int = 32) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    crops = torch.rand(count, 3, side, side, generator=generator) * 2 - 1
    boxes = torch.tensor([FRAME]).expand(count, 4)
    return [crops, boxes, torch.arange(count) % 2, boxes]


def network() -> CauseNetwork:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return CauseNetwork(classes=2, outputs=5, widths=(8, 8, 16), embedding=4).eval()


@pytest.mark.parametrize(
    ("frame", "rows"),
    [
        ((0.0, 0.0, 1.0, 1.0), [[1, 1, 1, 1]] * 4),
        ((0.25, 0.5, 0.75, 1.0), [[0, 0, 0, 0], [0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0]]),
        ((0.125, 0.0, 0.5, 0.375), [[0.5, 1, 0, 0], [0.25, 0.5, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]),
    ],
)
def test_masks_by_hand(frame: tuple[float, ...], rows: list[list[float]]) -> None:
    assert box_masks(torch.tensor([frame]), (4, 4)).tolist() == [[rows]]


def test_geometry_by_hand() -> None:
    told = geometry(torch.tensor([[0.0, 0.5, 0.5, 0.75]]))
    area, aspect = torch.tensor([0.125, 2.0]).log().tolist()
    assert told[0].tolist() == pytest.approx([0.25, 0.625, 0.5, 0.25, area, aspect])


def test_what_is_known_of_an_object_changes_the_answer() -> None:
    crops, frames, labels, boxes = inputs()
    one, model = network()(crops, frames, labels, boxes), network()
    assert one.shape == (3, 5)
    moved = boxes * 0.5
    others = [(crops.flip(3), frames, labels, boxes), (crops, frames * 0.5, labels, boxes)]
    others += [(crops, frames, 1 - labels, boxes), (crops, frames, labels, moved)]
    assert all(not torch.allclose(one, model(*other)) for other in others)


def test_an_object_is_answered_alone() -> None:
    whole, parts = network()(*inputs()), [network()(*(part[i : i + 1] for part in inputs())) for i in range(3)]
    torch.testing.assert_close(whole, torch.cat(parts), atol=1e-5, rtol=1e-5)


def test_it_is_small() -> None:
    weights = sum(one.numel() for one in CauseNetwork(classes=16, outputs=13).parameters())
    assert 100_000 < weights < 700_000
