"""Radius and ulna of a real wrist in three real frame pairs, without a network: from two points clicked in each view.

    python bench/wrist.py --data DIR --out bench/results/wrist.json [--work DIR]

Three pairs cannot train a network, and no reference poses exist. A person's part is played by two points per bone and
view (POINTS, read by eye): they place the bone and its long axis. How it is turned about that axis is searched for:
refinement from twelve turns with starts round each, then the best ones again at full resolution.

Per bone and pair: likeness (gradient correlation); the overlap (IoU) of the bone's shadow with the outline drawn by eye
on the frame (wrist_outlines.toml, drawn before any result was seen); and the distance from the projected outline to the
edges in the frames, before (the start, at the best turn) and after. Then how far the pose moves when each view alone is
refined from starts within 5 degrees and 3 mm of the result: turn, shift across the view's rays and along them. Pictures
of the outlines go to the working folder, not into the repository.
"""

from __future__ import annotations

import argparse
import json
import time
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from scipy.ndimage import binary_closing, binary_fill_holes
from scipy.spatial.transform import Rotation
from skimage.draw import polygon2mask

from fluoropose._files import write_text
from fluoropose.bone_model.surface import surface_of_mask
from fluoropose.calibration.field import with_fields
from fluoropose.evaluation import iou
from fluoropose.geometry import Pose
from fluoropose.io.frames import open_frames
from fluoropose.io.mayacam import read_mayacam_rig
from fluoropose.io.stored_frame import attenuating
from fluoropose.refinement import Refinement, Schedule, Starts, refine
from fluoropose.refinement.fixed import FixedView, fixed_view
from fluoropose.refinement.moving import MovingBone
from fluoropose.registration.summary import Environment
from fluoropose.rig import Rig
from fluoropose.silhouette import silhouette
from fluoropose.volume import Volume
from outline_edges import edge_distances

VOXEL_MM = (0.39625, 0.39625, 0.625)  # as Autoscoper's wrist example has them
MU_WATER_PER_MM, WATER = 0.0206, 1024.0  # the stored values are HU + 1024, air outside of the bone 0
BONE_ABOVE = 1600.0  # halfway from soft tissue to compact bone; below it, cartilage and blur stand out by 2 mm
CLEAR_EDGE = 0.002  # of full scale per pixel: bones in soft tissue, 8 bits
TURNS, STARTS, KEPT = 12, 64, 6
# Windows of 64 px and more: smaller ones, in which shafts are few pixels wide, lead astray.
SEARCH, FINISH, ALONE = Schedule(levels=2, reach_px=6), Schedule(levels=3), Schedule(levels=2)
NEAR = Starts(count=16, turn_deg=5, shift_mm=3)  # where the search in a single view begins

Px = tuple[float, float]
# Per bone and pair, in view 1 and in view 2: two points on the bone's long axis, px: level with its tip, and at the
# lower end of the outline. Read off the outlines of wrist_outlines.toml.
POINTS: dict[str, dict[str, tuple[tuple[Px, Px], tuple[Px, Px]]]] = {
    "radius": {
        "0002": (((888, 1148), (913, 1600)), ((606, 1152), (570, 1600))),
        "0099": (((830, 1145), (887, 1600)), ((710, 1152), (643, 1600))),
        "0158": (((817, 1142), (879, 1600)), ((716, 1150), (646, 1600))),
    },
    "ulna": {
        "0002": (((862, 1200), (815, 1600)), ((742, 1205), (739, 1600))),
        "0099": (((793, 1203), (766, 1600)), ((850, 1224), (812, 1600))),
        "0158": (((780, 1203), (758, 1600)), ((855, 1222), (815, 1600))),
    },
}
OUTLINES = Path(__file__).parent / "wrist_outlines.toml"
COMPARED_PX = {"whole": (0, 1550), "shaft": (1300, 1550)}  # rows where masks are compared: below, the CT ends
FILES = {"radius": "rad", "ulna": "uln"}
console = Console()


