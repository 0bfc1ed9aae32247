"""Rows of a large array that stay in their file until somebody asks for them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["StoredRows"]

_AT_ONCE = 512  # rows, where all are wanted one after the other


class StoredRows:
    """An array of an HDF5 file, chunked by rows: a training that takes small batches of them needs little memory.

    Parameters
    ----------
    path
        The file; it stays open.
    name
        The array's.

    Attributes
    ----------
    shape
        The array's.
    """

    def __init__(self, path: Path, name: str) -> None:
        self._rows: h5py.Dataset = h5py.File(path, "r")[name]
        self.shape: tuple[int, ...] = self._rows.shape

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Tensor) -> Tensor:
        """Return some rows, (b,) whole numbers, in any order."""
        found = np.empty((len(rows), *self.shape[1:]), self._rows.dtype)
        for place, row in enumerate(rows.tolist()):
            self._rows.read_direct(found, np.s_[row], np.s_[place])
        return torch.from_numpy(found)

    def blocks(self) -> Iterator[NDArray[np.generic]]:
        """Yield all rows, some at a time."""
        for first in range(0, len(self), _AT_ONCE):
            yield self._rows[first : first + _AT_ONCE]

    def to(self, device: torch.device) -> Tensor:
        """Return all rows in the memory of a device."""
        found = torch.empty(self.shape, dtype=torch.from_numpy(np.empty(0, self._rows.dtype)).dtype, device=device)
        first = 0
        for block in self.blocks():
            found[first : first + len(block)] = torch.from_numpy(block).to(device)
            first += len(block)
        return found
