"""Write a simulated laboratory the way a real one leaves its files, and the truth beside them.

::

    FOLDER/head_ct.nii.gz                        what a CT of the head would show, HU
    FOLDER/calibration/nominal.toml              what drawings say
    FOLDER/calibration/{flat,plate}_viewN.png    open field, bead plate
    FOLDER/calibration/alignment_PP_viewN.png    alignment tool, placement PP
    FOLDER/calibration/alignment_tool.csv        its beads
    FOLDER/trials/TRIAL/viewN/NNNN.png           frames
    FOLDER/trials/TRIAL/times.csv                their times
    FOLDER/truth/                                for evaluation only
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK
from rich.console import Console
from rich.progress import track

from fluoropose._files import atomic_path, write_text
from fluoropose.drr import Renderer
from fluoropose.geometry import Pose
from fluoropose.simulate.files import write_csv, write_png
from fluoropose.simulate.laboratory import Laboratory
from fluoropose.simulate.phantom import Head
from fluoropose.simulate.truth import write_calibration_truth, write_trial_truth

__all__ = ["write_calibration", "write_head", "write_trial"]

_MU_WATER = 0.0206  # 1/mm near 60 keV


def write_calibration(folder: str | Path, laboratory: Laboratory, rng: np.random.Generator) -> None:
    """Expose the flat fields, plates and tool placements, and write them with nominal facts and truth."""
    place = Path(folder) / "calibration"
    truth = Path(folder) / "truth"
    exposure = laboratory.installation.calibration_exposure
    plate, nominal = laboratory.plates[0], laboratory.nominal
    write_text(
        place / "nominal.toml",
        "# what the laboratory's drawings and data sheets say; the true values differ\n"
        f"image_width_px = {nominal.image_size_px}\n"
        f"image_height_px = {nominal.image_size_px}\n"
        f"intensifier_diameter_mm = {nominal.intensifier_diameter_mm}\n"
        f"angle_between_axes_deg = {nominal.angle_between_axes_deg}\n"
        f"source_to_intensifier_mm = {list(nominal.source_to_intensifier_mm)}\n"
        f"plate_bead_spacing_mm = {plate.spacing_mm}\n"
        f"plate_bead_diameter_mm = {plate.bead_diameter_mm}\n"
        f"plate_origin_bead_diameter_mm = {plate.origin_bead_diameter_mm}\n"
        f"frame_rate_hz = {nominal.frame_rate_hz}\n",
    )
    beads = [(b.name, b.diameter_mm, *(f"{x:.2f}" for x in b.centre_mm)) for b in laboratory.tool.beads]
    write_csv(place / "alignment_tool.csv", ("bead", "diameter_mm", "x_mm", "y_mm", "z_mm"), beads)

    for number, (fluoroscope, plate) in enumerate(zip(laboratory.fluoroscopes, laboratory.plates, strict=True), 1):
        nothing = np.zeros((fluoroscope.view.height, fluoroscope.view.width), dtype=np.float32)
        write_png(place / f"flat_view{number}.png", fluoroscope.record(nothing, exposure, rng))
        image = fluoroscope.record(plate.line_integral(fluoroscope), exposure, rng)
        write_png(place / f"plate_view{number}.png", image)
        for held, world_from_tool in enumerate(laboratory.world_from_tool):
            image = fluoroscope.record(laboratory.tool.line_integral(fluoroscope, world_from_tool), exposure, rng)
            write_png(place / f"alignment_{held:02d}_view{number}.png", image)
    write_calibration_truth(truth, laboratory)


def write_head(folder: str | Path, head: Head) -> None:
    """Write the head as a CT would show it (HU, LPS mm) and, as truth, the mask of its skull and jaw."""
    hounsfield = np.rint(1000 * (head.mu / _MU_WATER - 1)).clip(-1024, 30000).astype(np.int16)
    for name, voxels in (("head_ct", hounsfield), ("truth/skull_mask", (head.bone_share > 0.5).astype(np.uint8))):
        image = SimpleITK.GetImageFromArray(voxels)
        image.SetOrigin(head.grid.origin_mm)
        image.SetSpacing((head.grid.spacing_mm,) * 3)
        with atomic_path(Path(folder) / f"{name}.nii.gz") as temporary:
            SimpleITK.WriteImage(image, str(temporary), useCompression=True)


def write_trial(
    folder: str | Path,
    name: str,
    laboratory: Laboratory,
    head: Head,
    times_s: Sequence[float],
    world_from_head: Sequence[Pose],
    rng: np.random.Generator,
    console: Console | None = None,
) -> None:
    """Expose a trial and write its frames, times and truth."""
    trial = Path(folder) / "trials" / name
    names = [f"{k:04d}" for k in range(len(times_s))]
    write_csv(trial / "times.csv", ("frame", "time_s"), [(n, f"{t:.6f}") for n, t in zip(names, times_s, strict=True)])
    write_trial_truth(Path(folder) / "truth" / name, laboratory, world_from_head, head.bone_points_mm[::7])
    renderer = Renderer(head.volume)
    for k, pose in track(list(enumerate(world_from_head)), f"exposing {name}", console=console):
        for number, fluoroscope in enumerate(laboratory.fluoroscopes, 1):
            seen = fluoroscope.warp_image(renderer.render(fluoroscope.view, pose))
            frame = fluoroscope.record(seen, laboratory.installation.trial_exposure, rng)
            write_png(trial / f"view{number}" / f"{names[k]}.png", frame)
