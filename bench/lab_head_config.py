"""The configuration that calibrates the laboratory of the lab_head data.

python bench/lab_head_config.py --data DATA --out out/head/calibration.toml
"""

from __future__ import annotations

import argparse
from pathlib import Path

from fluoropose.calibration import write_config

__all__ = ["lab_head_calibration_toml"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder that holds lab_head")
    parser.add_argument("--out", type=Path, required=True, help="the TOML file to write")
    arguments = parser.parse_args()
    print(lab_head_calibration_toml(arguments.data, arguments.out))


def lab_head_calibration_toml(data_dir: Path, path: Path) -> Path:
    """Write to ``path`` the CALIBRATION.toml for ``data_dir``/lab_head, and return ``path``."""
    return write_config(data_dir / "lab_head" / "calibration", path)


if __name__ == "__main__":
    main()
