"""Shared fixtures: where the real data is, and what a missing GPU means."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from fluoropose import _core

if TYPE_CHECKING:
    from trial_laboratory import Laboratory

_ROOT = Path(__file__).resolve().parents[2]

# A shared or slow machine must not fail a test for the time that an example took; the same examples run every time.
settings.register_profile("fluoropose", deadline=None, max_examples=50, derandomize=True, print_blob=True)
settings.load_profile("fluoropose")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test that needs CUDA where there is none; with FLUOROPOSE_REQUIRE_CUDA=1 fail it instead."""
    if item.get_closest_marker("needs_cuda") is None or _core.cuda_device_count() > 0:
        return
    if os.environ.get("FLUOROPOSE_REQUIRE_CUDA") == "1":
        pytest.fail("FLUOROPOSE_REQUIRE_CUDA=1, but there is no usable CUDA device", pytrace=False)
    pytest.skip("needs a CUDA device and a build with CUDA")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of the real data sets: FLUOROPOSE_DATA, else ../shared/data beside the repository."""
    folder = Path(os.environ.get("FLUOROPOSE_DATA", _ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real data folder not found at {folder}; set FLUOROPOSE_DATA")
    return folder


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Laboratory:
    """The small laboratory; its files are not to be changed."""
    from trial_laboratory import build

    return build(tmp_path_factory.mktemp("laboratory"))
