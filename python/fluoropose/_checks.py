"""Argument checks shared by the public functions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fluoropose.errors import InputError

__all__ = ["finite_array", "float_array", "positive", "whole_positive"]


def float_array(name: str, value: ArrayLike, shape: tuple[int | None, ...]) -> NDArray[np.float64]:
    """Return ``value`` as a float64 array of ``shape`` (None: any length), NaN allowed, or raise InputError."""
    try:
        array: NDArray[Any] = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name}: expected numbers of shape {_show(shape)}, found {type(value).__name__}") from error
    if array.ndim != len(shape) or any(n is not None and n != m for n, m in zip(shape, array.shape, strict=True)):
        raise InputError(f"{name}: expected shape {_show(shape)}, found {array.shape}")
    return array


def finite_array(name: str, value: ArrayLike, shape: tuple[int | None, ...]) -> NDArray[np.float64]:
    """Return ``value`` as a finite float64 array of ``shape`` (None: any length), or raise InputError naming it."""
    array = float_array(name, value, shape)
    if not np.isfinite(array).all():
        raise InputError(f"{name}: expected finite numbers, found NaN or infinity")
    return array


def positive(name: str, value: float) -> float:
    """Return ``value`` as a float, or raise InputError naming ``name`` unless it is finite and > 0."""
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name}: expected a positive number, found {value!r}") from error
    if not (np.isfinite(number) and number > 0):
        raise InputError(f"{name}: expected a positive number, found {value}")
    return number


def not_negative(name: str, value: float) -> float:
    """Return ``value`` as a float, or raise InputError naming ``name`` unless it is finite and >= 0."""
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name}: expected a number not below 0, found {value!r}") from error
    if not (np.isfinite(number) and number >= 0):
        raise InputError(f"{name}: expected a number not below 0, found {value}")
    return number


def whole_positive(name: str, value: float) -> int:
    """Return ``value`` as an int, or raise InputError naming ``name`` unless it is a whole number >= 1."""
    number = positive(name, value)
    if number != int(number):
        raise InputError(f"{name}: expected a whole number, found {value}")
    return int(number)


def _show(shape: tuple[int | None, ...]) -> str:
    return "(" + ", ".join("n" if n is None else str(n) for n in shape) + ("," if len(shape) == 1 else "") + ")"
