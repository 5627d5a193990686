"""How fine the changes are that something makes to an image: noise that only one detector sees is fine."""

from __future__ import annotations

import numpy as np
from PIL import Image

from detdiffusion.evaluation.sharpness import luminance


def high_frequency_share(image: Image.Image, before: Image.Image, cell: int) -> float:
    """Of the energy of the change in luminance, the share that is finer than cells of `cell` pixels can show (above
    1 / (2 cell) cycles a pixel, in either direction): what an autoencoder's latents do not hold cell by cell, and its
    decoder makes of them. 0 to 1; NaN where nothing changed.
    """
    change = luminance(image) - luminance(before)
    energy = np.abs(np.fft.fft2(change)) ** 2
    rows, columns = (np.abs(np.fft.fftfreq(side)) for side in change.shape)
    fine = np.maximum(rows[:, None], columns[None, :]) > 1 / (2 * cell)
    return float(energy[fine].sum() / energy.sum()) if energy.sum() > 0 else float("nan")
