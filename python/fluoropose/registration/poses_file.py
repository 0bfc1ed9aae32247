"""The one file format for poses over time: ``poses.csv``.

The first line names the format and its version, the second the columns. The quaternion (Hamilton, w first) and the
translation ARE the pose ``world_from_bone``; the Euler angles stand beside them for the reader's eye and are not read
back. A failed pair has a row with status ``failed`` and the reason, and empty numbers.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fluoropose._checks import finite_array
from fluoropose._files import write_text
from fluoropose.errors import FileFormatError, FluoroposeError, InputError, first_line
from fluoropose.geometry import Pose
from fluoropose.registration.registration import Registration, Status

__all__ = [
    "COLUMNS",
    "PoseRow",
    "has_note",
    "header_lines",
    "read_poses",
    "read_rows",
    "row_line",
    "time_text",
    "write_poses",
]

_PREFIX = "# fluoropose-poses version "
_HEADER = _PREFIX + "2; world_from_bone; mm, degrees, seconds; covariance (omega rad, v mm) in world axes"
_UPPER = [(i, j) for i in range(6) for j in range(i, 6)]

COLUMNS = (
    *("frame", "time_s", "status", "reason"),
    *("qw", "qx", "qy", "qz", "tx_mm", "ty_mm", "tz_mm"),
    *("theta_x_deg", "theta_y_deg", "theta_z_deg"),
    *("hypothesis", "cost", "n_visible", "likeness", "source"),
    *(f"cov_{i}{j}" for i, j in _UPPER),
)
_COLUMNS_OF = {"1": tuple(name for name in COLUMNS if name != "likeness"), "2": COLUMNS}  # by version


@dataclass(frozen=True, eq=False)
class PoseRow:
    """One row of ``poses.csv``: the pose of the bone in one frame pair, or why there is none.

    Attributes
    ----------
    frame
        Number of the frame pair.
    time_s
        Seconds; NaN when unknown.
    status, reason
        ``Status.FAILED`` rows have no pose and say why; a row whose pose could not be refined says why not.
    world_from_bone
        The pose, mm; None for a failed row.
    hypothesis, cost, n_visible, covariance
        As in ``Registration``; cost NaN and covariance None when unknown.
    likeness
        Of the bone's radiographs at this pose with the frames: gradient correlation, 1 where they are the same; NaN
        where they were not compared.
    source
        Where the pose comes from: "network", "manual", "start", ...; with "+refinement" where it was matched to the
        frames afterwards. The cost and the landmarks are then still those of the pose that the refinement began with.
    """

    frame: int
    time_s: float
    status: Status
    reason: str = ""
    world_from_bone: Pose | None = None
    hypothesis: str = "none"
    cost: float = float("nan")
    n_visible: int = 0
    source: str = "network"
    covariance: NDArray[np.float64] | None = None
    likeness: float = float("nan")

    def __post_init__(self) -> None:
        object.__setattr__(self, "status", Status(self.status))
        if (self.world_from_bone is not None) != (self.status is Status.OK):
            raise InputError(f"world_from_bone: frame {self.frame}: expected a pose if and only if the status is ok")
        if self.status is Status.FAILED and not self.reason:
            raise InputError(f"reason: frame {self.frame}: a failed row must say why")
        if not self.source:
            raise InputError(f"source: frame {self.frame}: expected where the pose comes from")
        if self.covariance is not None:
            object.__setattr__(self, "covariance", finite_array("covariance", self.covariance, (6, 6)))

    @classmethod
    def from_registration(
        cls, frame: int, time_s: float, registration: Registration, source: str = "network"
    ) -> PoseRow:
        """Build the row of a registration."""
        return cls(
            frame,
            time_s,
            registration.status,
            registration.reason,
            registration.world_from_bone,
            registration.hypothesis,
            registration.cost,
            registration.n_visible,
            source,
            registration.covariance,
        )

    @classmethod
    def failed(cls, frame: int, time_s: float, reason: str, source: str = "network") -> PoseRow:
        """Build the row of a pair without a pose."""
        return cls(frame, time_s, Status.FAILED, reason, source=source)


def write_poses(path: str | Path, rows: Iterable[PoseRow], note: str = "") -> None:
    """Write rows to ``path`` (CSV, atomically), in the order given, with a note at the end of the first line."""
    write_text(path, header_lines(note) + "".join(row_line(row) + "\n" for row in rows))


def header_lines(note: str = "") -> str:
    """Return the two lines that a poses file begins with."""
    return f"{'; '.join([_HEADER, note] if note else [_HEADER])}\n{','.join(COLUMNS)}\n"


def has_note(path: str | Path, note: str) -> bool:
    """Tell whether a poses file was written with a note; raises OSError where it cannot be read."""
    with Path(path).open(encoding="utf-8") as file:
        return file.readline().rstrip("\r\n,").endswith(f"; {note}")  # spreadsheets fill up short lines


def row_line(row: PoseRow) -> str:
    """Return the line of a row, without its end."""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(_cells(row))
    return text.getvalue()


def time_text(time_s: float) -> str:
    """Return a time, s, as files hold it: to 10 microseconds also where a clock counts from 1970; "" for NaN."""
    return "" if np.isnan(time_s) else format(time_s, ".15g")


def read_poses(path: str | Path) -> list[PoseRow]:
    """Read a file that ``write_poses`` wrote, or one edited by hand.

    Raises
    ------
    FileFormatError
        Naming the file, line and field, when something is missing or malformed, or a frame appears twice.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        expected = "a poses file, such as fluoropose register writes"
        raise FileFormatError(f"{path}: expected {expected}: {first_line(error)}") from error
    if not lines or not lines[0].startswith(_PREFIX):
        raise FileFormatError(f"{path}: line 1: expected '{_PREFIX}2', found {lines[0] if lines else 'nothing'!r}")
    version = lines[0][len(_PREFIX) :].split(";")[0].strip()
    if version not in _COLUMNS_OF:
        raise FileFormatError(f"{path}: line 1: expected version {' or '.join(_COLUMNS_OF)}, found {version!r}")
    columns = _COLUMNS_OF[version]
    if tuple(next(csv.reader(lines[1:]), ())) != columns:
        raise FileFormatError(f"{path}: line 2: expected the columns {','.join(columns)}")
    return read_rows(path, lines[2:], columns, first_line=3)


