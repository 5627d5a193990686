"""Where the models that ship with the project are."""

from pathlib import Path

BUNDLED_MODEL = Path(__file__).resolve().parent.parent / "assets" / "models" / "papercut"
