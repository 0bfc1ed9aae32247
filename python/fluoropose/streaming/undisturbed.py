"""Running without the pauses that Python makes by itself."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["undisturbed"]

_TURN_S = 0.0005  # a tracker that waited for a GPU must not wait a default turn of 5 ms for the next thread to yield


@contextmanager
def undisturbed() -> Iterator[None]:
    """Let threads take short turns, and leave all objects that are there now out of garbage collections.

    Looking through what is loaded, PyTorch above all, takes 190 ms: six pairs.
    """
    turn_s = sys.getswitchinterval()
    sys.setswitchinterval(_TURN_S)
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        sys.setswitchinterval(turn_s)