def read_rows(
    path: str | Path, lines: Sequence[str], columns: Sequence[str] = COLUMNS, first_line: int = 1
) -> list[PoseRow]:
    """Read the lines of rows alone, as ``row_line`` makes them; ``path`` and ``first_line`` are for messages."""
    rows: list[PoseRow] = []
    seen: set[int] = set()
    for number, cells in enumerate(csv.DictReader(lines, columns), start=first_line):
        try:
            row = _row(cells)
        except (FluoroposeError, ValueError) as error:
            raise FileFormatError(f"{path}: line {number}: {error}") from error
        if row.frame in seen:
            raise FileFormatError(f"{path}: line {number}: frame: {row.frame} appears twice")
        seen.add(row.frame)
        rows.append(row)
    return rows


def _cells(row: PoseRow) -> list[str]:
    pose, covariance = row.world_from_bone, row.covariance
    numbers: list[float] = [float("nan")] * 10
    if pose is not None:
        numbers = [*pose.quaternion, *pose.translation_mm, *pose.euler_zyx_deg]
    return [
        str(row.frame),
        time_text(row.time_s),
        row.status.value,
        " ".join(row.reason.split()),
        *map(_text, numbers),
        row.hypothesis,
        _text(row.cost),
        str(row.n_visible),
        _text(row.likeness),
        row.source,
        *(_text(float("nan") if covariance is None else covariance[i, j]) for i, j in _UPPER),
    ]


def _text(value: float) -> str:
    return "" if np.isnan(value) else format(value, ".12g")


def _row(cells: dict[str, str]) -> PoseRow:
    if None in cells or None in cells.values():
        raise FileFormatError(f"expected {len(cells) - (None in cells)} fields")
    status = Status(_one_of("status", cells["status"], [s.value for s in Status]))
    pose = None
    if status is Status.OK:
        pose = Pose.from_quaternion(
            [_number(cells, name) for name in ("qw", "qx", "qy", "qz")],
            [_number(cells, name) for name in ("tx_mm", "ty_mm", "tz_mm")],
        )
    return PoseRow(
        _whole(cells, "frame"),
        _number(cells, "time_s", optional=True),
        status,
        cells["reason"],
        pose,
        cells["hypothesis"],
        _number(cells, "cost", optional=True),
        _whole(cells, "n_visible"),
        cells["source"],
        _covariance(cells),
        _number(cells, "likeness", optional=True) if "likeness" in cells else float("nan"),
    )


def _covariance(cells: dict[str, str]) -> NDArray[np.float64] | None:
    values = [cells[f"cov_{i}{j}"] for i, j in _UPPER]
    if not any(values):
        return None
    matrix = np.empty((6, 6))
    for i, j in _UPPER:
        matrix[i, j] = matrix[j, i] = _number(cells, f"cov_{i}{j}")
    return matrix


def _number(cells: dict[str, str], name: str, optional: bool = False) -> float:
    if optional and not cells[name]:
        return float("nan")
    try:
        value = float(cells[name])
    except ValueError:
        raise FileFormatError(f"{name}: expected a number, found {cells[name]!r}") from None
    if not np.isfinite(value):
        raise FileFormatError(f"{name}: expected a finite number, found {cells[name]!r}")
    return value


def _whole(cells: dict[str, str], name: str) -> int:
    try:
        return int(cells[name])
    except ValueError:
        raise FileFormatError(f"{name}: expected a whole number, found {cells[name]!r}") from None


def _one_of(name: str, value: str, choices: list[str]) -> str:
    if value not in choices:
        raise FileFormatError(f"{name}: expected one of {', '.join(choices)}, found {value!r}")
    return value
