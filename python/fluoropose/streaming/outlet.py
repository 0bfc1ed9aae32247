"""A sink with a thread of its own, so that one that is slow or dies never holds the tracker up."""

from __future__ import annotations

from threading import Thread
from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from fluoropose.streaming.queues import BoundedQueue, Policy
from fluoropose.streaming.sinks.sink import Takes

__all__ = ["Outlet", "SinkReport"]

_PATIENCE_S = 10.0  # for one output
_TO_FINISH_S = 30.0
T = TypeVar("T")


class SinkReport(BaseModel):
    """What a sink took: outputs written and lost, and why it failed; empty where it did not."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    written: int
    lost: int
    error: str


class Outlet(Generic[T]):
    """Passes outputs on to a sink.

    Parameters
    ----------
    sink
        Where to.
    policy, capacity
        What happens when the sink is slow: "latest" drops and counts outputs, "every" waits.
    """

    def __init__(self, sink: Takes[T], policy: Policy, capacity: int = 64) -> None:
        self._sink = sink
        self._queue: BoundedQueue[T] = BoundedQueue(capacity, policy)
        self._put = self._written = self._skipped = 0
        self._closed = False
        self._error = ""
        self._thread = Thread(target=self._run, name=sink.name, daemon=True)
        self._thread.start()

    @property
    def report(self) -> SinkReport:
        """What happened so far; while the stream runs, outputs that still wait are not lost."""
        lost = self._put - self._written if self._closed else self._queue.dropped + self._skipped
        return SinkReport(name=self._sink.name, written=self._written, lost=lost, error=self._error)

    def put(self, output: T, timeout_s: float = _PATIENCE_S) -> None:
        """Hand an output over; a sink that takes nothing for ``timeout_s`` is given up."""
        self._put += 1
        if self._error:
            self._skipped += 1
        elif not self._queue.put(output, timeout_s):
            self._skipped += 1
            self._error = f"took nothing for {timeout_s:g} s"

    def close(self, timeout_s: float = _TO_FINISH_S) -> None:
        """Let the sink write what waits and finish; one that takes longer than ``timeout_s`` is left behind."""
        self._queue.close()
        self._thread.join(0.0 if self._error.startswith("took nothing") else timeout_s)
        if self._thread.is_alive():
            self._error = self._error or f"did not finish within {timeout_s:g} s"
        self._closed = True

    def _run(self) -> None:
        while (output := self._queue.get()) is not None:
            if self._error:
                self._skipped += 1
                continue
            try:
                self._sink.write(output)
                self._written += 1
            except Exception as error:  # whatever a sink raises, the stream goes on
                self._error = f"{type(error).__name__}: {error}"
        try:
            self._sink.close()
        except Exception as error:
            self._error = self._error or f"{type(error).__name__}: {error}"
