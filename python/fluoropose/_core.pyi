"""
Compiled core of fluoropose: rendering, distortion and triangulation.
"""
from __future__ import annotations
import numpy
import numpy.typing
import typing
__all__: list[str] = ['Distortion', 'PlanePolynomial', 'Renderer', 'View', 'max_polynomial_order']
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
    def __init__(self, mu: typing.Annotated[numpy.typing.ArrayLike, numpy.float32], bone_from_voxel: typing.Annotated[numpy.typing.ArrayLike, numpy.float64], bone: typing.Annotated[numpy.typing.ArrayLike, numpy.bool] | None = None) -> None:
        ...
    def line_integral(self, view: View, world_from_bone: typing.Annotated[numpy.typing.ArrayLike, numpy.float64]) -> numpy.typing.NDArray[numpy.float32]:
        ...
    def with_bone(self, view: View, world_from_bone: typing.Annotated[numpy.typing.ArrayLike, numpy.float64]) -> tuple:
        ...
__version__: str = '0.1.0'
max_polynomial_order: int = 15
