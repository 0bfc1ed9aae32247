"""
Compiled core of fluoropose: rendering, distortion, triangulation and refinement.
"""
from __future__ import annotations
import collections.abc
import numpy
import numpy.typing
import typing
__all__: list[str] = ['ComparedView', 'CudaClimber', 'Distortion', 'GradientCorrelation', 'LabelRenderer', 'Loss', 'PlanePolynomial', 'Renderer', 'Triangulation', 'TriangulationStatus', 'View', 'built_with_cuda', 'climb', 'cuda_device_count', 'max_polynomial_order', 'mean_attenuation', 'neutral_start', 'triangulate']
class View:
    """
    Plain view geometry handed to the compiled core; see fluoropose.geometry.View.
    """
    def __init__(self, width: typing.SupportsInt | typing.SupportsIndex, height: typing.SupportsInt | typing.SupportsIndex, origin: typing.Annotated[numpy.typing.ArrayLike, numpy.float64], u_step: typing.Annotated[numpy.typing.ArrayLike, numpy.float64], v_step: typing.Annotated[numpy.typing.ArrayLike, numpy.float64], source: typing.Annotated[numpy.typing.ArrayLike, numpy.float64], parallel: bool) -> None:
        ...
    @property
    def height(self) -> int:
        ...
    @property
    def width(self) -> int:
        ...
class PlanePolynomial:
    """
    A smooth map of the image plane; see fluoropose.distortion.
    """
    def __call__(self, points: typing.Annotated[numpy.typing.ArrayLike, numpy.float64]) -> numpy.typing.NDArray[numpy.float64]:
        ...
    def __init__(self, order: typing.SupportsInt | typing.SupportsIndex, centre: typing.Annotated[numpy.typing.ArrayLike, numpy.float64], radius: typing.SupportsFloat | typing.SupportsIndex, coefficients: typing.Annotated[numpy.typing.ArrayLike, numpy.float64]) -> None:
        ...
class Distortion:
    """
    Both directions of a distortion; see fluoropose.distortion.Distortion.
    """
    def __init__(self, ideal_from_recorded: PlanePolynomial, recorded_from_ideal: PlanePolynomial) -> None:
        ...
    def ideal_from_recorded(self, points: typing.Annotated[numpy.typing.ArrayLike, numpy.float64]) -> numpy.typing.NDArray[numpy.float64]:
        ...
    def recorded_from_ideal(self, points: typing.Annotated[numpy.typing.ArrayLike, numpy.float64]) -> numpy.typing.NDArray[numpy.float64]:
        ...
