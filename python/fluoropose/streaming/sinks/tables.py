"""Files of poses for other programs; each appears under its name when it is complete.

Rows are kept beside the final file in a hidden one until then, so that even a program that is killed leaves them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fluoropose._files import atomic_path
from fluoropose.errors import FileFormatError, InputError
from fluoropose.geometry import Pose
from fluoropose.registration.poses_file import PoseRow, header_lines, read_rows, row_line, time_text
from fluoropose.streaming.frame import Output

__all__ = [
    "AutoscoperTable",
    "OpenSimTable",
    "PosesTable",
    "Table",
    "XmalabTable",
    "earlier_rows",
    "last_frame",
    "partial_of",
]

_NAN = float("nan")
_MOST_MISSING = 100_000  # pairs between two others


class Table(ABC):
    """A text file with one line per pair.

    Parameters
    ----------
    path
        The file.
    resume
        Keep the rows of an earlier run, also of one that was killed.

    Raises
    ------
    FileFormatError
        If there is an earlier file that this could not have written.
    """

    def __init__(self, path: str | Path, *, resume: bool = False) -> None:
        self.path = Path(path)
        self.name = str(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.partial = partial_of(self.path)
        earlier = earlier_rows(self.path, self.head) if resume else []
        with atomic_path(self.partial) as temporary:  # an earlier run's rows are there until all of them are copied
            temporary.write_text("".join(earlier), encoding="utf-8", newline="")
        self._file = self.partial.open("a", encoding="utf-8", newline="")
        self._rows = len(earlier)

    @abstractmethod
    def head(self, rows: int) -> str:
        """Return what stands above the rows."""

    @abstractmethod
    def line(self, row: PoseRow) -> str:
        """Return the line of a pair."""

    def write(self, output: Output) -> None:
        """Add the line of a pair."""
        self.add(output.row)

    def add(self, row: PoseRow) -> None:
        """Add a line."""
        self._file.write(self.line(row) + "\n")
        self._file.flush()
        self._rows += 1

    def begin_with(self, rows: Iterable[PoseRow]) -> None:
        """Hold the lines of these rows, and no others."""
        self._file.truncate(0)
        self._rows = 0
        for row in rows:
            self.add(row)

    def close(self) -> None:
        """Write the final file."""
        self._file.close()
        with atomic_path(self.path) as temporary, self.partial.open(encoding="utf-8", newline="") as lines:
            self.finish(temporary, lines)
        self.partial.unlink()

    def discard(self) -> None:
        """End without the final file, and leave no rows behind."""
        self._file.close()
        self.partial.unlink(missing_ok=True)

    def finish(self, path: Path, lines: Iterable[str]) -> None:
        """Write the file of these lines."""
        with path.open("w", encoding="utf-8", newline="") as final:
            final.write(self.head(self._rows))
            final.writelines(lines)


class PosesTable(Table):
    """The project's own ``poses.csv``."""

    @property
    def rows(self) -> list[PoseRow]:
        """The rows so far."""
        return read_rows(self.partial, self.partial.read_text(encoding="utf-8").splitlines())

    def head(self, rows: int) -> str:
        """Return the format's two lines."""
        return header_lines()

    def line(self, row: PoseRow) -> str:
        """Return the row's cells."""
        return row_line(row)


class OpenSimTable(Table):
    """A motion (.mot, degrees) or storage (.sto, radians) file of OpenSim.

    Columns time, NAME_rx, NAME_ry, NAME_rz, NAME_tx, NAME_ty, NAME_tz: rotations about the body's own x, then y, then z
    axis (R = Rx Ry Rz, OpenSim's body-fixed XYZ), translations in METRES, as OpenSim counts. Pairs without a pose have
    no row: OpenSim takes uneven times, but its older reader, which its window uses, stops at the first "nan". Where the
    clock is set back the file ends: OpenSim reads none whose times do not increase.
    """

    def __init__(self, path: str | Path, bone: str, *, resume: bool = False) -> None:
        self._bone = "_".join(bone.split())
        self._degrees = Path(path).suffix.lower() == ".mot"
        super().__init__(path, resume=resume)
        lines = self.partial.read_text(encoding="utf-8").splitlines()
        self._last_s = float(lines[-1].split("\t")[0]) if lines else float("-inf")

    def head(self, rows: int) -> str:
        """Return OpenSim's header, which ends with the names of the columns."""
        columns = ["time", *(f"{self._bone}_{kind}{axis}" for kind in "rt" for axis in "xyz")]
        fields = (
            self.path.stem,
            "version=1",
            f"nRows={rows}",
            f"nColumns={len(columns)}",
            f"inDegrees={'yes' if self._degrees else 'no'}",
            "endheader",
        )
        return "\n".join(fields) + "\n" + "\t".join(columns) + "\n"

    def add(self, row: PoseRow) -> None:
        """Add a line where there is a pose; raises InputError where its time is unknown or not after the last's."""
        if np.isnan(row.time_s):
            raise InputError(f"{self.path}: expected times, found none: a trial has them from times or frame_rate_hz")
        if row.world_from_bone is None:
            return
        if row.time_s <= self._last_s:
            found = f"pair {row.frame} at {time_text(row.time_s)} s"
            raise InputError(f"{self.path}: expected a time after {time_text(self._last_s)} s, found {found}")
        super().add(row)
        self._last_s = row.time_s

    def begin_with(self, rows: Iterable[PoseRow]) -> None:
        """Hold the lines of these rows, and no others."""
        self._last_s = float("-inf")
        super().begin_with(rows)

    def line(self, row: PoseRow) -> str:
        """Return time, angles and metres."""
        assert row.world_from_bone is not None  # see write
        angles_deg, shift_m = row.world_from_bone.euler_zyx_deg, row.world_from_bone.translation_mm / 1e3
        angles = angles_deg if self._degrees else np.radians(angles_deg)
        return "\t".join([time_text(row.time_s), *(_number(value) for value in (*angles, *shift_m))])


