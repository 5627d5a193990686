"""Papercut: a small procedural world of flat paper scenes, written as COCO-Thing-Stuff data.

A scene is a pure function of its seed. A share of the objects is made naturally difficult (odd colours, blur,
occlusion, deformation, glare, blending into the background, small size); the data never says which: attributes come
from a detector. `scene` and `scenes` (scene.py) make them, `write_dataset` (coco_export.py) writes them.
"""
