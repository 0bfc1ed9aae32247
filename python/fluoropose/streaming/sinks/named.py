"""Sinks by what a user calls them on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fluoropose.bone import Bone
from fluoropose.errors import InputError
from fluoropose.streaming.endpoint import Token, host_and_port, zmq_endpoint
from fluoropose.streaming.pose_ring import PoseRing
from fluoropose.streaming.sinks.binary import C3dFile, ParquetFile
from fluoropose.streaming.sinks.igtl import IgtlServer
from fluoropose.streaming.sinks.lsl import LslOutlet
from fluoropose.streaming.sinks.sink import Sink
from fluoropose.streaming.sinks.smoothed import SmoothedFile
from fluoropose.streaming.sinks.tables import AutoscoperTable, OpenSimTable, PosesTable, Table, XmalabTable
from fluoropose.streaming.sinks.zeromq import ZeromqSink
from fluoropose.tracking.kalman import Motion

__all__ = ["counts_frames", "open_sink", "open_table", "require_sink", "require_table"]

_TABLES = "FILE.csv, FILE.parquet, FILE.c3d, FILE.mot, FILE.sto, FILE.tra"
_NO_TABLES = ("igtl", "lsl", "ring", "smooth", "zmq")
_SUFFIXES = (".csv", ".parquet", ".c3d", ".mot", ".sto", ".tra")
_NOT_CONTINUED = "cannot be continued; FILE.csv, .mot, .sto and xmalab: can"


def require_sink(text: str) -> None:
    """Raise InputError unless ``text`` can name a sink; nothing is opened."""
    kind, _, rest = text.partition(":")
    if kind == "igtl":
        host_and_port("sink", rest)
    elif kind == "zmq":
        zmq_endpoint("sink", rest)
    elif kind == "lsl" or (rest and kind in ("ring", "smooth", "xmalab")):
        return
    elif Path(text).suffix.lower() not in _SUFFIXES:
        raise InputError(
            f"sink: expected {_TABLES}, xmalab:FILE.csv, smooth:FILE.csv, ring:FILE, zmq:tcp://HOST:PORT, "
            f"igtl:[HOST:]PORT or lsl[:NAME], found {text!r}"
        )


def require_table(text: str) -> None:
    """Raise InputError unless ``text`` can name a file of ``open_table``; nothing is opened."""
    kind, _, rest = text.partition(":")
    known = rest if kind == "xmalab" else kind not in _NO_TABLES and Path(text).suffix.lower() in _SUFFIXES
    if not known:
        raise InputError(f"files: expected {_TABLES} or xmalab:FILE.csv, found {text!r}")


def counts_frames(text: str) -> bool:
    """Tell whether what ``text`` names counts the frames of a trial, whatever numbers these carry."""
    return text.startswith("xmalab:") or Path(text).suffix.lower() == ".tra"


def open_sink(
    text: str, bone: Bone, motion: Motion, token: Token, numbers: Sequence[int] = (), *, resume: bool = False
) -> Sink:
    """Open the sink that ``text`` names.

    Parameters
    ----------
    text
        FILE.csv or FILE.parquet (poses), FILE.c3d (landmarks and pose), FILE.mot or FILE.sto (OpenSim), FILE.tra
        (Autoscoper), xmalab:FILE.csv, smooth:FILE.csv, ring:FILE (shared memory), zmq:tcp://HOST:PORT, igtl:PORT or
        igtl:HOST:PORT, lsl or lsl:NAME.
    bone
        The bone.
    motion
        That of the tracker.
    token
        Needed where other machines can listen.
    numbers
        Those of the trial's pairs, in order; none where frames come from elsewhere.
    resume
        Keep what is in the file from an earlier run.

    Raises
    ------
    InputError
        If the text names no sink, what it needs is not installed, or it cannot go on with an earlier file.
    """
    require_sink(text)
    kind, _, rest = text.partition(":")
    if kind == "igtl":
        host, port = host_and_port("sink", rest)
        return IgtlServer(bone.name, port, host, token)
    if kind == "zmq":
        return ZeromqSink(rest, bone.name, token)
    if kind == "ring":
        return PoseRing(rest)
    if kind == "lsl":
        return LslOutlet(rest or bone.name)
    if kind == "smooth":
        if resume:
            raise InputError(f"sink: {text} {_NOT_CONTINUED}")
        return SmoothedFile(rest, motion)
    return open_table(text, bone, numbers, resume=resume)


def open_table(text: str, bone: Bone, numbers: Sequence[int] = (), *, resume: bool = False) -> Table:
    """Open the file that ``text`` names: those of ``open_sink`` that need no more than the rows of ``poses.csv``.

    Parameters are those of ``open_sink``.

    Raises
    ------
    InputError
        If the text names no such file, what it needs is not installed, or it cannot go on with an earlier file.
    """
    require_table(text)
    kind, _, rest = text.partition(":")
    suffix = Path(text).suffix.lower()
    if resume and suffix in (".parquet", ".c3d", ".tra"):
        raise InputError(f"sink: {text} {_NOT_CONTINUED}")
    if kind == "xmalab":
        return XmalabTable(rest, bone.name, numbers, resume=resume)
    if suffix == ".csv":
        return PosesTable(text, resume=resume)
    if suffix == ".parquet":
        return ParquetFile(text)
    if suffix == ".c3d":
        return C3dFile(text, bone)
    if suffix == ".tra":
        return AutoscoperTable(text, numbers)
    return OpenSimTable(text, bone.name, resume=resume)
