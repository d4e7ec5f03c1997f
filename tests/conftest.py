"""What every test runs under: one thread, warnings as errors, and the real models where they are at hand."""

import os
from pathlib import Path

import pytest
import torch
from hypothesis import settings

pytest.register_assert_rewrite("closed_form", "blindspots.testing.attack")

os.environ.setdefault("OMP_NUM_THREADS", "1")  # for the processes that tests start
torch.set_num_threads(1)  # several workers share the cores

settings.register_profile("local", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")

BESIDE = Path(__file__).parents[2] / "shared"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "zoo" in getattr(item, "fixturenames", ()):
            item.add_marker("zoo")


@pytest.fixture(scope="session")
def zoo() -> Path:
    """The folder of real models, with its loader zoo.py: BLINDSPOTS_ZOO, else ../shared beside the checkout."""
    folder = Path(os.environ.get("BLINDSPOTS_ZOO", BESIDE))
    if not (folder / "zoo.py").is_file():
        pytest.skip(f"no zoo.py in {folder}: set BLINDSPOTS_ZOO to the folder of real models")
    return folder