@dataclass(frozen=True, eq=False)
class CtBone:
    """A bone that fills its CT, with the surface of what is dense in it."""

    volume: Volume
    vertices: NDArray[np.float64]
    faces: NDArray[np.int32]

    @classmethod
    def read(cls, path: Path) -> CtBone:
        """Read a stack of slices; the bone's frame has its origin in the middle of the bone."""
        stored = tifffile.imread(path).astype(np.float32)
        place = np.diag([*VOXEL_MM, 1.0])
        place[:3, 3] = -np.argwhere(stored > 0)[:, ::-1].mean(axis=0) * VOXEL_MM
        solid = binary_fill_holes(binary_closing(np.pad(stored > BONE_ABOVE, 3), iterations=3))[3:-3, 3:-3, 3:-3]
        surface = surface_of_mask(solid, place, 1.0)
        volume = Volume((MU_WATER_PER_MM / WATER * stored).astype(np.float32), place)
        return cls(volume, np.asarray(surface.vertices), np.asarray(surface.faces, dtype=np.int32))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="holds fluoroscopy_autoscoper")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("out/wrist"), help="for the pictures")
    options = parser.parse_args()
    folder = options.data / "fluoroscopy_autoscoper"
    sources = [open_frames(folder / f"XMA_UND/xr_data_wrist_cam0{k}") for k in (1, 2)]
    rig = with_fields(read_mayacam_rig([folder / f"Calibration/xr_calib_wrist_cam0{k}.txt" for k in (1, 2)]), sources)
    options.work.mkdir(parents=True, exist_ok=True)
    drawn = tomllib.loads(OUTLINES.read_text(encoding="utf-8"))
    rows = []
    for bone, pairs in POINTS.items():
        ct = CtBone.read(folder / "Models" / f"{FILES[bone]}_dcm_cropped.tif")
        for index, (pair, points) in enumerate(pairs.items()):
            frames = [attenuating(source.read(index), source.bits, "bright_air") for source in sources]
            rows.append(
                {
                    "bone": bone,
                    "pair": pair,
                    **registered(ct, rig, frames, points, drawn[bone][pair], options.work / f"{bone}_{pair}"),
                }
            )
            console.print(rows[-1])
            document = {"what": __doc__.splitlines()[0], "environment": Environment.here().model_dump(), "rows": rows}
            write_text(options.out, json.dumps(document, indent=1) + "\n")


def registered(
    ct: CtBone,
    rig: Rig,
    frames: list[NDArray[np.float32]],
    points: tuple[tuple[Px, Px], tuple[Px, Px]],
    drawn: Mapping[str, list[Px]],
    picture: Path,
) -> dict[str, Any]:
    """Search, refine and measure one bone in one pair."""
    began = time.perf_counter()
    moving = MovingBone(ct.volume)
    turned = starts(ct, *(meeting_point(rig, [view[end] for view in points]) for end in (0, 1)))
    spread = Starts(count=STARTS, turn_deg=15, shift_mm=6, kept=6)
    windows = around(ct, rig, frames, turned, 128)
    found = [(refine(moving, windows, pose, schedule=SEARCH, starts=spread), pose) for pose in turned]
    best = sorted(found, key=lambda one: -one[0].value)[:KEPT]
    finals = [(finished(ct, moving, rig, frames, one.world_from_bone), start) for one, start in best]
    final, start = max(finals, key=lambda one: one[0].value)
    pose = final.world_from_bone
    draw(ct, rig, frames, pose, picture)
    others = [one for one, _ in finals if one is not final]
    return {
        "likeness": round(final.value, 3),
        "second_best_likeness": round(max((o.value for o in others if apart(o.world_from_bone, pose)), default=0.0), 3),
        "overlap_with_drawn_outline_before": overlaps(ct, rig, start, drawn),
        "overlap_with_drawn_outline": overlaps(ct, rig, pose, drawn),
        "outline_to_edge_px_before": outline(ct, rig, frames, start),
        "outline_to_edge_px_after": outline(ct, rig, frames, pose),
        "single_view": [single_view(ct, moving, rig, frames, pose, view) for view in (0, 1)],
        "seconds": round(time.perf_counter() - began, 1),
    }


def meeting_point(rig: Rig, pixels: list[Px]) -> NDArray[np.float64]:
    """Return the point (3,) mm nearest to the rays through one pixel of each view."""
    normal, right = np.zeros((3, 3)), np.zeros(3)
    for view, (u, v) in zip(rig.views, pixels, strict=True):
        ray = view.origin + u * view.u_step + v * view.v_step - view.source
        across = np.eye(3) - np.outer(ray, ray) / (ray @ ray)
        normal += across
        right += across @ view.source
    return np.asarray(np.linalg.solve(normal, right))


def starts(ct: CtBone, joint_end: NDArray[np.float64], shaft: NDArray[np.float64]) -> list[Pose]:
    """Return poses with the bone's z axis from its joint end along the shaft, turned about it all the way round."""
    z = (shaft - joint_end) / np.linalg.norm(shaft - joint_end)
    x = np.cross(z, np.roll(z, 1))
    x /= np.linalg.norm(x)
    along = np.column_stack([x, np.cross(z, x), z])
    middle = joint_end - ct.vertices[:, 2].min() * z
    turns = Rotation.from_euler("z", np.arange(TURNS)[:, None] * 360 / TURNS, degrees=True).as_matrix()
    return [Pose(along @ turn, middle) for turn in turns]


