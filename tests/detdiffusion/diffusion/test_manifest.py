"""Parts that two model folders share: named in the manifest, verified, never outside the folder beside."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from detdiffusion.diffusion.checkpoint import check_architecture, save_pipeline
from detdiffusion.diffusion.manifest import MANIFEST, model_hash, part_folder, share_part, verify
from detdiffusion.diffusion.pipeline import DetDiffusionPipeline, load_pipeline
from detdiffusion.errors import CheckpointError
from detdiffusion.layout import Layout


@pytest.fixture
def owner(tiny_pipeline: DetDiffusionPipeline, tmp_path: Path) -> Path:
    save_pipeline(tiny_pipeline, tmp_path / "owner")
    return tmp_path / "owner"


@pytest.fixture
def sharing(owner: Path) -> Path:
    """A model whose autoencoder is its neighbour's."""
    folder = owner.with_name("sharing")
    shutil.copytree(owner, folder)
    share_part(folder, "vae", owner)
    return folder


def test_a_shared_part_is_verified_and_loaded_from_beside(
    owner: Path, sharing: Path, layout_of: Callable[..., Layout]
) -> None:
    assert not (sharing / "vae").exists()
    assert part_folder(sharing, "vae") == owner / "vae"
    assert part_folder(sharing, "unet") == sharing / "unet"
    verify(sharing)
    check_architecture(sharing)
    assert model_hash(sharing) == model_hash(owner)
    alike = [
        load_pipeline(folder)([layout_of(2)], seeds=[3], steps=2).images[0].tobytes() for folder in (owner, sharing)
    ]
    assert alike[0] == alike[1]


def test_damage_of_the_owner_is_found(owner: Path, sharing: Path) -> None:
    (weights,) = (owner / "vae").glob("*.safetensors")
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(CheckpointError, match=rf"{weights} is damaged.*with owner beside it"):
        verify(sharing)


def test_a_folder_that_was_copied_alone_says_what_belongs_beside_it(owner: Path, sharing: Path) -> None:
    shutil.rmtree(owner)
    with pytest.raises(CheckpointError, match=r"vae/config.json is missing.*with owner beside it"):
        load_pipeline(sharing)


@pytest.mark.parametrize("name", ["", ".", "..", "../owner", "/owner", "a/b", "a\\b"])
def test_only_a_folder_beside_can_be_named(sharing: Path, name: str) -> None:
    path = sharing / MANIFEST
    path.write_text(json.dumps({**json.loads(path.read_text()), "shared": {"vae": name}}))
    with pytest.raises(CheckpointError, match="only a folder beside this one"):
        verify(sharing)


def test_only_a_part_that_is_the_same_can_be_shared(owner: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(owner, other)
    manifest = json.loads((other / MANIFEST).read_text())
    manifest["sha256"]["vae/config.json"] = "0" * 64
    (other / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match="have different parts vae"):
        share_part(other, "vae", owner)
    assert (other / "vae").is_dir()
    far = tmp_path / "far" / "model"
    shutil.copytree(owner, far)
    with pytest.raises(CheckpointError, match="only with a model beside it"):
        share_part(far, "vae", owner)
