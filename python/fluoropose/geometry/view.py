"""One X-ray source and its flat image plane."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fluoropose import _core
from fluoropose._checks import finite_array, float_array, positive, whole_positive
from fluoropose.errors import InputError
from fluoropose.geometry.pose import Pose

__all__ = ["SddGeometry", "View"]

Beam = Literal["point", "parallel"]


class SddGeometry(NamedTuple):
    """A point-source view in the terms of ``View.from_sdd``, which documents the fields."""

    sdd_mm: float
    delx_mm: float
    dely_mm: float
    x0_mm: float
    y0_mm: float
    world_from_plane: Pose


@dataclass(frozen=True, eq=False)
class View:
    """One X-ray source and its ideal (undistorted) flat image, in world mm.

    Parameters
    ----------
    width, height
        Image size, pixels.
    origin
        (3,) world mm, centre of pixel (0, 0) on the image plane.
    u_step, v_step
        (3,) world mm per pixel: one pixel to the right, one pixel down.
    source
        (3,) the source in world mm for a point beam; the beam's unit direction, towards the plane, for a parallel one.
    beam
        "point" or "parallel".

    Raises
    ------
    InputError
        If a field has a wrong shape or value, or the source lies in the image plane.
    """

    width: int
    height: int
    origin: NDArray[np.float64]
    u_step: NDArray[np.float64]
    v_step: NDArray[np.float64]
    source: NDArray[np.float64]
    beam: Beam = "point"

    def __post_init__(self) -> None:
        if self.beam not in ("point", "parallel"):
            raise InputError(f'beam: expected "point" or "parallel", found {self.beam!r}')
        for name in ("width", "height"):
            object.__setattr__(self, name, whole_positive(name, getattr(self, name)))
        for name in ("origin", "u_step", "v_step", "source"):
            array = finite_array(name, getattr(self, name), (3,)).copy()
            if name == "source" and self.beam == "parallel":
                length = float(np.linalg.norm(array))
                if length < 1e-12:
                    raise InputError("source: expected the direction of a parallel beam, found a zero vector")
                array /= length
            array.flags.writeable = False
            object.__setattr__(self, name, array)
        try:
            self.core()
        except ValueError as error:
            raise InputError(str(error)) from None

    def core(self) -> _core.View:
        """Return the compiled core's copy of this view."""
        return _core.View(
            self.width, self.height, self.origin, self.u_step, self.v_step, self.source, self.beam == "parallel"
        )

    # --- construction -------------------------------------------------------------------------------------------

    @classmethod
    def from_krt(
        cls,
        camera_matrix: ArrayLike,
        rotation: ArrayLike,
        translation_mm: ArrayLike,
        size_px: tuple[int, int],
        sdd_mm: float = 1000.0,
    ) -> View:
        """Build a view from a pinhole camera: pixel ~ K (R x_world + t), as in OpenCV and MayaCam 2.0.

        K fixes the pixel's angle, not its size: ``sdd_mm`` says at which distance from the source the image plane
        is placed. Poses do not depend on it; residuals on the image plane in mm scale with it.

        Parameters
        ----------
        camera_matrix
            (3, 3) upper triangular, pixels, positive diagonal.
        rotation, translation_mm
            (3, 3) and (3,) mm, ``camera_from_world``.
        size_px
            (width, height).
        sdd_mm
            Source-to-detector distance, mm.
        """
        k = finite_array("camera_matrix", camera_matrix, (3, 3))
        if abs(k[1, 0]) + abs(k[2, 0]) + abs(k[2, 1]) > 1e-9 * abs(k[0, 0]) or k[0, 0] <= 0 or k[1, 1] <= 0:
            raise InputError("camera_matrix: expected upper triangular with positive focal lengths")
        if abs(k[2, 2] - 1) > 1e-9:
            raise InputError(f"camera_matrix: expected 1 in the last place, found {k[2, 2]}")
        world_from_camera = Pose(_orthonormal("rotation", rotation), finite_array("t", translation_mm, (3,))).inverse()
        sdd = positive("sdd_mm", sdd_mm)
        rays = np.linalg.inv(k) * sdd  # columns: camera mm per px in u, per px in v, and of pixel (0, 0)
        turn = world_from_camera.rotation
        source = world_from_camera.translation_mm
        return cls(*_size(size_px), turn @ rays[:, 2] + source, turn @ rays[:, 0], turn @ rays[:, 1], source)

    @classmethod
    def from_sdd(
        cls,
        size_px: tuple[int, int],
        sdd_mm: float,
        delx_mm: float,
        dely_mm: float,
        x0_mm: float,
        y0_mm: float,
        world_from_plane: Pose | None = None,
    ) -> View:
        """Build a view from a source-to-detector distance and a pixel pitch.

        The plane frame has its origin at the image centre, x along u, y along v and z away from the source.

        Parameters
        ----------
        size_px
            (width, height).
        sdd_mm
            Source-to-detector distance: from the source perpendicularly to the plane, mm.
        delx_mm, dely_mm
            Pixel pitch along u and v, mm.
        x0_mm, y0_mm
            Offset of the principal point (foot of the perpendicular from the source) from the image centre, mm.
        world_from_plane
            Where the plane frame lies in the world; identity by default.
        """
        place = world_from_plane or Pose.identity()
        dx, dy = positive("delx_mm", delx_mm), positive("dely_mm", dely_mm)
        width, height = _size(size_px)
        corner = np.array([[-(width - 1) / 2 * dx, -(height - 1) / 2 * dy, 0.0]])
        x0, y0 = finite_array("x0_mm, y0_mm", (x0_mm, y0_mm), (2,))
        source = np.array([[x0, y0, -positive("sdd_mm", sdd_mm)]])
        return cls(
            width,
            height,
            place.apply(corner)[0],
            place.rotation[:, 0] * dx,
            place.rotation[:, 1] * dy,
            place.apply(source)[0],
        )

    @classmethod
    def from_projection_matrix(cls, matrix: ArrayLike, size_px: tuple[int, int], sdd_mm: float = 1000.0) -> View:
        """Build a view from a (3, 4) projection matrix P (any scale and sign), pixel ~ P (x_world, 1)."""
        p = finite_array("matrix", matrix, (3, 4))
        if abs(np.linalg.det(p[:, :3])) < 1e-12 * np.linalg.norm(p[:, :3]) ** 3:
            raise InputError("matrix: expected a finite camera, found a singular left 3 x 3 block")
        p = p * np.sign(np.linalg.det(p[:, :3]))
        # RQ decomposition by a QR of the row-reversed transpose.
        q, r = np.linalg.qr(p[::-1, :3].T)
        k, rotation = r.T[::-1, ::-1], q.T[::-1]
        signs = np.diag(np.sign(np.diag(k)))
        k, rotation = k @ signs, signs @ rotation
        translation = np.linalg.solve(k, p[:, 3])
        return cls.from_krt(k / k[2, 2], rotation, translation, size_px, sdd_mm)

    # --- derived facts ------------------------------------------------------------------------------------------

    @property
    def size_px(self) -> tuple[int, int]:
        """(width, height)."""
        return self.width, self.height

    @cached_property
    def normal(self) -> NDArray[np.float64]:
        """(3,) unit normal u x v of the plane; it points away from the source unless the image is mirrored."""
        n = np.cross(self.u_step, self.v_step)
        n /= np.linalg.norm(n)
        n.flags.writeable = False
        return np.asarray(n)

    @property
    def sdd_mm(self) -> float:
        """Source-to-detector distance, mm; infinite for a parallel beam."""
        if self.beam == "parallel":
            return float("inf")
        return float(abs((self.origin - self.source) @ self.normal))

    @property
    def pixel_pitch_mm(self) -> tuple[float, float]:
        """(along u, along v), mm."""
        return float(np.linalg.norm(self.u_step)), float(np.linalg.norm(self.v_step))

    @property
    def principal_point_px(self) -> NDArray[np.float64]:
        """(2,) pixel of the foot of the perpendicular from the source."""
        if self.beam == "parallel":
            raise InputError("principal_point_px: a parallel beam has none")
        foot = self.source + ((self.origin - self.source) @ self.normal) * self.normal
        return self.pixel_from_plane_point(foot[None]).reshape(2)

    @property
    def centre(self) -> NDArray[np.float64]:
        """(3,) world mm, centre of the image."""
        return self.pixel_to_world(np.array([[(self.width - 1) / 2, (self.height - 1) / 2]])).reshape(3)

    @property
    def plane_mm_from_px(self) -> NDArray[np.float64]:
        """(2, 2) matrix from pixel differences to mm on the plane (x along u; y at right angles, on v's side)."""
        pitch_u, _ = self.pixel_pitch_mm
        x = self.u_step / pitch_u
        along = float(self.v_step @ x)
        return np.array([[pitch_u, along], [0.0, float(np.linalg.norm(self.v_step - along * x))]])

    @cached_property
    def projection_matrix(self) -> NDArray[np.float64]:
        """(3, 4) P with pixel ~ P (x_world, 1) and a positive third coordinate in front of the source."""
        if self.beam == "parallel":
            m = np.linalg.inv(np.column_stack([self.u_step, self.v_step, self.source]))
            matrix = np.vstack([np.column_stack([m[:2], -m[:2] @ self.origin]), [0, 0, 0, 1]])
        else:
            m = np.linalg.inv(np.column_stack([self.u_step, self.v_step, self.origin - self.source]))
            matrix = np.column_stack([m, -m @ self.source])
        matrix.flags.writeable = False
        return matrix

    def to_krt(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Return K (3, 3) in pixels, R (3, 3) and t (3,) mm with pixel ~ K (R x_world + t)."""
        if self.beam == "parallel":
            raise InputError("to_krt: a parallel beam is not a pinhole camera")
        matrix = self.plane_mm_from_px
        x = self.u_step / np.linalg.norm(self.u_step)
        z = self.normal
        away = float((self.origin - self.source) @ z)
        if away < 0:
            raise InputError("to_krt: u x v points towards the source; the image is mirrored, which K, R, t cannot say")
        rotation = np.vstack([x, np.cross(z, x), z])
        k = np.eye(3)
        k[:2, :2] = np.linalg.inv(matrix) * away
        k[:2, 2] = self.principal_point_px
        return k, rotation, -rotation @ self.source

    def to_sdd(self) -> SddGeometry:
        """Return what ``from_sdd`` needs, so that ``View.from_sdd(view.size_px, *view.to_sdd())`` is this view.

        Raises
        ------
        InputError
            For a parallel beam, a mirrored image, or pixels that are not rectangular (skewed).
        """
        k, rotation, _ = self.to_krt()
        if abs(k[0, 1]) > 1e-9 * k[0, 0]:
            raise InputError(f"to_sdd: expected rectangular pixels, found a skew of {k[0, 1] / k[1, 1]:.3g} px per px")
        pitch_u, pitch_v = self.pixel_pitch_mm
        offset_px = self.principal_point_px - (np.array(self.size_px) - 1) / 2
        world_from_plane = Pose(rotation.T, self.centre)
        return SddGeometry(
            self.sdd_mm, pitch_u, pitch_v, pitch_u * offset_px[0], pitch_v * offset_px[1], world_from_plane
        )

    # --- projection ---------------------------------------------------------------------------------------------

    def project(self, points_mm: ArrayLike) -> NDArray[np.float64]:
        """Project world points (n, 3) mm to ideal pixels (n, 2); NaN where a point is not in front of the source."""
        points = finite_array("points_mm", points_mm, (None, 3))
        h = points @ self.projection_matrix[:, :3].T + self.projection_matrix[:, 3]
        depth = np.where(h[:, 2:] > 1e-12, h[:, 2:], np.nan)
        return np.asarray(h[:, :2] / depth)

    def pixel_to_world(self, pixels: ArrayLike) -> NDArray[np.float64]:
        """Place ideal pixels (n, 2) on the image plane: (n, 3) world mm."""
        px = finite_array("pixels", pixels, (None, 2))
        return self.origin + px[:, :1] * self.u_step + px[:, 1:] * self.v_step

    def pixel_from_plane_point(self, points_mm: ArrayLike) -> NDArray[np.float64]:
        """Return pixels (n, 2) of world points (n, 3) mm that lie on the image plane."""
        points = finite_array("points_mm", points_mm, (None, 3))
        steps = np.column_stack([self.u_step, self.v_step])
        return np.asarray((points - self.origin) @ np.linalg.pinv(steps).T)

    def contains(self, pixels: ArrayLike) -> NDArray[np.bool_]:
        """Tell for pixels (n, 2) whether they lie inside the image; NaN does not."""
        u, v = float_array("pixels", pixels, (None, 2)).T
        return np.asarray((u >= -0.5) & (u < self.width - 0.5) & (v >= -0.5) & (v < self.height - 0.5))

    # --- other samplings of the same image ----------------------------------------------------------------------

    def crop(self, left_px: float, top_px: float, side_px: tuple[float, float], size_px: tuple[int, int]) -> View:
        """Return the view of a window of this image, resampled to ``size_px``: u' = (u - left + 0.5) s - 0.5.

        Parameters
        ----------
        left_px, top_px
            Pixel of this view that becomes the window's first pixel when nothing is resampled.
        side_px
            (width, height) of the window in this view's pixels.
        size_px
            (width, height) of the new image.
        """
        width, height = _size(size_px)
        step_u = positive("side_px", side_px[0]) / width
        step_v = positive("side_px", side_px[1]) / height
        left, top = finite_array("left_px, top_px", (left_px, top_px), (2,))
        origin = self.pixel_to_world([[left + 0.5 * step_u - 0.5, top + 0.5 * step_v - 0.5]]).reshape(3)
        return View(width, height, origin, self.u_step * step_u, self.v_step * step_v, self.source, self.beam)

    def parallel_at(self, point_mm: ArrayLike) -> View:
        """Return the parallel beam that agrees with this point source about a point (3,), world mm.

        It runs as the source's ray through the point does and shows the plane through the point that is parallel to
        the image plane as the source does (weak perspective). InputError where this beam is parallel already or the
        point is not in front of the source.
        """
        point = finite_array("point_mm", point_mm, (3,))
        if self.beam == "parallel" or not np.isfinite(self.project(point[None])).all():
            raise InputError(f"point_mm: expected a point in front of a point source, found {point}")
        share = float((point - self.source) @ self.normal) / float((self.origin - self.source) @ self.normal)
        origin = self.source + share * (self.origin - self.source)
        steps = share * self.u_step, share * self.v_step
        return View(self.width, self.height, origin, *steps, point - self.source, "parallel")

    def moved(self, motion: Pose) -> View:
        """Return this view moved in the world; x_after = motion * x_before."""
        turn = motion.rotation
        source = motion.apply(self.source[None])[0] if self.beam == "point" else turn @ self.source
        steps = turn @ self.u_step, turn @ self.v_step
        return View(self.width, self.height, motion.apply(self.origin[None])[0], *steps, source, self.beam)

    def resized(self, size_px: tuple[int, int]) -> View:
        """Return the whole image sampled with another size: u' = (u + 0.5) s - 0.5."""
        return self.crop(0.0, 0.0, (float(self.width), float(self.height)), size_px)


def _size(size_px: tuple[int, int]) -> tuple[int, int]:
    width, height = finite_array("size_px", size_px, (2,))
    return whole_positive("size_px", width), whole_positive("size_px", height)


def _orthonormal(name: str, rotation: ArrayLike) -> NDArray[np.float64]:
    """Return the nearest rotation to a matrix that is one up to the digits of a text file (1e-4), or raise."""
    r = finite_array(name, rotation, (3, 3))
    u, _, vt = np.linalg.svd(r)
    nearest = u @ vt
    if np.abs(nearest - r).max() > 1e-4 or np.linalg.det(nearest) < 0:
        raise InputError(f"{name}: expected a proper rotation matrix")
    return np.asarray(nearest)
