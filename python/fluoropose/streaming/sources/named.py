"""Sources by what a user calls them on the command line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fluoropose.errors import ConfigError, FileFormatError, InputError
from fluoropose.registration.trial import Trial, TrialFrames
from fluoropose.rig import Rig
from fluoropose.streaming.endpoint import Token, host_and_port, zmq_endpoint
from fluoropose.streaming.frame import Source
from fluoropose.streaming.replay import Replay
from fluoropose.streaming.ring import RingReader, frame_ring
from fluoropose.streaming.sources.igtl import IgtlSource
from fluoropose.streaming.sources.zeromq import ZeromqSource

__all__ = ["LISTENING", "SOURCES", "listen", "open_source", "require_source"]

LISTENING = {"ring": "ring:FILE", "zmq": "zmq:tcp://HOST:PORT", "igtl": "igtl:[HOST:]PORT"}
"""How sources that programs send to are written, by their kinds."""
SOURCES = {"frames": "frames"} | LISTENING
"""How all are."""


def require_source(text: str, trial: Trial, kinds: Mapping[str, str] = SOURCES) -> None:
    """Raise an error unless ``text`` can name a source of one of ``kinds``; nothing is opened.

    Raises
    ------
    InputError
        If it cannot.
    ConfigError
        If the trial does not say what such a source needs to be known.
    """
    kind, _, rest = text.partition(":")
    if kind not in kinds or (not rest and text != "frames"):
        *others, last = kinds.values()
        raise InputError(f"source: expected {', '.join(others)} or {last}, found {text!r}")
    if kind == "zmq":
        zmq_endpoint("source", rest)
    if kind == "igtl":
        host_and_port("source", rest)
    if (kinds is LISTENING or kind in ("zmq", "igtl")) and trial.bit_depth is None:
        raise ConfigError(
            "bit_depth: missing; the trial must say how many bits of the frames that programs send carry signal, "
            "such as bit_depth = 12"
        )


def open_source(
    text: str, trial: Trial, rig: Rig, speed: float | None, token: Token, after: int | None = None
) -> Source:
    """Open the source that ``text`` names, which gives frames until they end.

    Parameters
    ----------
    text
        "frames": the trial's own, replayed; "ring:FILE": a ring that acquisition software writes; "zmq:tcp://HOST:PORT"
        or "igtl:[HOST:]PORT": what programs send there.
    trial, rig
        Tell what to expect.
    speed
        Of the replay; None: as fast as it can be read.
    token
        Needed where others can send.
    after
        The replay begins behind the pair of this number; None: with the first.

    Raises
    ------
    InputError
        If the text names no source, or what it needs is missing.
    FileFormatError
        If there are no such frames, or they do not fit the rig.
    """
    require_source(text, trial)
    kind, _, rest = text.partition(":")
    if text == "frames":
        frames = TrialFrames.open(trial)
        if len(frames.sources) != len(rig.fluoroscopes):
            raise ConfigError(f"frames: expected {len(rig.fluoroscopes)} views, found {len(frames.sources)}")
        if not np.isfinite(frames.times_s).all():
            raise ConfigError("frame_rate_hz: following a trial needs its frames' times; give this rate, or times")
        return Replay(frames, speed, offsets_s=rig.offsets_s, after=after)
    if kind == "ring":
        return _fitting(RingReader(rest), rest, rig, trial.bit_depth)
    return listen(text, trial, rig, token)


def listen(text: str, trial: Trial, rig: Rig, token: Token) -> Source:
    """Open the source that ``text`` names for whoever may come, one program after the other, until it is stopped.

    A ring is made where there is none, or one of another layout that nobody writes, and removed in the end unless a
    program still has it. Parameters and errors are those of ``open_source``; "frames" is none of these.
    """
    require_source(text, trial, LISTENING)
    kind, _, rest = text.partition(":")
    sizes, bits = tuple(view.size_px for view in rig.views), trial.bit_depth
    assert bits is not None  # require_source sees to it; narrows the type
    if bits > 16:
        raise ConfigError(f"bit_depth: expected at most 16 for frames that programs send, found {bits}")
    if kind == "zmq":
        return ZeromqSource(rest, sizes, bits, token)
    if kind == "igtl":
        return IgtlSource(*host_and_port("source", rest), sizes, bits, token)
    if len(set(sizes)) != 1:
        raise InputError(f"source: a ring holds frames of one size, the rig's views have {sizes}")
    made = frame_ring(Path(rest), sizes[0], bits)
    return _fitting(RingReader(rest, lasting=True, owned=made), rest, rig, bits)


def _fitting(ring: RingReader, path: str, rig: Rig, bits: int | None) -> RingReader:
    if bits not in (None, ring.bits):
        raise FileFormatError(f"{path}: expected {bits} bits, as the trial's bit_depth says, found {ring.bits}")
    for k, view in enumerate(rig.views, start=1):
        if ring.size_px != view.size_px:
            raise FileFormatError(f"{path}: view {k}: expected {view.size_px} pixels, found {ring.size_px}")
    return ring
