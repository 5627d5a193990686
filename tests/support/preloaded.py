"""What studios and trainings import. A process that has it all gives forks, which need not load it again (warm.py)."""

import os

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # as `python -m app` sets it before the libraries are loaded

import app.engine.studio
import app.page
import app.serving.server
import app.store.recovery
import training.__main__
import training.core.processes
import training.generator.trainer

LOADED = (app.page, app.engine.studio, app.serving.server, app.store.recovery, training.__main__)
LOADED += (training.core.processes, training.generator.trainer)
