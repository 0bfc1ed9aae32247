"""The configuration for calibration images that lie in a folder under their customary names."""

from __future__ import annotations

import tomllib
from pathlib import Path

from fluoropose._files import write_text
from fluoropose._toml import quoted
from fluoropose.errors import FileFormatError, first_line

__all__ = ["write_config"]


def write_config(folder: str | Path, path: str | Path) -> Path:
    """Write to ``path`` the CALIBRATION.toml for a folder that holds two views' images, and return ``path``.

    The folder holds ``nominal.toml`` (plate_bead_spacing_mm, intensifier_diameter_mm, angle_between_axes_deg,
    source_to_intensifier_mm), ``alignment_tool.csv``, ``flat_viewN.png``, ``plate_viewN.png`` and, per placement PP of
    the tool, ``alignment_PP_viewN.png``.
    """
    folder = Path(folder).resolve()
    try:
        nominal = tomllib.loads((folder / "nominal.toml").read_text(encoding="utf-8"))
        spacing, diameter = float(nominal["plate_bead_spacing_mm"]), float(nominal["intensifier_diameter_mm"])
        angle, distances = float(nominal["angle_between_axes_deg"]), map(float, nominal["source_to_intensifier_mm"])
        known = f"angle_between_axes_deg = {angle}\n"
        views = [_view(folder, k, distance, diameter) for k, distance in enumerate(distances, 1)]
    except (OSError, ValueError, TypeError) as error:
        raise FileFormatError(f"{folder / 'nominal.toml'}: cannot be read: {first_line(error)}") from error
    except KeyError as error:
        raise FileFormatError(f"{folder / 'nominal.toml'}: {error.args[0]}: missing") from error
    _require_same_placements(folder, len(views))
    head = f"{known}tool = {quoted(folder / 'alignment_tool.csv')}\n"
    plate = f'\n[plate]\nspacing_mm = {spacing}\norder = "auto"\n'
    write_text(path, head + plate + "".join(views))
    return Path(path)


def _require_same_placements(folder: Path, views: int) -> None:
    """Raise FileFormatError where a placement of the tool was not seen by every view."""
    images = [{p.name.removesuffix(f"_view{k}.png") for p in _placements(folder, k)} for k in range(1, views + 1)]
    for number, found in enumerate(images, 1):
        missing = sorted(set().union(*images) - found)
        if missing:
            raise FileFormatError(f"{folder / f'{missing[0]}_view{number}.png'}: missing; other views have it")


def _placements(folder: Path, number: int) -> list[Path]:
    return sorted(folder.glob(f"alignment_*_view{number}.png"))


def _view(folder: Path, number: int, distance_mm: float, diameter_mm: float) -> str:
    images = "".join(f"  {quoted(image)},\n" for image in _placements(folder, number))
    return (
        f'\n[[views]]\nname = "view {number}"\n'
        f"plate = {quoted(folder / f'plate_view{number}.png')}\n"
        f"flat = {quoted(folder / f'flat_view{number}.png')}\n"
        f"alignment = [\n{images}]\n"
        f"source_to_detector_mm = {distance_mm}\n"
        f"detector_diameter_mm = {diameter_mm}\n"
    )
