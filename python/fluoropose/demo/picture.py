"""The picture in the README, from a finished demo: ``python -m fluoropose.demo.picture out/demo .github/demo.png``."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure
from numpy.typing import NDArray

from fluoropose._files import atomic_path
from fluoropose.bone import Bone
from fluoropose.drr import Renderer
from fluoropose.geometry import Pose
from fluoropose.registration.evaluate import read_reference
from fluoropose.registration.poses_file import PoseRow, read_poses
from fluoropose.registration.trial import TrialFrames, load_trial
from fluoropose.rig import Fluoroscope, Rig
from fluoropose.silhouette import field_mask

__all__ = ["write_picture"]

_TINT = np.array([1.0, 0.62, 0.1])
_ANGLES = ("θx", "θy", "θz")
_AXES = ("x", "y", "z")
_TITLE_PT, _TICK_PT = 14, 12  # a page shows the picture at two thirds of its size


def write_picture(demo: str | Path, out: str | Path, frame: int = 20) -> None:
    """Draw one frame pair of a demo's folder with the bone that was found in it, and the six curves of its trial.

    Raises
    ------
    FileFormatError
        If the folder is not that of a finished demo.
    """
    trial = load_trial(Path(demo) / "trial.toml")
    rig, bone = Rig.load(trial.rig), Bone.load(trial.bone)
    frames, rows = TrialFrames.open(trial), read_poses(trial.out / "poses.csv")
    row = rows[min(frame, len(rows) - 1)]
    figure = Figure(figsize=(13, 5), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(1, 2, width_ratios=[1.25, 1])
    left, right = figure.add_subfigure(grid[0]), figure.add_subfigure(grid[1])
    for k, axes in enumerate(np.ravel(left.subplots(1, 2))):
        picture = frames.sources[k].read(row.frame).astype(np.float64)
        axes.imshow(_tinted(picture, rig.fluoroscopes[k], bone, row.world_from_bone))
        axes.set_title(f"view {k + 1}, {row.time_s:.2f} s", fontsize=_TITLE_PT)
        axes.axis("off")
    _curves(right, rows, read_reference(trial.out / "reference.csv"))
    with atomic_path(out) as temporary:
        figure.savefig(temporary, metadata={"Software": "fluoropose"})


def _tinted(
    picture: NDArray[np.float64], fluoroscope: Fluoroscope, bone: Bone, world_from_bone: Pose | None
) -> NDArray[np.float64]:
    """Return the frame (h, w, 3) in [0, 1] with the edges of the bone's radiograph under the pose in colour."""
    grey = np.repeat((picture / max(picture.max(), 1.0))[..., None], 3, axis=2)
    if world_from_bone is None:
        return grey
    ideal = Renderer(bone.isolated).render(fluoroscope.view, world_from_bone)
    v, u = np.indices(ideal.shape, dtype=np.float64)
    source = fluoroscope.ideal_from_recorded(np.column_stack([u.ravel(), v.ravel()])).astype(np.float32)
    x, y = source.T.reshape(2, *ideal.shape)
    shadow = cv2.GaussianBlur(np.asarray(cv2.remap(ideal, x.copy(), y.copy(), cv2.INTER_LINEAR)), (0, 0), 1.0)
    edges = np.hypot(cv2.Sobel(shadow, cv2.CV_32F, 1, 0), cv2.Sobel(shadow, cv2.CV_32F, 0, 1))
    weight = np.clip(edges / np.percentile(edges, 98), 0, 1) * field_mask(fluoroscope)
    return np.asarray(np.clip(grey * (1 - weight[..., None]) + weight[..., None] * _TINT, 0, 1))


def _curves(figure: SubFigure, rows: list[PoseRow], truth: Mapping[int, Pose]) -> None:
    panels = figure.subplots(2, 3, sharex=True)
    found = [(row.time_s, row.world_from_bone) for row in rows if row.world_from_bone is not None]
    right = [(row.time_s, truth[row.frame]) for row in rows if row.frame in truth]
    for poses, style in (
        (right, {"color": "0.65", "lw": 3.5, "label": "truth"}),
        (found, {"color": "C3", "lw": 1.4, "label": "fluoropose"}),
    ):
        times = [t for t, _ in poses]
        places = np.array([pose.translation_mm for _, pose in poses])
        angles = np.unwrap(np.array([pose.euler_zyx_deg for _, pose in poses]), period=360, axis=0)
        for k in range(3):
            panels[0, k].plot(times, places[:, k], **style)
            panels[1, k].plot(times, angles[:, k], **style)
    for k in range(3):
        panels[0, k].set_title(f"{_AXES[k]}, mm", fontsize=_TITLE_PT)
        panels[1, k].set_title(f"{_ANGLES[k]}, degrees", fontsize=_TITLE_PT)
        panels[1, k].set_xlabel("time, s", fontsize=_TITLE_PT)
    for axes in np.ravel(panels):
        axes.tick_params(labelsize=_TICK_PT)
        axes.locator_params(nbins=4)
    figure.legend(handles=panels[0, 0].lines, loc="outside lower center", ncols=2, fontsize=_TITLE_PT, frameon=False)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("demo", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    write_picture(arguments.demo, arguments.out)
