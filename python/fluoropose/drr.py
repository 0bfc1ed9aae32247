"""Digitally reconstructed radiographs (DRRs): line integrals of a volume as an X-ray view sees them.

A point beam's rays start at the source, pass through the pixel's centre and go on (the image plane of an imported view
may stand anywhere along them); a parallel beam's rays are whole lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from fluoropose import _core
from fluoropose.errors import InputError
from fluoropose.geometry import Pose, View
from fluoropose.volume import Volume, checked_mask, checked_place

if TYPE_CHECKING:
    from fluoropose.bone import Bone

__all__ = [
    "BoneRenderer",
    "Device",
    "Drr",
    "LabelRenderer",
    "Method",
    "NormalEquations",
    "Renderer",
    "Storage",
    "device_beside",
]

Method = Literal["shear_warp", "ray_cast", "trilinear"]
Device = Literal["cpu", "cuda"]
Storage = Literal["float32", "int16"]

_MOST_LABELS = 65_535


class Renderer:
    """Renders one volume; keep it, and call ``render`` for every pose.

    Parameters
    ----------
    volume
        What attenuates.
    method
        "ray_cast": one bilinear sample per slice and ray (Joseph, IEEE TMI 1982); within 0.1 % RMS of the image's range
        of the exact integral of the interpolated volume on a head CT. "shear_warp": the same sums on a grid along
        the slices, carried to the detector by one homography (after Lacroute and Levoy, SIGGRAPH 1994); several times
        faster, within 1 % RMS. Where rays cannot be sheared (the source within or close to the volume's slices, or an
        opening of the beam beyond about 65 degrees) it casts rays instead. "trilinear": trilinear samples at steps of
        half a voxel; slower than "ray_cast".
    device
        "cpu", on all threads of OpenMP, or "cuda".
    storage
        "int16" halves the volume's memory by rounding to 1/32767 of its largest attenuation.
    whole
        Keep the volume's empty margins, which are otherwise cut off: ``volume_gradient`` needs them.

    Raises
    ------
    InputError
        If ``method``, ``device`` or ``storage`` is unknown, or "cuda" is asked for and cannot be had.
    """

    def __init__(
        self,
        volume: Volume,
        method: Method = "ray_cast",
        device: Device = "cpu",
        storage: Storage = "float32",
        whole: bool = False,
    ) -> None:
        self.core = _core_renderer(volume, None, method, device, storage, whole)
        self.device = device
        self._differentiable = whole and storage == "float32" and method != "trilinear"

    def render(self, view: View, world_from_bone: Pose) -> NDArray[np.float32]:
        """Return the (height, width) line integrals, dimensionless, of the view's ideal image."""
        return self.core.line_integral(view.core(), world_from_bone.matrix)

    def render_many(self, views: Sequence[View], world_from_bone: Sequence[Pose]) -> NDArray[np.float32]:
        """Return line integrals (n, height, width) of n views of one size, each with its own pose.

        Many small images are made faster so than one by one: each has a thread of its own.
        """
        if len(views) != len(world_from_bone):
            raise InputError(f"world_from_bone: expected one pose per view, {len(views)}, found {len(world_from_bone)}")
        if len({view.size_px for view in views}) > 1:
            raise InputError("views: expected images of one size")
        poses = [pose.matrix for pose in world_from_bone]
        return self.core.line_integrals([view.core() for view in views], poses)

    def render_with_jacobian(
        self, view: View, world_from_bone: Pose
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the image (h, w) and its derivative (6, h, w) with respect to the pose, from one pass.

        The six are (omega_x, omega_y, omega_z, v_x, v_y, v_z) in world axes, per radian and per mm, for the pose with
        rotation ``exp(omega) R`` and translation ``t + v``: omega turns about the bone's origin.
        """
        return self.core.with_jacobian(view.core(), world_from_bone.matrix)

    def pose_gradient(
        self, view: View, world_from_bone: Pose, image_gradient: NDArray[np.float32]
    ) -> NDArray[np.float64]:
        """Return the gradient (6,) of a cost with respect to the pose, given its gradient (h, w) by the image.

        The parameters are those of ``render_with_jacobian``, whose images are never stored.
        """
        weight = _image("image_gradient", image_gradient, view)
        return self.core.pose_gradient(view.core(), world_from_bone.matrix, weight)

    def volume_gradient(
        self, view: View, world_from_bone: Pose, image_gradient: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Return the gradient (nz, ny, nx) of a cost by the volume, given its gradient (h, w) by the image.

        The exact transpose of ``render``; needs a renderer of the ``whole`` volume.
        """
        if not self._differentiable:
            raise InputError(
                "whole: volume_gradient needs Renderer(..., whole=True) with float32 storage, not trilinear samples"
            )
        weight = _image("image_gradient", image_gradient, view)
        return self.core.volume_gradient(view.core(), world_from_bone.matrix, weight)

    def normal_equations(
        self,
        view: View,
        world_from_bone: Pose,
        target: NDArray[np.float32],
        weights: NDArray[np.float32] | None = None,
    ) -> NormalEquations:
        """Return what a Gauss-Newton step towards the image ``target`` (h, w) needs.

        ``weights`` (h, w) are the diagonal of W, ones by default. The parameters are those of
        ``render_with_jacobian``, whose images are never stored.
        """
        w = None if weights is None else _image("weights", weights, view)
        cost, jtj, jtr = self.core.normal_equations(
            view.core(), world_from_bone.matrix, _image("target", target, view), w
        )
        return NormalEquations(cost, jtj, jtr)


@dataclass(frozen=True, eq=False)
class NormalEquations:
    """Of the residuals r = image - target with the derivative J and weights W.

    Attributes
    ----------
    cost
        r^T W r / 2.
    jtj, jtr
        J^T W J (6, 6) and J^T W r (6,).
    """

    cost: float
    jtj: NDArray[np.float64]
    jtr: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Drr:
    """What one view sees of a bone.

    Attributes
    ----------
    line_integral
        (h, w) of the whole volume, dimensionless.
    bone_line_integral
        (h, w) of the bone alone, everything else being air.
    mask
        (h, w) True where a ray crosses a voxel of the bone.
    landmarks_px
        (n, 2) ideal pixels, NaN for landmarks that are not in front of the source.
    visible
        (n,) whether the landmark falls inside the image.
    """

    line_integral: NDArray[np.float32]
    bone_line_integral: NDArray[np.float32]
    mask: NDArray[np.bool_]
    landmarks_px: NDArray[np.float64]
    visible: NDArray[np.bool_]


class BoneRenderer:
    """Renders a bone with what surrounds it, the bone alone, its mask and its landmarks in one pass.

    Parameters
    ----------
    bone
        Volume, mask and landmarks are used.
    method, device
        As for `Renderer`.

    Raises
    ------
    InputError
        As for `Renderer`, and if the mask does not have the volume's shape.
    """

    def __init__(self, bone: Bone, method: Method = "ray_cast", device: Device = "cpu") -> None:
        self._core = _core_renderer(bone.volume, checked_mask(bone.mask, bone.volume.shape), method, device)
        self._landmarks_mm = np.array(bone.landmarks_mm, dtype=np.float64)

    def render(self, view: View, world_from_bone: Pose) -> Drr:
        """Return the ideal image of ``view`` with the bone at ``world_from_bone``."""
        line, bone, mask = self._core.with_bone(view.core(), world_from_bone.matrix)
        landmarks = view.project(world_from_bone.apply(self._landmarks_mm))
        return Drr(line, bone, mask, landmarks, view.contains(landmarks))


class LabelRenderer:
    """Renders the path that rays take through each label of a label map, such as the bones of one CT, in one pass.

    Rays are cast by Joseph's method; a label's voxels are interpolated as if they held 1 and all others 0.

    Parameters
    ----------
    labels
        (nz, ny, nx) integers; 0 is not rendered.
    bone_from_voxel
        (4, 4) affine map of voxel indices (x, y, z) to mm, as of `Volume`.
    device
        As for `Renderer`.

    Raises
    ------
    InputError
        As for `Renderer`, and if the labels are not integers, none of them is above zero, one is below, or there are
        more than 65,535.
    """

    def __init__(
        self, labels: NDArray[np.integer], bone_from_voxel: NDArray[np.float64], device: Device = "cpu"
    ) -> None:
        if np.ndim(labels) != 3 or not np.issubdtype(np.asarray(labels).dtype, np.integer):
            raise InputError(
                f"labels: expected integers (nz, ny, nx), found {np.shape(labels)} {np.asarray(labels).dtype}"
            )
        found = np.unique(labels)
        self.labels = tuple(int(label) for label in found if label != 0)
        if not self.labels or self.labels[0] < 0 or len(self.labels) > _MOST_LABELS:
            raise InputError(f"labels: expected some above zero and none below, found {found[:10].tolist()}")
        check_device(device)
        numbers = np.searchsorted([0, *self.labels], labels).astype(np.float32)
        self.core = _core.LabelRenderer(numbers, len(self.labels), checked_place(bone_from_voxel), device)

    def render(self, view: View, world_from_bone: Pose) -> NDArray[np.float32]:
        """Return the path lengths (n, h, w), mm, in the order of ``labels``."""
        return self.core.paths(view.core(), world_from_bone.matrix)


def _image(name: str, image: NDArray[np.float32], view: View) -> NDArray[np.float32]:
    if np.shape(image) != (view.height, view.width):
        raise InputError(f"{name}: expected shape {(view.height, view.width)}, found {np.shape(image)}")
    if not np.isfinite(image).all():
        raise InputError(f"{name}: expected finite numbers, found NaN or infinity")
    return np.ascontiguousarray(image, dtype=np.float32)


def _core_renderer(
    volume: Volume,
    mask: NDArray[np.bool_] | None,
    method: Method,
    device: Device,
    storage: Storage = "float32",
    whole: bool = False,
) -> _core.Renderer:
    check_method(method)
    check_device(device)
    if storage not in get_args(Storage):
        raise InputError(f'storage: expected "float32" or "int16", found {storage!r}')
    return _core.Renderer(volume.mu, volume.bone_from_voxel, mask, method, device, storage, whole)


def check_method(method: Method) -> None:
    """Raise InputError unless ``method`` is one."""
    if method not in get_args(Method):
        raise InputError(f'method: expected "shear_warp", "ray_cast" or "trilinear", found {method!r}')


def device_beside(name: str) -> Device:
    """Return where to render beside networks that run on "cpu", "cuda" or "cuda:N": on a GPU where one works here."""
    return "cuda" if name.startswith("cuda") and _core.cuda_device_count() > 0 else "cpu"


def check_device(device: Device) -> None:
    """Raise InputError unless ``device`` is one that can be had."""
    if device not in get_args(Device):
        raise InputError(f'device: expected "cpu" or "cuda", found {device!r}')
    if device == "cuda" and not _core.built_with_cuda():
        raise InputError('device: "cuda" needs a build with CUDA; this one was made without (FLUOROPOSE_CUDA)')
    if device == "cuda" and _core.cuda_device_count() == 0:
        raise InputError('device: "cuda" was asked for, but no usable CUDA device or driver was found')
