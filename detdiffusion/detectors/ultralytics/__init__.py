"""YOLO and RT-DETR detectors by ultralytics (AGPL-3.0): load, detect, train. Only `library.py` imports it."""
