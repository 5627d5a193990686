"""What every test stands on: no hub, one thread, no windows. Set before anything imports torch or matplotlib.

It also knows the tiers. Where a test lies and which fixtures it takes say what it needs; whoever reads a trained model
or starts a process that imports torch without the marker for it gets a warning, so that `make test-fast` stays fast.
"""

import os
import resource
import socket
import sys
from collections.abc import Generator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # the models are small: more threads only wait for each other
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("MPLBACKEND", "Agg")

TESTS = Path(__file__).resolve().parent
TRAINED = str(TESTS.parent / "assets" / "models")
READS_ALL = TESTS / "test_repository.py"  # the bytes of every file, for what may not lie there
NEEDS = {"world_model": "model", "trained": "slow"}  # fixtures, and the marker of what they need
HEAVY = 3.0  # seconds of the processor that a test's children may use together: to import torch takes as long
SPENT = pytest.StashKey[float]()
found: set[str] = set()  # what the test that runs was seen to need


def watch(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook, which stays as long as the process: it only writes down."""
    if event == "open" and str(arguments[0]).startswith(TRAINED) and str(arguments[0]).endswith(".safetensors"):
        found.add("model")


sys.addaudithook(watch)


def children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.hookimpl(tryfirst=True)  # before pytest's own, which leaves out what is not asked for
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(TESTS / "browser"):
            for name in ("browser", "model", "process"):
                item.add_marker(name)
        for fixture in getattr(item, "fixturenames", ()):
            if fixture in NEEDS:
                item.add_marker(NEEDS[fixture])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, None, None]:
    found.clear()
    item.stash[SPENT] = children_seconds()
    yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, None, None]:
    yield
    if children_seconds() - item.stash[SPENT] > HEAVY:
        found.add("process")
    unsaid = sorted(name for name in found if item.get_closest_marker(name) is None)
    if unsaid and item.path != READS_ALL:
        item.warn(pytest.PytestWarning(f"this test needs the marker {' and '.join(unsaid)}"))


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def published() -> ModuleType:
    """`published_folders.py` beside this file: writes model folders in the form in which others published them."""
    spec = spec_from_file_location("published_folders", Path(__file__).with_name("published_folders.py"))
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
