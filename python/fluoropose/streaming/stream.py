"""From a source of frames through the tracker to the sinks, in threads that never wait for a slower one."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from threading import Thread

from fluoropose.streaming.frame import Output, Pair, Source
from fluoropose.streaming.outlet import Outlet
from fluoropose.streaming.pairing import Pairer
from fluoropose.streaming.queues import BoundedQueue, Policy
from fluoropose.streaming.sinks import Sink
from fluoropose.streaming.sinks.sink import Takes
from fluoropose.streaming.statistics import Progress, StreamSummary
from fluoropose.streaming.undisturbed import undisturbed
from fluoropose.streaming.viewer.viewer import Shown
from fluoropose.tracking import Tracker
from fluoropose.tracking.stored import Attenuating

__all__ = ["Stream"]


class Stream:
    """Runs a tracker on a source of frames.

    One thread takes frames and makes pairs, the caller's runs the tracker, one per sink writes.

    Parameters
    ----------
    source
        Where frames come from.
    tracker
        Finds the bone; a new or forgotten one starts in the whole field.
    attenuating
        Converts the stored frames.
    sinks
        Where poses go.
    pairer
        Which frames belong together; by default those of equal number.
    policy
        "latest": when the tracker falls behind, the oldest waiting pair is dropped and counted. "every": the source
        waits, and nothing is dropped.
    capacity, sink_capacity
        Pairs that may wait for the tracker, and poses that may wait for each sink.
    viewer
        Is shown the pairs that it has time for.
    """

    def __init__(
        self,
        source: Source,
        tracker: Tracker,
        attenuating: Attenuating,
        sinks: Sequence[Sink] = (),
        *,
        pairer: Pairer | None = None,
        policy: Policy = "latest",
        capacity: int = 3,
        sink_capacity: int = 64,
        viewer: Takes[Shown] | None = None,
    ) -> None:
        self._source, self._tracker, self._attenuating = source, tracker, attenuating
        self._pairer, self._hurries = pairer or Pairer(), policy == "latest"
        self._pairs: BoundedQueue[Pair] = BoundedQueue(capacity, policy)
        self._outlets = [Outlet(sink, policy, sink_capacity) for sink in sinks]
        self._viewer = None if viewer is None else Outlet(viewer, "latest", 1)
        self._failure: BaseException | None = None
        self.progress = Progress()

    def run(self, watch: Callable[[Output], None] | None = None) -> StreamSummary:
        """Track until the source ends or ``stop`` is called; sinks are finished then, whatever happened.

        Parameters
        ----------
        watch
            Called after every pair, in the tracker's thread; it must be quick.

        Raises
        ------
        Exception
            What the source raised, after everything that had arrived was tracked and written.
        """
        feeder = Thread(target=self._feed, name="frames", daemon=True)
        try:
            self._tracker.warm_up()
            feeder.start()
            with undisturbed():
                while (pair := self._pairs.get()) is not None:
                    output = self._tracked(pair)
                    self.progress.add(output)
                    for outlet in self._outlets:
                        outlet.put(output)
                    if self._viewer is not None:
                        self._viewer.put(Shown(pair, output))
                    if watch is not None:
                        watch(output)
        finally:
            self._source.stop()
            self._pairs.close()
            for outlet in self._outlets:
                outlet.close()
            if self._viewer is not None:
                self._viewer.close()
            if feeder.ident is not None:  # it was started
                feeder.join(timeout=5.0)
        if self._failure is not None:
            raise self._failure
        return self.summary()

    @property
    def source_name(self) -> str:
        """Where frames come from, as a user names it."""
        return self._source.name

    def stop(self) -> None:
        """Take no more frames; may be called from any thread or a signal's handler. ``run`` then comes to its end."""
        self._source.stop()

    def summary(self) -> StreamSummary:
        """Return the numbers so far."""
        reports = [outlet.report for outlet in self._outlets]
        if self._viewer is not None:
            reports.append(self._viewer.report)
        counts, problems = self._pairer.counts, self._tracker.problems
        return self.progress.summary(self._pairs.dropped, self._source, counts, tuple(reports), problems)

    def _feed(self) -> None:
        try:
            for frame in self._source:
                for pair in self._pairer.add(frame):
                    self._pairs.put(pair)
            for pair in self._pairer.flush():
                self._pairs.put(pair)
        except Exception as error:  # handed to the thread that called run
            self._failure = error
        finally:
            self._pairs.close()

    def _tracked(self, pair: Pair) -> Output:
        first, second = pair.frames
        if first is None or second is None or first.pixels is None or second.pixels is None:
            tracked = self._tracker.miss(pair.time_s, pair.problem)
        else:
            frames = self._attenuating(first.pixels), self._attenuating(second.pixels)
            # Where nothing is dropped, a pair that waits is no sign that the tracker falls behind.
            waited_ms = 1e3 * (time.monotonic() - pair.arrived_s) if self._hurries else 0.0
            tracked = self._tracker.push(*frames, pair.time_s, waited_ms)
        latency_ms = 1e3 * (time.monotonic() - pair.arrived_s)
        return Output(pair.number, tracked, latency_ms, pair.arrived_s, pair.first.session)
