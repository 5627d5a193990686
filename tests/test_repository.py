"""What may lie in the repository: size, kind and place of every file that git tracks or would add."""

import re
import subprocess
import zipfile
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MIB = 2**20
FILE_LIMIT = 15 * MIB
ASSETS_LIMIT = 180_000_000
BUNDLED_MODEL_LIMIT = 60_000_000
PICKLE_SUFFIXES = {".bin", ".ckpt", ".joblib", ".pickle", ".pkl", ".pt", ".pth"}
TEXT_SUFFIXES = {"", ".cfg", ".css", ".html", ".js", ".json", ".md", ".py", ".svg", ".toml", ".txt", ".yaml", ".yml"}
# Home and mount folders of one machine; a dot, letter or colon before the slash is part of another path or an address.
MACHINE_PATH = re.compile(r"(?<![\w.:/~-])/(?:home|mnt|root|Users|work)/[\w.-]+")


@cache
def repository_files() -> tuple[Path, ...]:
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip("not a git checkout: there is no list of the repository's files")
    paths = (ROOT / name for name in done.stdout.split("\0") if name)
    return tuple(path for path in paths if path.is_symlink() or path.is_file())


def under(folder: str) -> list[Path]:
    return [path for path in repository_files() if path.is_relative_to(ROOT / folder)]


def total_size(files: list[Path]) -> int:
    return sum(path.stat().st_size for path in files)


def is_pickle(path: Path) -> bool:
    """By name, by the first bytes of a bare pickle (protocol 2 to 5), or by a pickle inside a zip (torch.save)."""
    if path.suffix.lower() in PICKLE_SUFFIXES:
        return True
    with path.open("rb") as file:
        head = file.read(2)
    if len(head) == 2 and head[0] == 0x80 and 2 <= head[1] <= 5:
        return True
    return zipfile.is_zipfile(path) and any(name.endswith(".pkl") for name in zipfile.ZipFile(path).namelist())


def machine_paths(text: str) -> list[str]:
    return MACHINE_PATH.findall(text)


def test_no_file_is_large() -> None:
    assert [str(path.relative_to(ROOT)) for path in repository_files() if path.lstat().st_size > FILE_LIMIT] == []


def test_no_link_is_committed() -> None:
    """Links break on Windows and in archives."""
    assert [str(path.relative_to(ROOT)) for path in repository_files() if path.is_symlink()] == []


def test_assets_stay_within_their_limits() -> None:
    assert total_size(under("assets")) <= ASSETS_LIMIT
    assert total_size(under("assets/models/papercut")) <= BUNDLED_MODEL_LIMIT


def test_assets_hold_no_pickle() -> None:
    assert [str(path.relative_to(ROOT)) for path in under("assets") if is_pickle(path)] == []


def test_the_only_links_are_to_the_shared_autoencoder() -> None:
    shared = ROOT / "assets/models/papercut/vae"
    links = [path for path in repository_files() if path.is_symlink()]
    assert [str(path.relative_to(ROOT)) for path in links if path.resolve().parent != shared] == []
    assert [str(path) for path in map(Path.readlink, links) if path.is_absolute()] == []


def test_no_path_of_a_machine_is_written_down() -> None:
    found = {
        str(path.relative_to(ROOT)): paths
        for path in repository_files()
        if path.suffix in TEXT_SUFFIXES and path != Path(__file__).resolve()
        if (paths := machine_paths(path.read_text(encoding="utf-8")))
    }
    assert found == {}


def test_no_file_names_this_checkout() -> None:
    """Pictures, weights and settings too: none carries the folder in which it was made."""
    here = str(ROOT).encode()
    assert [str(path.relative_to(ROOT)) for path in repository_files() if here in path.read_bytes()] == []


def test_every_requirement_is_exact() -> None:
    lines = [
        line.split("#")[0].strip()
        for path in ROOT.glob("requirements*.txt")
        for line in path.read_text(encoding="utf-8").splitlines()
        if not line.startswith("-r requirements-")
    ]
    assert [line for line in lines if line and not re.fullmatch(r"[A-Za-z0-9._-]+(\[\w+\])?==[\w.]+", line)] == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("see /home/ada/data", ["/home/ada"]),
        ('"/root/.cache"', ["/root/.cache"]),
        ("/Users/ada", ["/Users/ada"]),
        ("https://host.org/home/page", []),
        ("app/work/home", []),
        ("../work/x", []),
        ("/usr/bin/chromium", []),
    ],
)
def test_machine_paths_are_recognised(text: str, found: list[str]) -> None:
    assert machine_paths(text) == found


def test_pickles_are_recognised(tmp_path: Path) -> None:
    (tmp_path / "plain.json").write_text("{}")
    (tmp_path / "weights.pt").write_bytes(b"x")
    (tmp_path / "disguised.safetensors").write_bytes(b"\x80\x04\x95")
    with zipfile.ZipFile(tmp_path / "archive.dat", "w") as archive:
        archive.writestr("archive/data.pkl", b"")
    assert sorted(path.name for path in tmp_path.iterdir() if is_pickle(path)) == [
        "archive.dat",
        "disguised.safetensors",
        "weights.pt",
    ]
