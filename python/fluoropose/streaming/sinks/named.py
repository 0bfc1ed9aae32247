"""Sinks by what a user calls them on the command line."""

from __future__ import annotations

from pathlib import Path

from fluoropose.errors import InputError
from fluoropose.streaming.sinks.igtl import IgtlServer
from fluoropose.streaming.sinks.lsl import LslOutlet
from fluoropose.streaming.sinks.sink import Sink
from fluoropose.streaming.sinks.smoothed import SmoothedFile
from fluoropose.streaming.sinks.tables import AutoscoperTable, OpenSimTable, PosesTable, XmalabTable
from fluoropose.tracking.kalman import Motion

__all__ = ["open_sink"]

_EXPECTED = (
    "expected FILE.csv, FILE.mot, FILE.sto, FILE.tra, xmalab:FILE.csv, smooth:FILE.csv, igtl:[HOST:]PORT or lsl[:NAME]"
)


def open_sink(text: str, bone: str, motion: Motion) -> Sink:
    """Open the sink that ``text`` names.

    Parameters
    ----------
    text
        FILE.csv (poses), FILE.mot or FILE.sto (OpenSim), FILE.tra (Autoscoper), xmalab:FILE.csv, smooth:FILE.csv,
        igtl:PORT or igtl:HOST:PORT, lsl or lsl:NAME.
    bone
        Name of the bone.
    motion
        That of the tracker.

    Raises
    ------
    InputError
        If the text names no sink, or what it needs is not installed.
    """
    kind, _, rest = text.partition(":")
    if kind == "igtl":
        host, _, port = rest.rpartition(":")
        if not port.isdigit():
            raise InputError(f"sink: expected igtl:PORT or igtl:HOST:PORT, found {text!r}")
        return IgtlServer(bone, int(port), host or "127.0.0.1")
    if kind == "lsl":
        return LslOutlet(rest or bone)
    if kind == "xmalab" and rest:
        return XmalabTable(rest, bone)
    if kind == "smooth" and rest:
        return SmoothedFile(rest, motion)
    suffix = Path(text).suffix.lower()
    if suffix == ".csv":
        return PosesTable(text)
    if suffix == ".tra":
        return AutoscoperTable(text)
    if suffix in (".mot", ".sto"):
        return OpenSimTable(text, bone)
    raise InputError(f"sink: {_EXPECTED}, found {text!r}")
