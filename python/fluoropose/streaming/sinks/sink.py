"""What a sink is, and the simplest one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from fluoropose.streaming.frame import Output

__all__ = ["Callback", "Sink"]


class Sink(Protocol):
    """Takes what the tracker says, one pair after the other, from a thread of its own.

    A sink that raises is not called again; the stream goes on without it and says so.
    """

    name: str

    def write(self, output: Output) -> None:
        """Take the next output."""

    def close(self) -> None:
        """Finish; called once, also when a stream was stopped or the sink failed."""


class Callback:
    """Calls a function with every output."""

    def __init__(self, function: Callable[[Output], None], name: str = "callback") -> None:
        self.name, self.write = name, function

    def close(self) -> None:
        """Nothing to finish."""
