"""What OpenCV 4 makes of networks of Darknet: run by a Python of its own, since OpenCV 5 has lost the importer.

    python forward.py FOLDER OUT.npz

FOLDER has NAME.cfg, NAME.weights and NAME.npy (inputs [n, 3, H, W] float32) of each network. OUT holds
`NAME_input0_map0` and so on: [rows, 5 + classes] of each [yolo] section, in their order, as OpenCV has decoded it: rows
by cell and then anchor; centre and size in fractions, objectness, class scores times objectness (zero if below the
section's `thresh`).
"""

import sys
from pathlib import Path

import cv2
import numpy as np


def main(folder: str, out: str) -> None:
    found = {}
    for cfg in sorted(Path(folder).glob("*.cfg")):
        net = cv2.dnn.readNetFromDarknet(str(cfg), str(cfg.with_suffix(".weights")))
        net.setPreferableBackend(cv2.dnn.DNN_BACKEND_OPENCV)
        names = sorted(net.getUnconnectedOutLayersNames(), key=lambda name: int(name.removeprefix("yolo_")))
        for i, picture in enumerate(np.load(cfg.with_suffix(".npy"), allow_pickle=False)):
            net.setInput(picture[None])
            for j, rows in enumerate(net.forward(names)):
                found[f"{cfg.stem}_input{i}_map{j}"] = rows.astype(np.float32)
    np.savez_compressed(out, version=np.frombuffer(cv2.__version__.encode(), np.uint8), **found)
    print("OpenCV", cv2.__version__, {name: rows.shape for name, rows in found.items()})


if __name__ == "__main__":
    main(*sys.argv[1:])
