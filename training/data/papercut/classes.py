"""The classes of the built-in world with their ids in COCO, and the seeds that are held out of training."""

THING_IDS = {
    "person": 1, "car": 3, "airplane": 5, "bus": 6, "boat": 9, "traffic light": 10, "bird": 16, "cat": 17,
    "elephant": 22, "umbrella": 28, "sports ball": 37, "kite": 38, "cup": 47, "potted plant": 64, "tv": 72, "clock": 85,
}  # fmt: skip
STUFF_IDS = {
    "floor-wood": 118, "grass": 124, "hill": 127, "mountain": 135, "road": 149, "rug": 152, "sand": 154, "sea": 155,
    "sky-other": 157, "snow": 159, "wall-other": 173,
}  # fmt: skip
THINGS = tuple(THING_IDS)
STUFF = tuple(STUFF_IDS)

HELD_OUT_SEED = 900_000  # scenes from here up are never trained on
