"""`python -m app`: help that reads well, and one line with the reason where it cannot start."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from app.__main__ import Place, build_parser, main

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _same_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the command sets for its libraries goes away with the test."""
    monkeypatch.setattr(os, "environ", dict(os.environ))


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


@pytest.mark.process
def test_port_in_use_is_named_by_the_command_itself(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "app", "--port", str(port), "--workspace", str(tmp_path)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(f"error: port {port} cannot be used")
    assert done.stderr.count("\n") == 1


def test_missing_model_folder(tmp_path: Path, free_port: int, capsys: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / "nowhere"
    arguments = ["--port", str(free_port), "--workspace", str(tmp_path / "w"), "--model", str(model)]
    assert f"{model} is no model folder" in refused(arguments, capsys)


def test_a_device_that_is_not_there(tmp_path: Path, free_port: int, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--port", str(free_port), "--workspace", str(tmp_path / "w"), "--device", "nonsense"]
    assert refused(arguments, capsys).startswith("error: --device nonsense: there is no such device")


def test_damaged_weights(
    tmp_path: Path, model_folder: Path, free_port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    model = shutil.copytree(model_folder, tmp_path / "model")
    weights = next((model / "unet").glob("*.safetensors"))
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    arguments = ["--port", str(free_port), "--workspace", str(tmp_path / "w"), "--model", str(model)]
    message = refused(arguments, capsys)
    assert weights.name in message
    assert "damaged" in message
    assert message.count("SHA-256") == 1


def test_model_with_a_damaged_detector(
    tmp_path: Path, model_folder: Path, free_port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    model = shutil.copytree(model_folder, tmp_path / "model")
    (model / "detectors/bundled").mkdir(parents=True)
    arguments = ["--port", str(free_port), "--workspace", str(tmp_path / "w"), "--model", str(model)]
    assert str(model / "detectors/bundled") in refused(arguments, capsys)


@pytest.mark.parametrize("port", ["0", "65536", "http", "-1"])
def test_ports_that_are_none(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([f"--port={port}"])
    assert stopped.value.code == 2
    assert "1 to 65535" in capsys.readouterr().err


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    assert all(flag in text for flag in ("--port", "--workspace", "--model"))


@pytest.mark.parametrize(
    ("place", "risky"),
    [
        (Place("127.0.0.1", 7860), False),
        (Place("::1", 7860), False),
        (Place("localhost", 7860), False),
        (Place("0.0.0.0", 7860), True),
        (Place("studio.example", 7860), True),
        (Place("0.0.0.0", 7860, (("ada", "secret"),)), False),
        (Place("127.0.0.1", 7860, share=True), True),
        (Place("127.0.0.1", 7860, (("ada", "secret"),), share=True), False),
    ],
)
def test_whoever_opens_the_studio_to_others_is_warned(place: Place, risky: bool) -> None:
    assert ("--auth NAME:PASSWORD" in place.warning()) == risky


def test_logins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert build_parser().parse_args(["--auth", "ada:a:b", "--auth", "bob:c"]).auth == [("ada", "a:b"), ("bob", "c")]
    with pytest.raises(SystemExit):
        build_parser().parse_args(["--auth", "ada"])
    assert "NAME:PASSWORD" in capsys.readouterr().err
    monkeypatch.setenv("DETDIFFUSION_AUTH", "ada")
    assert "DETDIFFUSION_AUTH: a login needs to be NAME:PASSWORD" in refused(["--workspace", str(tmp_path)], capsys)


def test_a_host_that_is_not_this_machine(tmp_path: Path, free_port: int, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--workspace", str(tmp_path), "--port", str(free_port), "--host", "192.0.2.7"]
    assert "or another --host" in refused(arguments, capsys)
