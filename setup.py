"""What pyproject.toml cannot say: the bundled model lies outside the packages, and goes along."""

from pathlib import Path

from setuptools import setup

ASSETS = ("assets/models/papercut", "assets/models/papercut-fast")  # the baselines stay in the repository


def folders(root: str) -> list[tuple[str, list[str]]]:
    """Every folder below one, as it is installed, with its files."""
    found = sorted({path.parent for path in Path(root).rglob("*") if path.is_file()})
    return [
        (f"share/detdiffusion/{folder.as_posix()}", [str(path) for path in sorted(folder.iterdir()) if path.is_file()])
        for folder in found
    ]


setup(data_files=[entry for root in ASSETS for entry in folders(root)])
