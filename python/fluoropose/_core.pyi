"""
Compiled core of fluoropose: rendering, distortion and triangulation.
"""
from __future__ import annotations
import numpy
import numpy.typing
import typing
__all__: list[str] = ['View']
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
__version__: str = '0.1.0'
