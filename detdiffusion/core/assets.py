"""Where the models that ship with the project are: in the checkout, or where pip has put them."""

import site
import sys
from pathlib import Path

_PLACES = (
    Path(__file__).resolve().parents[2] / "assets",
    Path(sys.prefix) / "share" / "detdiffusion" / "assets",
    Path(site.getuserbase()) / "share" / "detdiffusion" / "assets",
)

ASSETS = next((place for place in _PLACES if (place / "models").is_dir()), _PLACES[0])
BUNDLED_MODEL = ASSETS / "models" / "papercut"
