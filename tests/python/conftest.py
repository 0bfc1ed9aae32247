"""Shared fixtures: where the real data is, and what a missing GPU means."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of the real data sets: FLUOROPOSE_DATA, else ../shared/data beside the repository."""
    folder = Path(os.environ.get("FLUOROPOSE_DATA", _ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real data folder not found at {folder}; set FLUOROPOSE_DATA")
    return folder
