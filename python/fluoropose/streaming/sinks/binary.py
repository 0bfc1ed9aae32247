"""Files of poses that other libraries write: Parquet for data analysis, C3D for motion capture.

Their rows are kept like those of ``poses.csv`` until the end.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from importlib.util import find_spec
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fluoropose.bone import Bone
from fluoropose.errors import InputError
from fluoropose.geometry import Pose
from fluoropose.registration.poses_file import COLUMNS
from fluoropose.streaming.c3d import Motion, write_c3d
from fluoropose.streaming.sinks.tables import PosesTable

__all__ = ["C3dFile", "ParquetFile"]

_WORDS = ("status", "reason", "hypothesis", "source")
_WHOLE = ("frame", "n_visible")
_QUATERNION, _SHIFT = ("qw", "qx", "qy", "qz"), ("tx_mm", "ty_mm", "tz_mm")
_CHANNELS = ("theta_x_deg", "theta_y_deg", "theta_z_deg", *_SHIFT)
_MOST_FRAMES = 1_000_000
_MOST_UNEVEN = 1.0  # frames by which a pair may miss its place at a steady rate


class ParquetFile(PosesTable):
    """The columns of ``poses.csv`` with their types; what is unknown is null.

    Raises
    ------
    InputError
        If pyarrow is not installed.
    """

    def __init__(self, path: str | Path) -> None:
        try:
            import pyarrow  # noqa: F401
        except ImportError as error:
            raise InputError("Parquet needs pyarrow: pip install 'fluoropose[export]'") from error
        super().__init__(path)

    def finish(self, path: Path, lines: Iterable[str]) -> None:
        """Write the file of these lines."""
        import pyarrow
        import pyarrow.csv
        import pyarrow.parquet

        words, whole = dict.fromkeys(_WORDS, pyarrow.string()), dict.fromkeys(_WHOLE, pyarrow.int64())
        table = pyarrow.csv.read_csv(
            BytesIO("".join([",".join(COLUMNS) + "\n", *lines]).encode()),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(COLUMNS, pyarrow.float64()) | words | whole
            ),
        )
        described = table.replace_schema_metadata({"fluoropose": self.head(0).splitlines()[0]})
        pyarrow.parquet.write_table(described, path)


class C3dFile(PosesTable):
    """Landmarks as points (mm, world) and six analog channels: angles RX, RY, RZ (degrees), TX, TY, TZ (mm).

    A C3D file has a frame for every moment of its rate: pairs that never came are frames without points. Where there is
    no pose the points are marked as missing and the channels are NaN.

    Parameters
    ----------
    path
        The file.
    bone
        Its landmarks become points.

    Raises
    ------
    InputError
        If ezc3d is not installed; at the end, if the pairs' numbers and times make no steady rate.
    """

    def __init__(self, path: str | Path, bone: Bone) -> None:
        if find_spec("ezc3d") is None:
            raise InputError("C3D needs ezc3d: pip install 'fluoropose[export]'")
        super().__init__(path)
        self._bone = bone

    def finish(self, path: Path, lines: Iterable[str]) -> None:
        """Write the file of these lines."""
        rows = list(csv.DictReader(lines, COLUMNS))
        frames, rate_hz = self._time_base(rows)
        points = np.full((3, len(self._bone.landmarks_mm), frames[-1] + 1), np.nan)
        channels = np.full((len(_CHANNELS), frames[-1] + 1), np.nan)
        for frame, row in zip(frames, rows, strict=True):
            if row["status"] == "ok":
                pose = Pose.from_quaternion(_numbers(row, _QUATERNION), _numbers(row, _SHIFT))
                points[:, :, frame] = pose.apply(self._bone.landmarks_mm).T
                channels[:, frame] = _numbers(row, _CHANNELS)
        labels, units = ("RX", "RY", "RZ", "TX", "TY", "TZ"), 3 * ("deg",) + 3 * ("mm",)
        write_c3d(str(path), Motion(rate_hz, points, self._bone.landmark_names, channels, labels, units))

    def _time_base(self, rows: list[dict[str, str]]) -> tuple[NDArray[np.int64], float]:
        """Return the frame of every row, 0 first, and the rate."""
        numbers = [int(row["frame"]) for row in rows]
        if any(before >= after for before, after in pairwise(numbers)):
            raise InputError(f"{self.path}: the pairs' numbers start anew; their rows are in {self.partial}")
        if len(rows) < 2:
            raise InputError(f"{self.path}: a rate needs two pairs or more, found {len(rows)}")
        if not all(row["time_s"] for row in rows):
            raise InputError(f"{self.path}: no rate: a trial has times from times or frame_rate_hz")
        frames = np.array(numbers) - numbers[0]
        times_s = np.array([float(row["time_s"]) for row in rows])
        times_s -= times_s[0]
        if not times_s[-1] > 0 or frames[-1] >= _MOST_FRAMES:
            raise InputError(f"{self.path}: no rate: {frames[-1] + 1} numbers in {times_s[-1]:g} s")
        rate_hz = float(frames[-1] / times_s[-1])
        off = np.abs(times_s * rate_hz - frames)
        if off.max() > _MOST_UNEVEN:
            worst = int(off.argmax())
            raise InputError(
                f"{self.path}: no rate: at a steady {rate_hz:.4g} per second pair {numbers[worst]} would be taken at "
                f"{frames[worst] / rate_hz:.4g} s, but was at {times_s[worst]:.4g} s"
            )
        return frames, rate_hz


def _numbers(row: dict[str, str], names: tuple[str, ...]) -> list[float]:
    return [float(row[name]) for name in names]
