"""The configuration that calibrates the laboratory of the lab_head data."""

from __future__ import annotations

import tomllib
from pathlib import Path

__all__ = ["lab_head_calibration_toml"]


def lab_head_calibration_toml(data_dir: Path, path: Path) -> Path:
    """Write to ``path`` the CALIBRATION.toml for ``data_dir``/lab_head, from what its nominal.toml says."""
    folder = (data_dir / "lab_head" / "calibration").resolve()
    nominal = tomllib.loads((folder / "nominal.toml").read_text(encoding="utf-8"))
    placements = sorted({f.name.split("_")[1] for f in folder.glob("alignment_*_view1.png")})
    lines = [
        'polarity = "bright_air"',
        'sources = "estimate"',
        f"angle_between_axes_deg = {nominal['angle_between_axes_deg']}",
        f"tool = {_quoted(folder / 'alignment_tool.csv')}",
        "",
        "[plate]",
        f"spacing_mm = {nominal['plate_bead_spacing_mm']}",
        'order = "auto"',
    ]
    for k, distance in enumerate(nominal["source_to_intensifier_mm"], 1):
        images = ", ".join(_quoted(folder / f"alignment_{p}_view{k}.png") for p in placements)
        lines += [
            "",
            "[[views]]",
            f'name = "view {k}"',
            f"plate = {_quoted(folder / f'plate_view{k}.png')}",
            f"flat = {_quoted(folder / f'flat_view{k}.png')}",
            f"alignment = [{images}]",
            f"source_to_detector_mm = {distance}",
            f"detector_diameter_mm = {nominal['intensifier_diameter_mm']}",
        ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _quoted(path: Path) -> str:
    # TOML's literal strings take backslashes as they are.
    return f"'{path}'"
