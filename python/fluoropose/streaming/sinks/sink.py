"""What a sink is, and the simplest one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias, TypeVar

from fluoropose.streaming.frame import Output

__all__ = ["Callback", "Sink", "Takes"]

T_contra = TypeVar("T_contra", contravariant=True)


class Takes(Protocol[T_contra]):
    """Takes one thing after the other, from a thread of its own.

    One that raises is not called again; the stream goes on without it and says so.
    """

    name: str

    def write(self, item: T_contra, /) -> None:
        """Take the next one."""

    def close(self) -> None:
        """Finish; called once, also when a stream was stopped or this failed."""


Sink: TypeAlias = Takes[Output]
"""Takes what the tracker says, pair by pair."""


class Callback:
    """Calls a function with every output."""

    def __init__(self, function: Callable[[Output], None], name: str = "callback") -> None:
        self.name, self.write = name, function

    def close(self) -> None:
        """Nothing to finish."""
