"""The scene in rerun: both X-rays with the bone's outline, bone and rig in 3D, six curves."""

from __future__ import annotations

import numpy as np
import rerun as rr
import rerun.blueprint as rrb
from numpy.typing import NDArray

from fluoropose.bone import Bone
from fluoropose.rig import Rig
from fluoropose.silhouette import outline, silhouette
from fluoropose.streaming.viewer.picture import Picture, Setting

__all__ = ["Scene"]

_COLOURS = {"acquired": (255, 210, 0), "tracking": (0, 220, 110), "coasting": (255, 150, 0)}
_CURVES = ("theta_x_deg", "theta_y_deg", "theta_z_deg", "tx_mm", "ty_mm", "tz_mm")


class Scene:
    """Logs pictures to rerun."""

    def __init__(self, setting: Setting) -> None:
        self._rig, self._bone = Rig.load(setting.rig), Bone.load(setting.bone)
        self._to = rr.RecordingStream("fluoropose")
        views = [rrb.Spatial2DView(origin=f"view{k}", name=f"view {k}") for k in (1, 2)]
        curves = [rrb.TimeSeriesView(origin=f"pose/{kind}", name=kind) for kind in ("angles", "shift")]
        space = rrb.Spatial3DView(origin="world", name="bone and rig")
        blueprint = rrb.Blueprint(rrb.Horizontal(rrb.Vertical(*views), space, rrb.Vertical(*curves)))
        if setting.record is None:
            self._to.spawn(default_blueprint=blueprint)
        else:
            self._to.save(setting.record, default_blueprint=blueprint)
        self._static()

    def show(self, picture: Picture) -> None:
        """Log a pair and its pose."""
        self._to.set_time("pair", sequence=picture.number)
        self._to.set_time("time", duration=picture.time_s)
        for k, (pixels, step) in enumerate(zip(picture.xrays, picture.steps, strict=True)):
            if pixels is not None:
                self._to.log(f"view{k + 1}/xray", rr.Image(pixels))
            self._to.log(f"view{k + 1}/outline", self._outline(k, step, picture))
        self._to.log("pose/quality", rr.Scalars(picture.quality))
        if picture.world_from_bone is None or picture.angles_deg is None:
            self._to.log("world/bone", rr.Clear(recursive=False))
            return
        rotation, shift = picture.world_from_bone[:3, :3], picture.world_from_bone[:3, 3]
        self._to.log("world/bone", self._mesh(picture.phase), rr.Transform3D(translation=shift, mat3x3=rotation))
        for name, value in zip(_CURVES, [*picture.angles_deg, *shift], strict=True):
            self._to.log(f"pose/{'angles' if name.endswith('deg') else 'shift'}/{name}", rr.Scalars(float(value)))

    def close(self) -> None:
        """Write what is left."""
        self._to.flush()
        self._to.disconnect()

    def _static(self) -> None:
        """Log what never moves."""
        self._to.log("world", rr.ViewCoordinates.RIGHT_HAND_Y_DOWN, static=True)
        for k, view in enumerate(self._rig.views, start=1):
            right, bottom = view.width - 0.5, view.height - 0.5
            corners = view.pixel_to_world([[-0.5, -0.5], [right, -0.5], [right, bottom], [-0.5, bottom]])
            strips = [np.vstack([corners, corners[:1]])]
            if view.beam == "point":
                strips += [np.stack([view.source, corner]) for corner in corners]
            self._to.log(f"world/view{k}", rr.LineStrips3D(strips, colors=[(140, 140, 160)]), static=True)

    def _mesh(self, phase: str) -> rr.Mesh3D:
        return rr.Mesh3D(
            vertex_positions=self._bone.vertices.astype(np.float32),
            triangle_indices=self._bone.faces.astype(np.uint32),
            albedo_factor=_COLOURS[phase],
        )

    def _outline(self, view: int, step: int, picture: Picture) -> rr.LineStrips2D | rr.Clear:
        if picture.world_from_bone is None:
            return rr.Clear(recursive=False)
        placed = self._bone.vertices @ picture.world_from_bone[:3, :3].T + picture.world_from_bone[:3, 3]
        shadow = silhouette(self._rig.fluoroscopes[view], placed, self._bone.faces, step)
        rings: list[NDArray[np.float64]] = outline(shadow)
        strips = [np.vstack([ring, ring[:1]]) for ring in rings if len(ring) > 8]
        return rr.LineStrips2D(strips, colors=[_COLOURS[picture.phase]], draw_order=10.0)
