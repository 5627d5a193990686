"""A model folder as files: which there are, the SHA-256 of each, and parts that it shares with the folder beside it.

Where shared parts lie is said in `detdiffusion.core.parts`; they are verified there like every other part.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from detdiffusion.core.assets import BUNDLED_MODEL
from detdiffusion.core.files import file_hash, hash_of_hashes, json_object, read_json, write_text
from detdiffusion.core.parts import COMPONENTS, MANIFEST, ONLOOKERS, beside, part_folder, shared_parts
from detdiffusion.errors import CheckpointError, ConfigError, quoted, why
from detdiffusion.sampling_config import Recommended
from detdiffusion.text.vocabulary import VOCABULARY_FILE, Vocabulary

INDEX = "model_index.json"
PLAIN = "default"  # attention type of Stable Diffusion's U-Nets; GLIGEN's is another
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
WEIGHTS = (".safetensors", "tokenizer.json")  # endings of the files that hold what a part has learned
LAYOUTS = "layouts"  # folder of example layouts: whoever changes one has not damaged the model

_COPY = "copy the model folder again"


@dataclass(frozen=True, slots=True)
class Teacher:
    """Whom a student has learned from: `teacher` in its model_index.json.

    name: of the folder. sha256: its `weights_hash`.
    """

    name: str
    sha256: str

    def to_json(self) -> dict[str, str]:
        """As model_index.json holds it."""
        return asdict(self)


def write_manifest(folder: Path) -> None:
    """Writes manifest.json: the SHA-256 of every file of the model but notes (*.md), images and example layouts."""
    _write(folder, {name: file_hash(folder / name) for name in _model_files(folder)}, {})


def share_part(folder: Path, part: str, owner: Path) -> None:
    """Takes a part out of a model that equals the part of the model beside it, and refers to that one instead.

    Raises:
        CheckpointError: the folders do not lie side by side, or the two parts differ.
    """
    hashes, theirs = _read_manifest(folder), _read_manifest(owner)
    mine = {name: sha256 for name, sha256 in hashes.items() if name.startswith(f"{part}/")}
    if owner.resolve().parent != folder.resolve().parent:
        raise CheckpointError(f"{folder} can share its {part} only with a model beside it, not with {owner}")
    if not mine or any(theirs.get(name) != sha256 for name, sha256 in mine.items()):
        raise CheckpointError(f"{folder} and {owner} have different parts {part}: each has to keep its own")
    holder = shared_parts(owner).get(part, owner.resolve().name)  # which may have it from another one itself
    _write(folder, hashes, {**shared_parts(folder), part: holder})
    shutil.rmtree(folder / part)


def check_model(folder: Path) -> None:
    """CheckpointError where there is no model folder."""
    if (folder / INDEX).is_file():
        return
    if folder.resolve() == BUNDLED_MODEL:
        raise CheckpointError(
            f"the bundled model is expected in {folder}, and is not there: copy it there from the repository's "
            "assets/models/papercut, or name another model folder with --model"
        )
    raise CheckpointError(f"{folder} is no model folder ({INDEX} is missing): give the folder that holds it")


def verify(folder: Path) -> None:
    """Checks that a model folder is there, holds no pickle in place of weights, and is what its manifest says.

    A folder without a manifest (one that diffusers wrote) passes if its weights can be read by their headers.

    Raises:
        CheckpointError: naming the file, and for a damaged one both hashes.
    """
    read_recommended(folder)
    read_teacher(folder)
    _check_beside(folder)
    for component in components(folder):
        _refuse_pickles(part_folder(folder, component))
    if not (folder / MANIFEST).exists():
        return
    expected = _read_manifest(folder)
    for name, sha256 in expected.items():
        path = _file(folder, name)
        if not path.is_file():
            raise CheckpointError(f"{path} is missing: {_remedy(folder, name)}")
        found = file_hash(path)
        if found != sha256:
            raise CheckpointError(
                f"{path} is damaged: its SHA-256 is {found}, the manifest says {sha256}; {_remedy(folder, name)}"
            )
    extra = [name for name in _model_files(folder) if name not in expected and name.endswith(".safetensors")]
    if extra:
        raise CheckpointError(f"{folder / extra[0]} is not in {MANIFEST}: copy the model folder again")


def model_hash(folder: Path) -> str:
    """SHA-256 that names a generator: over the names and hashes of its files, but those that look at images only."""
    hashes = _hashes(folder)
    return hash_of_hashes({name: sha256 for name, sha256 in hashes.items() if name.partition("/")[0] not in ONLOOKERS})


def _hashes(folder: Path) -> dict[str, str]:
    """Those of the manifest; where there is none, of the files."""
    if (folder / MANIFEST).exists():
        return _read_manifest(folder)
    return {name: file_hash(folder / name) for name in _model_files(folder)}


def weights_hash(folder: Path) -> str:
    """SHA-256 that names what a generator has learned: over the weights of its parts, whatever its settings say.

    Raises:
        CheckpointError: its manifest cannot be read.
    """
    return hash_of_hashes(_weights(folder))


def same_parts(folder: Path, owner: Path) -> list[str]:
    """Parts whose weights are the same in two models, wherever they lie.

    Raises:
        CheckpointError: a manifest cannot be read.
    """
    mine, theirs = _weights(folder), _weights(owner)

    def of(part: str, weights: dict[str, str]) -> dict[str, str]:
        return {name: sha256 for name, sha256 in weights.items() if name.startswith(f"{part}/")}

    return [part for part in COMPONENTS if of(part, mine) and of(part, mine) == of(part, theirs)]


def _weights(folder: Path) -> dict[str, str]:
    return {
        name: sha256
        for name, sha256 in _hashes(folder).items()
        if name.partition("/")[0] in COMPONENTS and name.endswith(WEIGHTS)
    }


def read_vocabulary(folder: Path) -> Vocabulary:
    """The vocabulary of a model folder.

    Raises:
        CheckpointError: there is none, or it cannot be read.
    """
    path = folder / VOCABULARY_FILE
    if not path.is_file():
        raise CheckpointError(f"{path} is missing: {folder} is no DetDiffusion model, or was not copied as a whole")
    try:
        return Vocabulary.from_json(path.read_bytes())
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error}") from error


def read_recommended(folder: Path) -> Recommended:
    """How a model folder wants to be sampled; that of Papercut where it does not say.

    Raises:
        CheckpointError: there is no such model, its model_index.json cannot be read, or what it says makes no sense.
    """
    check_model(folder)
    index = read_json(folder / INDEX, json_object, CheckpointError, _COPY)
    try:
        return Recommended.from_json(index.get("sampling"))
    except ConfigError as error:
        raise CheckpointError(f"{folder / INDEX}: {error}") from error


def read_teacher(folder: Path) -> Teacher | None:
    """Whom a model has learned from; None for one that is no student, or does not say it.

    Raises:
        CheckpointError: there is no such model, its model_index.json cannot be read, or names no teacher there.
    """
    check_model(folder)
    said = read_json(folder / INDEX, json_object, CheckpointError, _COPY).get("teacher")
    if said is None:
        return None
    if (
        not isinstance(said, dict)
        or {*said} != {"name", "sha256"}
        or not all(isinstance(v, str) for v in said.values())
    ):
        raise CheckpointError(f"{folder / INDEX}: teacher is {quoted(said)}, and needs to be a name and a sha256")
    return Teacher(**said)


def components(folder: Path) -> dict[str, tuple[str | None, str | None]]:
    """Components of model_index.json that a pipeline loads: (library, class) by name."""

    def listed(index: Any) -> dict[str, tuple[str | None, str | None]]:
        return {name: tuple(value) for name, value in index.items() if name in COMPONENTS}

    return read_json(folder / INDEX, listed, CheckpointError, _COPY)


def attention_type(folder: Path) -> str:
    """What the configuration of a folder's U-Net says of its attention; "default" where it says nothing.

    Raises:
        CheckpointError: it cannot be read.
    """
    path = part_folder(folder, "unet") / "config.json"
    try:
        return str(json_object(json.loads(path.read_text())).get("attention_type") or PLAIN)
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path} does not describe a UNet2DConditionModel: {why(error)}") from error


def is_gligen(folder: Path) -> bool:
    """Whether a folder's U-Net reads boxes by attention of its own, as GLIGEN's do. CheckpointError: as above."""
    return attention_type(folder) != PLAIN


def _check_beside(folder: Path) -> None:
    """CheckpointError where a model is not there whose parts this one shares."""
    for owner in dict.fromkeys(shared_parts(folder).values()):
        place = beside(folder, owner)
        if not place.is_dir():
            parts = ", ".join(part for part, name in shared_parts(folder).items() if name == owner)
            raise CheckpointError(
                f"{folder} shares its {parts} with {owner}, and {place} is missing: copy both, {owner} beside "
                f"{folder.name}"
            )


def _refuse_pickles(folder: Path) -> None:
    """CheckpointError where a pickle stands in place of weights; it is not opened."""
    files = [path for path in sorted(folder.glob("*")) if path.is_file()]
    pickles = [path for path in files if path.suffix in PICKLES]
    if pickles and not any(path.suffix == ".safetensors" for path in files):
        raise CheckpointError(
            f"{pickles[0]} is a pickle, which can run code when it is opened; it was not. "
            "`python -m training convert SRC DST` writes the model as safetensors"
        )


def _model_files(folder: Path) -> list[str]:
    """Names, relative and with forward slashes, of the files that the manifest holds."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != MANIFEST)
    names = (path.relative_to(folder).as_posix() for path in paths if path.suffix not in (".md", ".png", ".jpg"))
    return [name for name in names if not name.startswith(f"{LAYOUTS}/")]


def _read_manifest(folder: Path) -> dict[str, str]:
    path = folder / MANIFEST
    hashes = read_json(path, lambda values: _texts(values["sha256"]), CheckpointError, _COPY)
    outside = [name for name in hashes if Path(name).is_absolute() or ".." in Path(name).parts]
    if outside:
        raise CheckpointError(f"{path} names a file outside the folder: {outside[0]}")
    return hashes


def _texts(values: Any) -> dict[str, str]:
    return {str(name): str(value) for name, value in values.items()}


def _file(folder: Path, name: str) -> Path:
    """A file of the manifest, wherever it lies."""
    part, slash, rest = name.partition("/")
    return part_folder(folder, part) / rest if slash else folder / name


def _remedy(folder: Path, name: str) -> str:
    owner = shared_parts(folder).get(name.partition("/")[0])
    return "copy the model folder again" + (f", with {owner} beside it, whose part it shares" if owner else "")


def _write(folder: Path, hashes: dict[str, str], shared: dict[str, str]) -> None:
    content = {"sha256": hashes, **({"shared": shared} if shared else {})}
    write_text(folder / MANIFEST, json.dumps(content, indent=1) + "\n")
