"""The configuration that calibrates the laboratory of the lab_head data."""

from __future__ import annotations

from pathlib import Path

from fluoropose.calibration import write_config

__all__ = ["lab_head_calibration_toml"]


def lab_head_calibration_toml(data_dir: Path, path: Path) -> Path:
    """Write to ``path`` the CALIBRATION.toml for ``data_dir``/lab_head, and return ``path``."""
    return write_config(data_dir / "lab_head" / "calibration", path)