class AutoscoperTable(Table):
    """A tracking file (.tra) of Autoscoper: per frame the matrix world_from_bone, row by row, comma-separated, mm.

    That is Autoscoper's "matrix, row, comma, mm"; it takes line k for frame k of the trial, so there are sixteen NaN
    where there is no pose, and for every pair that was left out, dropped or never came.

    Parameters
    ----------
    path
        The file.
    numbers
        The numbers of the trial's pairs, in order. Without them, as frames come from a camera, lines are counted from
        the first pair that was tracked.
    """

    _next: int | None = None  # number of the pair whose line follows

    def __init__(self, path: str | Path, numbers: Sequence[int] = ()) -> None:
        self._places = _places(numbers)
        super().__init__(path)

    def add(self, row: PoseRow) -> None:
        """Add a line, after those of the pairs that did not come.

        Raises InputError where these are too many, or the pair is none of the trial's.
        """
        left_out = 0 if self._next is None else row.frame - self._next
        if self._places:
            left_out = _place(self.path, self._places, row.frame) - self._rows
        elif left_out > _MOST_MISSING:
            raise InputError(f"{self.path}: expected a pair {self._next} or some later one, found {row.frame}")
        for _ in range(left_out):
            super().add(PoseRow.failed(row.frame, _NAN, "did not come"))
        super().add(row)
        self._next = row.frame + 1

    def head(self, rows: int) -> str:
        """Return nothing: the file begins with its first frame."""
        return ""

    def line(self, row: PoseRow) -> str:
        """Return sixteen numbers."""
        return ",".join(f"{value:.16f}" if np.isfinite(value) else "NaN" for value in _matrix(row.world_from_bone))


class XmalabTable(Table):
    """Rigid body transformations (CSV) as XMALab exports them, with its header and frame column.

    Columns Frame, then the matrix world_from_bone COLUMN by column, as Maya takes it: NAME_R11 ... NAME_1. NaN where
    there is no pose.

    Parameters
    ----------
    path, resume
        As of every table.
    bone
        What the columns are called after.
    numbers
        The numbers of the trial's pairs, in order: XMALab calls the first frame 1 whatever number its file ends in.
        Without them, as frames come from a camera, the pair numbered 0 is frame 1.
    """

    def __init__(self, path: str | Path, bone: str, numbers: Sequence[int] = (), *, resume: bool = False) -> None:
        self._bone, self._places = "_".join(bone.split()), _places(numbers)
        super().__init__(path, resume=resume)

    def head(self, rows: int) -> str:
        """Return the names of the columns."""
        turns = [f"R{i}1 R{i}2 R{i}3 0{i}" for i in (1, 2, 3)]
        names = " ".join([*turns, "TX TY TZ 1"]).split()
        return ",".join(["Frame", *(f"{self._bone}_{name}" for name in names)]) + "\n"

    def line(self, row: PoseRow) -> str:
        """Return the frame's number and sixteen values; raises InputError where the pair is none of the trial's."""
        place = _place(self.path, self._places, row.frame) if self._places else row.frame
        values = _matrix(row.world_from_bone).reshape(4, 4).T.ravel()
        return ",".join([str(place + 1), *(_number(value) if np.isfinite(value) else "NaN" for value in values)])


def earlier_rows(path: Path, head: Callable[[int], str]) -> list[str]:
    """Return the rows of an earlier run; one that was killed may have left its last row unfinished."""
    if partial_of(path).exists():
        rows = partial_of(path).read_text(encoding="utf-8").splitlines(keepends=True)
        return rows[:-1] if rows and not rows[-1].endswith("\n") else rows
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8-sig")  # an editor may have put a mark before it, and left the last end out
    lines = (text + "\n" * (text != "" and not text.endswith("\n"))).splitlines(keepends=True)
    count = head(0).count("\n")
    if "".join(lines[:count]) != head(len(lines) - count):
        raise FileFormatError(f"{path}: cannot be continued: it has another head than this run would write")
    return lines[count:]


def last_frame(path: str | Path) -> int | None:
    """Return the number of the last pair that an earlier run wrote to a poses.csv; None where there is none."""
    rows = earlier_rows(Path(path), lambda _: header_lines())
    return int(rows[-1].split(",", 1)[0]) if rows else None


def partial_of(path: Path) -> Path:
    """Return where a table keeps its rows until it is complete."""
    return path.with_name(f".partial.{path.name}")


def _places(numbers: Sequence[int]) -> dict[int, int]:
    return {number: place for place, number in enumerate(numbers)}


def _place(path: Path, places: Mapping[int, int], number: int) -> int:
    """Return where the pair of a number stands in the trial."""
    if number not in places:
        raise InputError(f"{path}: expected pairs of the trial, {min(places)} to {max(places)}, found {number}")
    return places[number]


def _matrix(pose: Pose | None) -> NDArray[np.float64]:
    """Return sixteen numbers, row by row; NaN without a pose."""
    return np.full(16, _NAN) if pose is None else pose.matrix.ravel()


def _number(value: float) -> str:
    return format(value, ".12g")
