"""A batch is a function of (seed, step, place): any part of it is the same in any order; boxes follow pictures."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from detdiffusion.errors import DataError
from training.generator.batch import Batch, SampleStore, batch_indices, make_batch, shifted
from training.generator.config import GeneratorConfig

MakeStore = Callable[..., SampleStore]


def batch(store: SampleStore, config: GeneratorConfig, step: int = 0, positions: Sequence[int] | None = None) -> Batch:
    return make_batch(store, config, step, 1000, positions)


def without_dropout(config: GeneratorConfig, **changes: object) -> GeneratorConfig:
    return dataclasses.replace(config, prompt_dropout=0.0, **changes)


# --- the store ------------------------------------------------------------------------------------


def test_what_lies_on_disk_is_read_sample_by_sample(make_store: MakeStore, tmp_path: Path) -> None:
    store = make_store(tmp_path, std=True, flipped=True)
    assert store.shape == (4, 8, 8)
    assert [len(layout.boxes) for layout in store.layouts] == [1, 2, 3, 1, 2, 3]
    whole = [load_file(tmp_path / f"chunk-{number:05d}.safetensors") for number in range(2)]
    joined = {name: torch.cat([part[name] for part in whole]) for name in whole[0]}
    first = 0
    for index in (5, 0, 3, 1, 4, 2):
        plain, other = store.latents(index), store.latents(index, flipped=True)
        assert plain.std is not None and other.std is not None
        for found, name in (
            (plain.mean, "latents"),
            (plain.std, "latents_std"),
            (other.mean, "flipped"),
            (other.std, "flipped_std"),
        ):
            assert torch.equal(found, joined[name][index].float())
    for index, layout in enumerate(store.layouts):
        assert torch.equal(store.masks(index), joined["masks"][first : first + len(layout.boxes)])
        first += len(layout.boxes)


@pytest.mark.parametrize("scale", [1, 2])
def test_finer_masks_are_averaged_for_the_head(
    make_store: MakeStore, tiny: GeneratorConfig, tmp_path: Path, scale: int
) -> None:
    make_store(tmp_path)
    for path in tmp_path.glob("*.safetensors"):  # as if cached at four cells a latent cell
        tensors = load_file(path)
        shapes = torch.rand(len(tensors["masks"]), 32, 32, generator=torch.Generator().manual_seed(0))
        save_file({**tensors, "masks": (shapes * 255).byte()}, path)
    store, config = SampleStore.load(tmp_path), without_dropout(tiny, head={"width": 8, "scale": scale})
    made = batch(store, config)
    side, cells = 8 * scale, 4 // scale
    assert made.masks.shape[-2:] == (side, side)
    index = batch_indices(6, config, 0)[0]
    layout = made.layouts[0]
    assert layout is not None
    for row, box in zip(made.masks[0], layout.boxes, strict=False):
        fine = store.masks(index)[store.layouts[index].boxes.index(box)].float() / 255
        torch.testing.assert_close(row, fine.unflatten(0, (side, cells)).unflatten(2, (side, cells)).mean((1, 3)))


def test_masks_that_are_too_coarse_are_refused(store: SampleStore, tiny: GeneratorConfig) -> None:
    with pytest.raises(DataError, match="masks have 8x8 cells, and the perception head draws 16x16: make the samples"):
        batch(store, dataclasses.replace(tiny, head={"width": 8, "scale": 2}))


def test_no_samples_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no samples"):
        SampleStore.load(tmp_path)


@pytest.mark.parametrize("harm", ["cut", "gone"])
def test_damaged_samples_are_named(make_store: MakeStore, tmp_path: Path, harm: str) -> None:
    make_store(tmp_path)
    path = tmp_path / "chunk-00001.safetensors"
    if harm == "cut":
        path.write_bytes(path.read_bytes()[:100])
    else:
        path.unlink()
    with pytest.raises(DataError, match=r"chunk-00001\.safetensors is damaged .*run the same command again"):
        SampleStore.load(tmp_path)


@pytest.mark.parametrize("text", ["", "[", "3", '{"boxes": 1'])
def test_damaged_layouts_are_named(make_store: MakeStore, tmp_path: Path, text: str) -> None:
    make_store(tmp_path)
    (tmp_path / "chunk-00001.json").write_text(text)
    with pytest.raises(DataError, match=r"chunk-00001\.json is damaged .*delete it, and run the same command again"):
        SampleStore.load(tmp_path)


# --- order ----------------------------------------------------------------------------------------


def test_an_epoch_shows_every_sample_once(tiny: GeneratorConfig) -> None:
    seen = [index for step in range(5) for index in batch_indices(10, tiny, step)]
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10))
    assert seen[:10] != seen[10:]


def test_a_batch_may_be_larger_than_the_data(tiny: GeneratorConfig) -> None:
    assert sorted(batch_indices(2, tiny, 0)) == [0, 0, 1, 1]


def test_steps_out_of_order_give_the_same(store: SampleStore, tiny: GeneratorConfig) -> None:
    in_order = [batch(store, tiny, step) for step in range(5)]
    for step in (4, 1, 3, 0, 2):
        again = batch(store, tiny, step)
        assert again.layouts == in_order[step].layouts
        for one, other in zip(again, in_order[step], strict=True):
            assert not isinstance(one, torch.Tensor) or torch.equal(one, other)
    assert not torch.equal(in_order[0].noise, in_order[1].noise)


def test_the_seed_decides(store: SampleStore, tiny: GeneratorConfig) -> None:
    other = dataclasses.replace(tiny, seed=1)
    assert not torch.equal(batch(store, tiny).noise, batch(store, other).noise)


# --- objects --------------------------------------------------------------------------------------


def test_shifted_timesteps_are_the_same_ones_moved_towards_noise(store: SampleStore, tiny: GeneratorConfig) -> None:
    every = torch.arange(1000)
    assert torch.equal(shifted(every, 1.0, 1000), every)
    moved = shifted(every, 3.0, 1000)
    assert bool((moved >= every).all()) and bool((moved.diff() >= 0).all()) and moved[-1] == 999
    assert moved[500] == pytest.approx(750, abs=2), "u = 1/2 goes to 3/4"
    plain, noisier = (batch(store, dataclasses.replace(tiny, timestep_shift=shift)) for shift in (1.0, 3.0))
    assert torch.equal(noisier.timesteps, shifted(plain.timesteps, 3.0, 1000))
    assert torch.equal(noisier.noise, plain.noise) and noisier.layouts == plain.layouts


def test_masks_follow_their_objects(store: SampleStore, tiny: GeneratorConfig) -> None:
    config = without_dropout(tiny)
    for step in range(4):
        made = batch(store, config, step)
        for row, index in enumerate(batch_indices(len(store.layouts), config, step)):
            layout = made.layouts[row]
            assert layout is not None
            for n, box in enumerate(layout.boxes):
                original = store.masks(index)[store.layouts[index].boxes.index(box)].float() / 255
                assert torch.equal(made.masks[row, n], original)
            assert made.object_mask[row].sum() == len(layout.boxes)


def test_emptied_prompts_have_no_objects(store: SampleStore, tiny: GeneratorConfig) -> None:
    made = batch(store, dataclasses.replace(tiny, prompt_dropout=1.0))
    assert made.layouts == (None,) * 4 and not made.object_mask.any() and not made.object_weights.any()


def test_prompts_are_dropped_at_the_rate(store: SampleStore, tiny: GeneratorConfig) -> None:
    made = [batch(store, dataclasses.replace(tiny, prompt_dropout=0.25, batch=100), step) for step in range(4)]
    assert 60 < sum(layout is None for one in made for layout in one.layouts) < 140


def test_mirroring_keeps_picture_boxes_and_masks_in_step(
    make_store: MakeStore, tiny: GeneratorConfig, tmp_path: Path
) -> None:
    store = make_store(tmp_path, flipped=True)
    plain, all_flipped = batch(store, without_dropout(tiny)), batch(store, without_dropout(tiny, flip=1.0))
    for row, index in enumerate(batch_indices(6, tiny, 0)):
        assert torch.equal(plain.latents[row], store.latents(index).mean)
        assert torch.equal(all_flipped.latents[row], store.latents(index, flipped=True).mean)
        before, after = plain.layouts[row], all_flipped.layouts[row]
        assert before is not None and after is not None
        for one, other in zip(before.boxes, after.boxes, strict=True):
            assert other.xyxy == (1 - one.xyxy[2], one.xyxy[1], 1 - one.xyxy[0], one.xyxy[3])
            assert (other.label, other.attribute) == (one.label, one.attribute)
    assert torch.equal(all_flipped.masks, plain.masks.flip(-1))
    assert torch.equal(all_flipped.noise, plain.noise) and torch.equal(all_flipped.timesteps, plain.timesteps)


def test_half_of_the_pictures_are_mirrored(make_store: MakeStore, tiny: GeneratorConfig, tmp_path: Path) -> None:
    store = make_store(tmp_path, flipped=True)
    config = without_dropout(tiny, flip=0.5, batch=200)
    made = batch(store, config)
    indices = batch_indices(6, config, 0)
    flipped = [not torch.equal(made.latents[row], store.latents(index).mean) for row, index in enumerate(indices)]
    assert 70 < sum(flipped) < 130


def test_mirrored_twice_is_the_layout_again(store: SampleStore) -> None:
    for layout in store.layouts:
        twice = layout.mirrored().mirrored()
        for one, other in zip(twice.boxes, layout.boxes, strict=True):
            assert one.xyxy == pytest.approx(other.xyxy)


def test_latents_are_drawn_from_mean_and_spread(make_store: MakeStore, tiny: GeneratorConfig, tmp_path: Path) -> None:
    store = make_store(tmp_path, std=True)
    made = batch(store, dataclasses.replace(tiny, batch=400))
    scores = []
    for row, index in enumerate(batch_indices(6, dataclasses.replace(tiny, batch=400), 0)):
        mean, std = store.latents(index)
        assert std is not None
        scores.append((made.latents[row] - mean) / std.clamp(min=1e-3))
    stacked = torch.stack(scores)
    assert abs(float(stacked.mean())) < 0.02 and abs(float(stacked.std()) - 1) < 0.05
    assert abs(float((stacked * made.noise).mean())) < 0.02, "its own noise, not the one that is added"


# --- weights and parts ----------------------------------------------------------------------------


def test_pictures_or_objects_weigh_the_same(store: SampleStore, tiny: GeneratorConfig) -> None:
    for dropout in (0.0, 0.5):
        config = dataclasses.replace(tiny, prompt_dropout=dropout)
        made = batch(store, config)
        drawn = [0 if layout is None else len(layout.boxes) for layout in made.layouts]
        per_picture = [0.25 if count else 0.0 for count in drawn]
        assert made.object_weights.sum(dim=1).tolist() == pytest.approx(per_picture)
        loss = dataclasses.replace(config.loss, per_picture=False)
        weights = batch(store, dataclasses.replace(config, loss=loss)).object_weights
        assert weights.sum(dim=1).tolist() == pytest.approx([count / max(1, sum(drawn)) for count in drawn])
        assert weights.unique().numel() <= 2, "0 on padding, the same for every object"


@pytest.mark.parametrize("parts", [[[0, 1, 2, 3]], [[0, 1], [2, 3]], [[3], [0, 1, 2]], [[2], [0], [3], [1]]])
@pytest.mark.parametrize("per_picture", [True, False])
def test_the_parts_of_a_batch_are_the_batch(
    make_store: MakeStore, tiny: GeneratorConfig, tmp_path: Path, parts: list[list[int]], per_picture: bool
) -> None:
    store = make_store(tmp_path, std=True, flipped=True)
    loss = dataclasses.replace(tiny.loss, per_picture=per_picture)
    config = dataclasses.replace(tiny, loss=loss, flip=0.5, prompt_dropout=0.3)
    for step in range(3):
        whole = batch(store, config, step)
        made = [batch(store, config, step, positions) for positions in parts]
        assert sum(part.share for part in made) == pytest.approx(1) and whole.share == 1
        for positions, part in zip(parts, made, strict=True):
            assert part.layouts == tuple(whole.layouts[place] for place in positions)
            for name in ("latents", "noise", "timesteps"):
                assert torch.equal(getattr(part, name), getattr(whole, name)[positions])
            longest = part.masks.shape[1]
            for name in ("masks", "object_mask", "object_weights"):
                assert torch.equal(getattr(part, name), getattr(whole, name)[positions][:, :longest])
                assert not getattr(whole, name)[positions][:, longest:].any()


def test_layouts_are_read_as_they_were_written(store: SampleStore, tmp_path: Path) -> None:
    rows = json.loads((tmp_path / "store" / "chunk-00001.json").read_text())
    assert [layout.to_json() for layout in store.layouts[4:]] == rows


def test_objects_are_counted_once_per_step(
    store: SampleStore, tiny: GeneratorConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four parts of one step, weighed over all its objects: the noise of a place is drawn for its part, and once more
    for all of them together."""
    drawn: list[int] = []
    randn = torch.randn

    def counted(*shape: Any, **more: Any) -> torch.Tensor:
        drawn.append(1)
        return randn(*shape, **more)

    config = dataclasses.replace(tiny, seed=77, batch=8, loss=dataclasses.replace(tiny.loss, per_picture=False))
    monkeypatch.setattr(torch, "randn", counted)
    for first in range(0, 8, 2):
        batch(store, config, 3, range(first, first + 2))
    assert len(drawn) == 8 + 8
