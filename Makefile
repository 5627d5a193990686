# Two commands do everything on a fresh machine: `make studio` and `make test`.

PYTHON    ?= python3
PORT      ?= 7860
WORKSPACE ?= workspace
MODEL     ?= assets/models/papercut

VENV := .venv
BIN  := $(VENV)/bin
PIP  := $(BIN)/python -m pip --disable-pip-version-check

# `make studio` goes on offline once installed, and an interrupted install is taken up again: a stamp is
# written only after everything of its list is in place, and is renewed when the list changes.
RUNTIME := $(VENV)/.runtime-installed
EXTRAS  := $(VENV)/.test-installed

.DEFAULT_GOAL := help
.PHONY: help studio test test-fast test-long lint check-yolov4 check-readers

help:
	@echo "make studio        the studio at http://127.0.0.1:$(PORT)   (options: PORT=, WORKSPACE=, MODEL=)"
	@echo "make test          lint and tests: half an hour at most (browser tests need Chromium: apt-get install chromium)"
	@echo "make test-long     lint and every test, also those that do at greater length what others do"
	@echo "make test-fast     the tests without browser, trained model or extra processes: five minutes"
	@echo "make lint          ruff, mypy and import-linter"
	@echo "make check-yolov4  our YOLOv4 against OpenCV 4's, in an environment of its own (.venv-opencv4)"
	@echo "make check-readers our data sets in FiftyOne, CVAT's reader, Label Studio and Hugging Face (.venv-readers)"
	@echo "Each creates $(VENV) and installs what it needs first (PYTHON=$(PYTHON); Python 3.11 or newer)."

studio: $(RUNTIME)
	@echo "== starting the studio on port $(PORT), workspace $(WORKSPACE), model $(MODEL)"
	@$(BIN)/python -m app --port $(PORT) --workspace "$(WORKSPACE)" --model "$(MODEL)"

lint: $(EXTRAS)
	@echo "== ruff check"
	@$(BIN)/ruff check .
	@echo "== ruff format --check"
	@$(BIN)/ruff format --check .
	@echo "== mypy --strict (detdiffusion, training, app)"
	@rm -f app/*.pyi  # gradio writes them on import, and mypy would read them in place of the sources
	@$(BIN)/mypy
	@echo "== import-linter (who may import whom)"
	@$(BIN)/lint-imports --no-cache

# OpenCV 5 has lost the importer of Darknet's files, so version 4 lives apart. Its answers are kept beside the test, which
# compares with them everywhere; DETDIFFUSION_OPENCV4_OUT=tests/detdiffusion/yolov4_opencv.npz writes them again.
check-yolov4: $(EXTRAS)
	@test -x .venv-opencv4/bin/python || $(PYTHON) -m venv .venv-opencv4
	@.venv-opencv4/bin/python -m pip --disable-pip-version-check install -q -r tests/opencv4/requirements.txt
	@DETDIFFUSION_OPENCV4=.venv-opencv4/bin/python $(BIN)/python -m pytest -s tests/detdiffusion/detectors/test_yolov4.py -k opencv

# FiftyOne, Datumaro (CVAT), Label Studio and Hugging Face are large and want other versions of what we need: apart, too.
check-readers: $(EXTRAS)
	@test -x .venv-readers/bin/python || $(PYTHON) -m venv .venv-readers
	@.venv-readers/bin/python -m pip --disable-pip-version-check install -q -r tests/readers/requirements.txt
	@DETDIFFUSION_READERS=.venv-readers/bin/python $(BIN)/python -m pytest -s tests/training/synthesis/test_handover.py

test test-long: lint
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || \
	  echo "== NOTE: no Chromium on this machine, so THE BROWSER TESTS ARE SKIPPED (Debian: apt-get install chromium)"
	@echo "== pytest"
	@$(BIN)/python tests/suite.py$(if $(filter test-long,$@), --long)

test-fast: $(EXTRAS)
	@$(BIN)/python tests/suite.py --fast

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed: install it, or name one with PYTHON=python3.12" >&2; exit 1; }
	@echo "== creating $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "python's venv module is missing (Debian: apt-get install python3-venv)" >&2; exit 1; }

# opencv comes with ultralytics and links to libGL through its windows, which we never open. Where a bare server has no
# libGL, the same version without windows takes its place.
$(RUNTIME): requirements.txt | $(BIN)/python
	@echo "== installing requirements.txt (torch is the CUDA build, about 5 GB; it runs on the CPU as it is)"
	@$(PIP) install -r requirements.txt
	@$(BIN)/python -c 'import cv2' 2>/dev/null || { \
	  echo "== this machine has no libGL: opencv without windows is installed instead"; \
	  version=$$($(BIN)/python -c 'from importlib.metadata import version; print(version("opencv-python"))') && \
	  $(PIP) install --no-deps --force-reinstall "opencv-python-headless==$$version" && \
	  $(BIN)/python -c 'import cv2'; }
	@touch $@

$(EXTRAS): requirements-test.txt requirements-ray.txt requirements-mcp.txt requirements-lora.txt requirements-openvino.txt $(RUNTIME)
	@echo "== installing requirements-test.txt"
	@$(PIP) install $(foreach list,$(filter requirements%,$^),-r $(list))
	@touch $@
