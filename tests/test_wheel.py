"""What `pip install .` gives: commands, scripts and styles, the bundled model; from a directory that knows no checkout.

The wheel is installed into a fresh environment that sees the libraries installed here (a .pth file) and nothing else.
"""

import json
import os
import site
import socket
import subprocess
import sys
import threading
import venv
import zipfile
from pathlib import Path

import pytest
from gradio_client import Client
from PIL import Image

from detdiffusion.image_record import read_image

ROOT = Path(__file__).resolve().parents[1]
START_SECONDS = 120
LAYOUT = {
    "width": 256,
    "height": 256,
    "objects": [{"label": "road", "box": [0, 0.5, 1, 1]}, {"label": "car", "box": [0.2, 0.45, 0.7, 0.75]}],
}

LEFT_OUT = ("tests/", "docs/", "assets/models/papercut-controlnet/", "assets/models/papercut-geodiffusion/")

pytestmark = [pytest.mark.model, pytest.mark.process]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of what git tracks, so that nothing else can slip in, and no build folder is left behind."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in filter(None, names):
        if name.startswith(LEFT_OUT) or not (ROOT / name).is_file():
            continue
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        os.link(ROOT / name, source / name) if _same_disk(ROOT, source) else (source / name).write_bytes(
            (ROOT / name).read_bytes()
        )
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(out),
        str(source),
    ]
    subprocess.run(build, check=True, capture_output=True, text=True)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def commands(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the installed commands."""
    place = tmp_path_factory.mktemp("fresh")
    venv.create(place, with_pip=False)
    (packages,) = place.glob("lib/python*/site-packages")
    (packages / "installed-here.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    install = ["-m", "pip", "--python", str(place / "bin/python"), "install", "-q", "--no-deps", str(wheel)]
    subprocess.run([sys.executable, *install], check=True, capture_output=True, text=True)
    return place / "bin"


@pytest.fixture
def elsewhere(tmp_path: Path) -> dict[str, object]:
    """For subprocesses: another directory, and no word of the checkout."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return {"cwd": tmp_path, "env": environment, "text": True}


def _same_disk(one: Path, other: Path) -> bool:
    return one.stat().st_dev == other.stat().st_dev


def test_the_wheel_holds_every_script_and_style_and_the_bundled_model(wheel: Path) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    wanted = {path.relative_to(ROOT).as_posix() for kind in ("*.js", "*.css") for path in (ROOT / "app").rglob(kind)}
    assert wanted
    assert wanted <= inside
    data = {name.partition(".data/data/")[2] for name in inside}
    for model in ("papercut", "papercut-fast"):
        manifest = json.loads((ROOT / "assets/models" / model / "manifest.json").read_text())
        own = [name for name in manifest["sha256"] if name.partition("/")[0] not in manifest.get("shared", {})]
        assert {f"share/detdiffusion/assets/models/{model}/{name}" for name in own} <= data and own
    assert "share/detdiffusion/assets/models/papercut/layouts/1-street.json" in data
    assert not [name for name in inside if name.startswith(("tests/", "benchmarks/"))]


@pytest.mark.parametrize("command", ["detdiffusion", "detdiffusion-train", "detdiffusion-studio"])
def test_every_command_is_there(command: str, commands: Path, elsewhere: dict[str, object]) -> None:
    done = subprocess.run([commands / command, "--help"], capture_output=True, check=False, **elsewhere)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stderr
    assert "usage:" in done.stdout


@pytest.mark.long
def test_it_serves_and_draws_from_a_directory_of_its_own(
    commands: Path, elsewhere: dict[str, object], tmp_path: Path
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [commands / "detdiffusion-studio", "--port", str(port), "--workspace", "studio"]
    with (tmp_path / "errors.log").open("w") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, **elsewhere)  # type: ignore[call-overload]
        killer = threading.Timer(START_SECONDS, process.kill)
        killer.start()
        try:
            line = process.stdout.readline()
            assert f"http://127.0.0.1:{port}" in line, (tmp_path / "errors.log").read_text()
            client = Client(f"http://127.0.0.1:{port}", verbose=False)
            answer = client.predict(layout=LAYOUT, seed=3, steps=2, api_name="/generate")
        finally:
            killer.cancel()
            process.terminate()
            process.communicate(timeout=60)
    assert answer["model"] == "papercut"
    pictures = sorted((tmp_path / "studio/pictures").rglob("*.png"))
    assert any(read_image(path).layout.boxes[1].label == "car" for path in pictures)
    with Image.open(pictures[0]) as image:
        assert image.size == (256, 256)


def test_a_missing_bundled_model_is_named_in_one_line(
    commands: Path, elsewhere: dict[str, object], tmp_path: Path
) -> None:
    (tmp_path / "layout.json").write_text(json.dumps(LAYOUT))
    models = commands.parent / "share/detdiffusion/assets/models"
    models.rename(models.with_name("gone"))
    try:
        command = [commands / "detdiffusion", "layout.json", "--out", "out"]
        done = subprocess.run(command, capture_output=True, check=False, **elsewhere)  # type: ignore[call-overload]
    finally:
        models.with_name("gone").rename(models)
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert "the bundled model is expected in" in line
    assert "--model" in line
