"""Muon against torch's own, which knows matrices alone, and against a singular value decomposition."""

import pytest
import torch
from torch import nn

from training.core.checkpoints import pack_optimizer, unpack_optimizer
from training.core.muon import Muon, orthogonal


def matrix(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(8, 8), (6, 20), (20, 6), (1, 5)])
def test_a_step_is_about_orthogonal(shape: tuple[int, int]) -> None:
    given = matrix(*shape)
    found = orthogonal(given)
    values = torch.linalg.svdvals(found)
    assert values.min() > 0.5 and values.max() < 1.3
    u, _, v = torch.linalg.svd(given, full_matrices=False)
    torch.testing.assert_close(found, u @ torch.diag(torch.diag(u.T @ found @ v.T)) @ v, atol=1e-4, rtol=0)
    torch.testing.assert_close(orthogonal(given * 1000), found, atol=1e-4, rtol=0)
    assert not orthogonal(torch.zeros(shape)).any()


@pytest.mark.parametrize("shape", [(6, 20), (20, 6)])
def test_it_is_torchs_muon_in_single_precision(shape: tuple[int, int]) -> None:
    ours, theirs = (nn.Parameter(matrix(*shape)) for _ in range(2))
    one = Muon([ours], lr=0.1, momentum=0.9, weight_decay=0.2)
    other = torch.optim.Muon([theirs], lr=0.1, momentum=0.9, weight_decay=0.2, adjust_lr_fn="match_rms_adamw")
    for step in range(3):
        ours.grad = theirs.grad = matrix(*shape, seed=step + 1)
        one.step()
        other.step()
    torch.testing.assert_close(ours, theirs, atol=0.02, rtol=0)
    assert (ours - matrix(*shape)).abs().max() > 0.1, "the test would not see a difference"


def test_a_kernel_counts_as_a_matrix() -> None:
    kernel, flat = nn.Parameter(matrix(4, 3, 3, 3)), nn.Parameter(matrix(4, 3, 3, 3).flatten(1))
    kernel.grad = matrix(4, 3, 3, 3, seed=1)
    flat.grad = kernel.grad.flatten(1)
    Muon([kernel], lr=0.1).step()
    Muon([flat], lr=0.1).step()
    assert torch.equal(kernel.flatten(1), flat)
    with pytest.raises(ValueError, match=r"not parameters of the shape \[3\]"):
        Muon([nn.Parameter(torch.zeros(3))], lr=0.1)


def test_what_has_no_gradient_stays() -> None:
    parameter = nn.Parameter(matrix(4, 3))
    Muon([parameter], lr=0.1, weight_decay=0.5).step()
    assert torch.equal(parameter, matrix(4, 3))


def test_it_goes_on_from_its_state() -> None:
    def moved(parameter: nn.Parameter, optimizer: Muon, steps: range) -> None:
        for step in steps:
            parameter.grad = matrix(4, 3, seed=step + 1)
            optimizer.step()

    whole, cut = nn.Parameter(matrix(4, 3)), nn.Parameter(matrix(4, 3))
    moved(whole, Muon([whole], lr=0.1), range(4))
    first, second = Muon([cut], lr=0.1), Muon([cut], lr=0.1)
    moved(cut, first, range(2))
    unpack_optimizer(second, pack_optimizer(first, "muon"), "muon")
    moved(cut, second, range(2, 4))
    assert torch.equal(whole, cut)