class Renderer:
    """
    DRR renderer of the compiled core; see fluoropose.drr.
    """
    @staticmethod
    def of_tensor(mu: typing.Any, bone_from_voxel: typing.Annotated[numpy.typing.ArrayLike, numpy.float64], method: str, allocate: collections.abc.Callable[[int], typing.Any], stream: typing.SupportsInt | typing.SupportsIndex) -> Renderer:
        ...
    def __init__(self, mu: typing.Annotated[numpy.typing.ArrayLike, numpy.float32], bone_from_voxel: typing.Annotated[numpy.typing.ArrayLike, numpy.float64], bone: typing.Annotated[numpy.typing.ArrayLike, numpy.bool] | None, method: str, device: str, storage: str, whole: bool) -> None:
        ...
    def line_integral(self, view: View, world_from_bone: typing.Annotated[numpy.typing.ArrayLike, numpy.float64]) -> numpy.typing.NDArray[numpy.float32]:
        ...
    def line_integrals(self, views: collections.abc.Sequence[View], world_from_bone: collections.abc.Sequence[typing.Annotated[numpy.typing.ArrayLike, numpy.float64]]) -> numpy.typing.NDArray[numpy.float32]:
        ...
    def normal_equations(self, view: View, world_from_bone: typing.Annotated[numpy.typing.ArrayLike, numpy.float64], target: typing.Annotated[numpy.typing.ArrayLike, numpy.float32], weights: typing.Annotated[numpy.typing.ArrayLike, numpy.float32] | None) -> tuple[float, numpy.typing.NDArray[numpy.float64], numpy.typing.NDArray[numpy.float64]]:
        ...
    def normal_equations_into(self, views: collections.abc.Sequence[View], world_from_bone: typing.Any, targets: typing.Any, weights: typing.Any | None, cost: typing.Any, jtj: typing.Any, jtr: typing.Any, stream: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    def pose_gradient(self, view: View, world_from_bone: typing.Annotated[numpy.typing.ArrayLike, numpy.float64], image_gradient: typing.Annotated[numpy.typing.ArrayLike, numpy.float32]) -> numpy.typing.NDArray[numpy.float64]:
        ...
    def pose_gradients_into(self, views: collections.abc.Sequence[View], world_from_bone: typing.Any, image_gradient: typing.Any, gradients: typing.Any, stream: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    def render_into(self, views: collections.abc.Sequence[View], world_from_bone: typing.Any, images: typing.Any, stream: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    def volume_gradient(self, view: View, world_from_bone: typing.Annotated[numpy.typing.ArrayLike, numpy.float64], image_gradient: typing.Annotated[numpy.typing.ArrayLike, numpy.float32]) -> numpy.typing.NDArray[numpy.float32]:
        ...
    def volume_gradient_into(self, views: collections.abc.Sequence[View], world_from_bone: typing.Any, image_gradient: typing.Any, gradient: typing.Any, stream: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    def with_bone(self, view: View, world_from_bone: typing.Annotated[numpy.typing.ArrayLike, numpy.float64]) -> tuple[numpy.typing.NDArray[numpy.float32], numpy.typing.NDArray[numpy.float32], numpy.typing.NDArray[numpy.bool]]:
        ...
    def with_jacobian(self, view: View, world_from_bone: typing.Annotated[numpy.typing.ArrayLike, numpy.float64]) -> tuple[numpy.typing.NDArray[numpy.float32], numpy.typing.NDArray[numpy.float32]]:
        ...
    @property
    def cuda_device(self) -> int:
        """
        Number of the CUDA device; -1 on the CPU.
        """
class LabelRenderer:
    """
    See fluoropose.drr.LabelRenderer.
    """
    def __init__(self, labels: typing.Annotated[numpy.typing.ArrayLike, numpy.float32], count: typing.SupportsInt | typing.SupportsIndex, bone_from_voxel: typing.Annotated[numpy.typing.ArrayLike, numpy.float64], device: str) -> None:
        ...
    def paths(self, view: View, world_from_bone: typing.Annotated[numpy.typing.ArrayLike, numpy.float64]) -> numpy.typing.NDArray[numpy.float32]:
        ...
    def paths_into(self, views: collections.abc.Sequence[View], world_from_bone: typing.Any, paths: typing.Any, stream: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    @property
    def cuda_device(self) -> int:
        """
        As of Renderer.
        """
class GradientCorrelation:
    """
    See fluoropose.refinement.GradientCorrelation.
    """
    def __init__(self, fixed: typing.Annotated[numpy.typing.ArrayLike, numpy.float32], weights: typing.Annotated[numpy.typing.ArrayLike, numpy.float32], smooth: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex], slope: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex], tile_px: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    def best_veil(self, moving: typing.Annotated[numpy.typing.ArrayLike, numpy.float32], veils: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex]) -> int:
        ...
    def step(self, moving: typing.Annotated[numpy.typing.ArrayLike, numpy.float32], jacobian: typing.Annotated[numpy.typing.ArrayLike, numpy.float32]) -> tuple[float, numpy.typing.NDArray[numpy.float64], numpy.typing.NDArray[numpy.float64]]:
        ...
    def value(self, moving: typing.Annotated[numpy.typing.ArrayLike, numpy.float32]) -> float:
        ...
    @property
    def counted(self) -> float:
        ...
class ComparedView:
    """
    One view's fixed image and what is compared with it.
    """
    def __init__(self, view: View, similarity: GradientCorrelation, veil: typing.SupportsFloat | typing.SupportsIndex, renderers: collections.abc.Sequence[Renderer], spacings_mm: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex]) -> None:
        ...
class CudaClimber:
    """
    Climbs as climb() does, on a CUDA device; keeps the memory it needs.
    """
    def __init__(self, device: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    def climb(self, views: collections.abc.Sequence[ComparedView], starts: collections.abc.Sequence[typing.Annotated[numpy.typing.ArrayLike, numpy.float64]], iterations: typing.SupportsInt | typing.SupportsIndex, tolerance_px: typing.SupportsFloat | typing.SupportsIndex, damping: typing.SupportsFloat | typing.SupportsIndex, reach_px: typing.SupportsFloat | typing.SupportsIndex, radius_mm: typing.SupportsFloat | typing.SupportsIndex, pixel_mm: typing.SupportsFloat | typing.SupportsIndex) -> list[tuple[numpy.typing.NDArray[numpy.float64], float, numpy.typing.NDArray[numpy.float64], numpy.typing.NDArray[numpy.float64], float, int, bool, list[float]]]:
        ...
class Loss:
    """
    Members:
    
      norm
    
      squared
    
      huber
    
      cauchy
    """
    __members__: typing.ClassVar[dict[str, Loss]]
    cauchy: typing.ClassVar[Loss]
    huber: typing.ClassVar[Loss]
    norm: typing.ClassVar[Loss]
    squared: typing.ClassVar[Loss]
    @typing.overload
    def __eq__(self, other: Loss) -> bool:
        ...
    @typing.overload
    def __eq__(self, other: typing.Any) -> bool:
        ...
    def __getstate__(self) -> int:
        ...
    def __hash__(self) -> int:
        ...
    def __index__(self) -> int:
        ...
    def __init__(self, value: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    def __int__(self) -> int:
        ...
    @typing.overload
    def __ne__(self, other: Loss) -> bool:
        ...
    @typing.overload
    def __ne__(self, other: typing.Any) -> bool:
        ...
    def __repr__(self) -> str:
        ...
    def __setstate__(self, state: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    def __str__(self) -> str:
        ...
    @property
    def name(self) -> str:
        ...
    @property
    def value(self) -> int:
        ...
class TriangulationStatus:
    """
    Members:
    
      ok
    
      too_few_points
    
      collinear_points
    
      behind_source
    
      no_convergence
    """
    __members__: typing.ClassVar[dict[str, TriangulationStatus]]
    behind_source: typing.ClassVar[TriangulationStatus]
    collinear_points: typing.ClassVar[TriangulationStatus]
    no_convergence: typing.ClassVar[TriangulationStatus]
    ok: typing.ClassVar[TriangulationStatus]
    too_few_points: typing.ClassVar[TriangulationStatus]
    @typing.overload
    def __eq__(self, other: TriangulationStatus) -> bool:
        ...
    @typing.overload
    def __eq__(self, other: typing.Any) -> bool:
        ...
    def __getstate__(self) -> int:
        ...
    def __hash__(self) -> int:
        ...
    def __index__(self) -> int:
        ...
    def __init__(self, value: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    def __int__(self) -> int:
        ...
    @typing.overload
    def __ne__(self, other: TriangulationStatus) -> bool:
        ...
    @typing.overload
    def __ne__(self, other: typing.Any) -> bool:
        ...
    def __repr__(self) -> str:
        ...
    def __setstate__(self, state: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    def __str__(self) -> str:
        ...
    @property
    def name(self) -> str:
        ...
    @property
    def value(self) -> int:
        ...
class Triangulation:
    """
    See fluoropose.registration.Registration.
    """
    @property
    def cost(self) -> float:
        ...
    @property
    def costs(self) -> numpy.typing.NDArray[numpy.float64]:
        ...
    @property
    def covariance(self) -> typing.Any:
        ...
    @property
    def mirrored(self) -> int:
        ...
    @property
    def n_used(self) -> int:
        ...
    @property
    def residuals(self) -> numpy.typing.NDArray[numpy.float64]:
        ...
    @property
    def status(self) -> TriangulationStatus:
        ...
    @property
    def world_from_bone(self) -> numpy.typing.NDArray[numpy.float64]:
        ...
def built_with_cuda() -> bool:
    """
    Whether the compiled core holds CUDA kernels.
    """
def climb(views: collections.abc.Sequence[ComparedView], starts: collections.abc.Sequence[typing.Annotated[numpy.typing.ArrayLike, numpy.float64]], iterations: typing.SupportsInt | typing.SupportsIndex, tolerance_px: typing.SupportsFloat | typing.SupportsIndex, damping: typing.SupportsFloat | typing.SupportsIndex, reach_px: typing.SupportsFloat | typing.SupportsIndex, radius_mm: typing.SupportsFloat | typing.SupportsIndex, pixel_mm: typing.SupportsFloat | typing.SupportsIndex) -> list[tuple[numpy.typing.NDArray[numpy.float64], float, numpy.typing.NDArray[numpy.float64], numpy.typing.NDArray[numpy.float64], float, int, bool, list[float]]]:
    """
    Levenberg and Marquardt's method from each of the starts; see fluoropose.refinement.LevenbergMarquardt.
    """
def cuda_device_count() -> int:
    """
    Number of CUDA devices that can be used; 0 without a device, a driver or CUDA kernels.
    """
@typing.overload
def mean_attenuation(pixels: numpy.typing.NDArray[numpy.uint8], block: typing.SupportsInt | typing.SupportsIndex, first: typing.SupportsFloat | typing.SupportsIndex, step: typing.SupportsFloat | typing.SupportsIndex, least: typing.SupportsFloat | typing.SupportsIndex) -> numpy.typing.NDArray[numpy.float32]:
    """
    -log of a stored frame's signal, first + step * number but no less than least: means over blocks of pixels.
    """
@typing.overload
def mean_attenuation(pixels: numpy.typing.NDArray[numpy.uint16], block: typing.SupportsInt | typing.SupportsIndex, first: typing.SupportsFloat | typing.SupportsIndex, step: typing.SupportsFloat | typing.SupportsIndex, least: typing.SupportsFloat | typing.SupportsIndex) -> numpy.typing.NDArray[numpy.float32]:
    """
    -log of a stored frame's signal, first + step * number but no less than least: means over blocks of pixels.
    """
@typing.overload
def mean_attenuation(pixels: numpy.typing.NDArray[numpy.float32], block: typing.SupportsInt | typing.SupportsIndex, first: typing.SupportsFloat | typing.SupportsIndex, step: typing.SupportsFloat | typing.SupportsIndex, least: typing.SupportsFloat | typing.SupportsIndex) -> numpy.typing.NDArray[numpy.float32]:
    """
    -log of a stored frame's signal, first + step * number but no less than least: means over blocks of pixels.
    """
def neutral_start(views: collections.abc.Sequence[View]) -> numpy.typing.NDArray[numpy.float64]:
    """
    (4, 4) world_from_bone of Zhou et al. 2021's start.
    """
def triangulate(landmarks: typing.Annotated[numpy.typing.ArrayLike, numpy.float64], partner: typing.Annotated[numpy.typing.ArrayLike, numpy.int32], px: typing.Annotated[numpy.typing.ArrayLike, numpy.float64], visible: typing.Annotated[numpy.typing.ArrayLike, numpy.bool], weights: typing.Annotated[numpy.typing.ArrayLike, numpy.float64] | None, views: collections.abc.Sequence[View], loss: Loss, loss_scale_mm: typing.SupportsFloat | typing.SupportsIndex, use_all: bool, start: typing.Annotated[numpy.typing.ArrayLike, numpy.float64] | None) -> Triangulation:
    """
    See fluoropose.registration.triangulate.
    """
__version__: str = '0.1.0'
max_polynomial_order: int = 15
