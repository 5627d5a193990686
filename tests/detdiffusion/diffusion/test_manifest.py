"""Parts that two model folders share: named in the manifest, verified, never outside the folder beside."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from detdiffusion.core.parts import MANIFEST, part_folder
from detdiffusion.diffusion.checkpoint import check_architecture, save_pipeline
from detdiffusion.diffusion.manifest import (
    INDEX,
    Teacher,
    model_hash,
    read_teacher,
    share_part,
    verify,
    weights_hash,
    write_manifest,
)
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
    said = r"shares its vae with owner, and .*owner is missing: copy both, owner beside sharing"
    with pytest.raises(CheckpointError, match=said):
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


@pytest.mark.parametrize(
    "said", ["owner", 3, {"name": "owner"}, {"name": "owner", "sha256": 1}, {"name": "a", "x": "b"}]
)
def test_a_teacher_is_a_name_and_a_hash(owner: Path, said: object) -> None:
    index = json.loads((owner / INDEX).read_text())
    assert read_teacher(owner) is None
    (owner / INDEX).write_text(json.dumps({**index, "teacher": {"name": "a", "sha256": "b"}}))
    assert read_teacher(owner) == Teacher("a", "b")
    (owner / INDEX).write_text(json.dumps({**index, "teacher": said}))
    with pytest.raises(CheckpointError, match=r"model_index\.json: teacher is .*, and needs to be a name and a sha256"):
        load_pipeline(owner)


def test_what_a_model_has_learned_has_a_name_whatever_its_settings_say(owner: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(owner, other)
    index = json.loads((other / INDEX).read_text())
    (other / INDEX).write_text(json.dumps({**index, "guidance_interval": [0.0, 0.5]}))
    write_manifest(other)
    assert weights_hash(other) == weights_hash(owner) and model_hash(other) != model_hash(owner)
    (weights,) = (other / "unet").glob("*.safetensors")
    weights.write_bytes(weights.read_bytes() + b" ")
    write_manifest(other)
    assert weights_hash(other) != weights_hash(owner)
    (other / MANIFEST).unlink()
    assert weights_hash(other) != weights_hash(owner), "of the files, where there is no manifest"
