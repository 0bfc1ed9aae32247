"""Lab Streaming Layer: poses beside everything else a laboratory records."""

from __future__ import annotations

import numpy as np

from fluoropose.errors import InputError
from fluoropose.streaming.frame import Output

__all__ = ["CHANNELS", "LslOutlet"]

CHANNELS = (
    *(("qw", "1"), ("qx", "1"), ("qy", "1"), ("qz", "1")),
    *(("tx", "mm"), ("ty", "mm"), ("tz", "mm")),
    *(("quality", "1"), ("time", "s"), ("number", "1")),
)


class LslOutlet:
    """An outlet of type "MoCap" with the channels of ``CHANNELS``: quaternion, translation, quality, the pair's time.

    A pair without a pose has NaN and quality 0. Samples carry LSL's own clock.

    Parameters
    ----------
    bone
        Name of the stream.
    rate_hz
        Nominal rate; 0 where it is irregular.

    Raises
    ------
    InputError
        If pylsl is not installed.
    """

    def __init__(self, bone: str, rate_hz: float = 0.0) -> None:
        try:
            import pylsl
        except (ImportError, RuntimeError) as error:
            raise InputError("Lab Streaming Layer needs pylsl: pip install 'fluoropose[stream]'") from error
        self.name = f"lsl:{bone}"
        info = pylsl.StreamInfo(bone, "MoCap", len(CHANNELS), rate_hz, "double64", f"fluoropose {bone}")
        channels = info.desc().append_child("channels")
        for label, unit in CHANNELS:
            channels.append_child("channel").append_child_value("label", label).append_child_value("unit", unit)
        self._clock = pylsl.local_clock
        self._outlet = pylsl.StreamOutlet(info)

    def write(self, output: Output) -> None:
        """Push a sample, stamped with the moment the pair was complete."""
        tracked, pose = output.tracked, output.tracked.world_from_bone
        where = np.full(7, np.nan) if pose is None else np.concatenate([pose.quaternion, pose.translation_mm])
        sample = [*where.tolist(), tracked.quality, tracked.time_s, float(output.number)]
        self._outlet.push_sample(sample, self._clock() - output.latency_ms / 1e3)

    def close(self) -> None:
        """Take the stream off the network."""
        del self._outlet
