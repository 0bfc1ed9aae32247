"""The six curves of a joint as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, fields
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from fluoropose._files import atomic_path
from fluoropose.joint import JointMotion
from fluoropose.registration.joint_trial import JointRow

__all__ = ["save_joint_picture"]

_COLOUR = "#1f5fa8"


def save_joint_picture(path: str | Path, rows: Sequence[JointRow]) -> None:
    """Draw angles above, translations below, over time or over frames where times are unknown; bands are +-1 sd."""
    nothing = JointMotion(*[float("nan")] * 6)
    motion = np.array([astuple(row.motion or nothing) for row in rows])
    sd = np.array([astuple(row.deviations or nothing) for row in rows])
    times = np.array([row.time_s for row in rows])
    timed = bool(np.isfinite(times).all())
    x = times if timed else np.array([row.frame for row in rows], dtype=np.float64)
    figure = Figure(figsize=(11, 5.5), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    for k, (axes, field) in enumerate(
        zip(np.ravel(figure.subplots(2, 3, sharex=True)), fields(JointMotion), strict=True)
    ):
        name, _, unit = field.name.rpartition("_")
        low, high = motion[:, k] - sd[:, k], motion[:, k] + sd[:, k]
        axes.fill_between(x, low, high, color=_COLOUR, alpha=0.2, lw=0, label="± 1 standard deviation")
        axes.plot(x, motion[:, k], color=_COLOUR, lw=1.3, marker=".", ms=3)
        axes.set_title(name.replace("_", " "), fontsize=11)
        axes.set_ylabel("degrees" if unit == "deg" else unit)
        axes.grid(alpha=0.25)
        if k >= 3:
            axes.set_xlabel("s" if timed else "frame")
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", frameon=False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, metadata={"Software": "fluoropose"})
