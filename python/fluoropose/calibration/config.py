"""CALIBRATION.toml: what was recorded to calibrate a rig, and what is known about it beforehand."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from fluoropose._toml import Config, ConfigPath
from fluoropose.io.stored_frame import Polarity

__all__ = ["CalibrationConfig", "PlateConfig", "ViewConfig"]


def _millimetres(low: float, high: float) -> AfterValidator:
    def check(value: float) -> float:
        if not low <= value <= high:
            raise ValueError(f"expected {low:g} to {high:g} millimetres")
        return value

    return AfterValidator(check)


class PlateConfig(Config):
    """The bead plate: its square grid's spacing, and the order of the polynomial fitted to it.

    ``order`` "auto" takes the lowest order whose leave-out error is within 2 % of the smallest.
    """

    spacing_mm: Annotated[float, _millimetres(1, 100)]
    order: Annotated[int, Field(ge=1, le=15)] | Literal["auto"] = 5


class ViewConfig(Config):
    """One fluoroscope: its images, and its nominal geometry.

    An image is a file (PNG, TIFF, DICOM) or a folder or stack of frames, which are averaged. ``alignment`` has one
    image per placement of the tool, in the same order for all views. The principal point is counted from the image's
    centre, along u and v.
    """

    name: Annotated[str, Field(min_length=1)]
    plate: ConfigPath
    flat: ConfigPath | None = None
    alignment: tuple[ConfigPath, ...] = ()
    source_to_detector_mm: Annotated[float, _millimetres(200, 5000)]
    principal_point_mm: tuple[float, float] = (0.0, 0.0)
    detector_diameter_mm: Annotated[float, _millimetres(50, 1000)] | None = None


class CalibrationConfig(Config):
    """Everything ``fluoropose calibrate`` needs; relative paths are relative to the file's folder.

    ``tool`` is a CSV file with the columns bead, diameter_mm, x_mm, y_mm, z_mm; only a single view can do without it.
    ``bit_depth`` says how many bits carry signal where the files cannot tell (12 bits in 16-bit files): which value is
    black matters where bone is bright.
    ``sources`` says whether the sources are found from the tool's images or taken as given. The nominal angle between
    the axes of the first two views is only compared with the one found.
    """

    polarity: Polarity = "bright_air"
    bit_depth: Annotated[int, Field(ge=1, le=32)] | None = None
    sources: Literal["estimate", "nominal"] = "estimate"
    angle_between_axes_deg: Annotated[float, Field(gt=0, lt=180)] | None = None
    tool: ConfigPath | None = None
    plate: PlateConfig
    views: Annotated[tuple[ViewConfig, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _fits_together(self) -> CalibrationConfig:
        counts = {view.name: len(view.alignment) for view in self.views}
        if len(counts) != len(self.views):
            raise ValueError("views.name: expected different names")
        if len(set(counts.values())) > 1:
            found = ", ".join(f"{n} in {name}" for name, n in counts.items())
            raise ValueError(f"views.alignment: expected as many images in all views, found {found}")
        images = next(iter(counts.values()))
        if self.tool is None and (len(self.views) > 1 or images):
            raise ValueError("tool: missing; how the views stand to each other is found from the alignment tool")
        if self.tool is not None and not images:
            raise ValueError("views.alignment: expected at least one image of the tool in each view")
        return self