def around(ct: CtBone, rig: Rig, frames: list[NDArray[np.float32]], poses: list[Pose], most_px: int) -> list[FixedView]:
    """Cut windows round the bone at all of some poses."""
    points = np.concatenate([pose.apply(ct.vertices[::20]) for pose in poses])
    return [fixed_view(scope, frame, points, most_px) for scope, frame in zip(rig.fluoroscopes, frames, strict=True)]


def finished(ct: CtBone, moving: MovingBone, rig: Rig, frames: list[NDArray[np.float32]], pose: Pose) -> Refinement:
    """Refine at full resolution, twice: the first result places the second one's windows."""
    for count in (16, 4):
        windows = around(ct, rig, frames, [pose], 256)
        found = refine(
            moving, windows, pose, schedule=FINISH, starts=Starts(count=count, turn_deg=12, shift_mm=6, kept=3)
        )
        pose = found.world_from_bone
    return found


def apart(one: Pose, other: Pose) -> bool:
    """Tell whether two results are different places."""
    shift = np.linalg.norm(one.translation_mm - other.translation_mm)
    return bool(np.degrees(one.angle_to(other)) > 3 or shift > 3)


def outline(ct: CtBone, rig: Rig, frames: list[NDArray[np.float32]], pose: Pose) -> list[dict[str, float]]:
    """Return per view the mean distance and the share of the outline that has a clear edge nearby."""
    views = zip(rig.fluoroscopes, frames, strict=True)
    found = [edge_distances(scope, frame, pose, ct.vertices, ct.faces, CLEAR_EDGE) for scope, frame in views]
    return [{"mean": round(one.mean_px, 2), "share_of_outline": round(one.share, 2)} for one in found]


def overlaps(ct: CtBone, rig: Rig, pose: Pose, drawn: Mapping[str, list[Px]]) -> list[dict[str, float]]:
    """Return per view the overlap (IoU) of the bone's shadow with the outline drawn by eye.

    Of all of it as far down as the CT, and of the shaft, where nothing hides its edges.
    """
    found = []
    for number, scope in enumerate(rig.fluoroscopes, start=1):
        shadow = silhouette(scope, pose.apply(ct.vertices), ct.faces)
        by_eye = polygon2mask(shadow.shape, np.array(drawn[f"view{number}"])[:, ::-1])
        parts = {name: slice(*rows) for name, rows in COMPARED_PX.items()}
        found.append({name: round(iou(shadow[rows], by_eye[rows]), 3) for name, rows in parts.items()})
    return found


def single_view(
    ct: CtBone, moving: MovingBone, rig: Rig, frames: list[NDArray[np.float32]], pose: Pose, view: int
) -> dict[str, float]:
    """Refine one view alone from poses near the result, and return how far that moves the bone.

    At the finest two scales alone: at coarser ones, which show little of the bone, one view does not hold its depth.
    """
    window = around(ct, rig, frames, [pose], 256)[view]
    refined = refine(moving, [window], pose, schedule=ALONE, starts=NEAR)
    found = refined.world_from_bone
    shift = found.translation_mm - pose.translation_mm
    ray = pose.translation_mm - rig.views[view].source
    depth = float(shift @ ray / np.linalg.norm(ray))
    across = float(np.linalg.norm(shift - depth * ray / np.linalg.norm(ray)))
    return {
        "likeness": round(refined.value, 3),
        "likeness_before": round(refined.value_at_start, 3),
        "angle_deg": round(float(np.degrees(pose.angle_to(found))), 2),
        "in_plane_mm": round(across, 2),
        "depth_mm": round(abs(depth), 2),
    }


def draw(ct: CtBone, rig: Rig, frames: list[NDArray[np.float32]], pose: Pose, path: Path) -> None:
    """Save each view's window with and without the outline."""
    tiles = []
    for scope, frame in zip(rig.fluoroscopes, frames, strict=True):
        shadow = silhouette(scope, pose.apply(ct.vertices), ct.faces).astype(np.uint8)
        x, y, w, h = cv2.boundingRect(shadow)
        part = (slice(max(y - 60, 0), y + h + 60), slice(max(x - 60, 0), x + w + 60))
        grey = -np.log(np.maximum(1 - frame, 0.02))
        low, high = np.percentile(grey[part], [2, 99])
        rgb = np.dstack([(255 * np.clip((grey - low) / (high - low), 0, 1)).astype(np.uint8)] * 3)
        lined = rgb.copy()
        contours, _ = cv2.findContours(shadow, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(lined, contours, -1, (255, 160, 0), 1)
        both = np.hstack([rgb[part], lined[part]])
        tiles.append(cv2.resize(both, None, fx=500 / both.shape[0], fy=500 / both.shape[0]))
    Image.fromarray(np.hstack(tiles)).save(path.with_suffix(".png"))


if __name__ == "__main__":
    main()
