"""A trial: synchronised frames of one rig, the bone in them, and where the results go."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from fluoropose._toml import Config, ConfigPath, OutputPath, read_toml
from fluoropose.errors import FileFormatError, first_line
from fluoropose.io.frames import FrameSource, open_frames
from fluoropose.io.stored_frame import Polarity
from fluoropose.registration.pairing import frame_numbers, paired, trailing_number

__all__ = ["Checks", "Segmentation", "Trial", "TrialFrames", "load_trial", "read_times"]

Segmentation = Literal["none", "predicted", "given"]


class Checks(Config):
    """What a registration must satisfy; one that does not becomes a failed row with the reason.

    Attributes
    ----------
    min_landmarks
        Landmarks used in every view.
    max_residual_mm
        Root mean square distance between predicted and projected landmarks, brought back to the bone's depth, mm.
        Beyond it, where the trial is refined, a pose must first prove itself: it stands if refinement finds the frames
        like it.
    min_share_in_field
        Share of the landmarks that must project into the field of every view.
    min_likeness
        Gradient correlation of the bone's radiographs at the refined pose with the frames, in every view. Right poses
        have 0.65 to 0.9 in simulated and real frames; other bones, metal and low contrast bring it down.
    min_peak_fit
        Where it is less in a view: how well the likeness must fall off round the pose, in every view, as that of the
        bone's own radiograph does, 1 at most. In the sets of ``refinement.evidence`` right poses have 0.81 and more, of
        a neck that a jaw covers too, and wrong ones 0.78 at most.
    """

    min_landmarks: int = Field(default=6, ge=3)
    max_residual_mm: PositiveFloat = 8.0
    min_share_in_field: float = Field(default=0.2, ge=0, le=1)
    min_likeness: float = Field(default=0.5, ge=-1, le=1)
    min_peak_fit: float = Field(default=0.8, le=1)


class Trial(Config):
    """What ``fluoropose register`` needs to know; read from a TOML file, paths relative to that file.

    Attributes
    ----------
    rig, bone, bundle
        Files made by ``fluoropose calibrate``, ``fluoropose bone`` and ``fluoropose train landmarks``.
    frames
        One source of frames per view of the rig, in the rig's order: folder of PNG or TIFF, multi-page TIFF,
        multi-frame DICOM, video.
    out
        Folder for poses.csv, summary.json and report.html.
    times, frame_rate_hz
        A CSV file with the columns frame, time_s; or the rate of equidistant frames. At most one; by default what the
        frames' files say (DICOM), else the times are unknown.
    polarity
        "bright_air" (unattenuated beam is bright) or "bright_bone".
    bit_depth
        Bits that carry signal where the files cannot tell (12 bits in 16-bit files); by default the file's.
    start_poses
        A poses file; its frames are searched round the given pose only, not in the whole field.
    manual_poses
        A poses file; its poses are kept as they are, marked as manual.
    checks
        Limits beyond which a registration is called failed.
    segmentation
        "none": the landmark network sees all of the frames; "predicted": the bone alone, as the bundle's segmentation
        network finds it; "given": as ``masks`` say. Landmarks off the bone then count as invisible.
    masks
        With "given", one source of masks per view: images as large as the frames, zero where the bone is not, with the
        frames' names or numbers. A pair without its masks fails.
    translation
        Let the bundle's translation network make radiographs of the frames before the landmark network sees them.
    refine
        Match radiographs of the bone to the frames, beginning at the landmarks' pose.
    """

    rig: ConfigPath
    bone: ConfigPath
    bundle: ConfigPath
    frames: tuple[ConfigPath, ...] = Field(min_length=1)
    out: OutputPath
    times: ConfigPath | None = None
    frame_rate_hz: PositiveFloat | None = None
    polarity: Polarity = "bright_air"
    bit_depth: PositiveInt | None = Field(default=None, le=32)
    start_poses: ConfigPath | None = None
    manual_poses: ConfigPath | None = None
    checks: Checks = Checks()
    segmentation: Segmentation = "none"
    masks: tuple[ConfigPath, ...] = ()
    translation: bool = False
    refine: bool = True

    @model_validator(mode="after")
    def _one_clock(self) -> Self:
        if self.times is not None and self.frame_rate_hz is not None:
            raise ValueError("times, frame_rate_hz: expected at most one of them")
        return self

    @model_validator(mode="after")
    def _masks_where_given(self) -> Self:
        expected = len(self.frames) if self.segmentation == "given" else 0
        if len(self.masks) != expected:
            asked = f'with segmentation = "{self.segmentation}"'
            raise ValueError(f"masks: expected {expected} sources {asked}, found {len(self.masks)}")
        return self


@dataclass(frozen=True)
class TrialFrames:
    """The opened frames of a trial: one source per view, the same number in each.

    Attributes
    ----------
    sources
        One per view.
    times_s
        Per pair, s; NaN where nothing says when it was taken.
    numbers
        Per pair the number its row will carry: the one at the end of the first view's file names where these grow
        from frame to frame ("run7_0138.tif" is 138), else the position, 0 first.
    """

    sources: tuple[FrameSource, ...]
    times_s: tuple[float, ...]
    numbers: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.times_s)

    def name(self, index: int) -> str:
        """Return the name of pair ``index``: that of its first view's frame."""
        return self.sources[0].name(index)

    @classmethod
    def open(cls, trial: Trial) -> TrialFrames:
        """Open the frames of every view; raises FileFormatError where they are no pairs, or times do not fit."""
        sources = paired([open_frames(path, trial.bit_depth) for path in trial.frames])
        names = [sources[0].name(i) for i in range(len(sources[0]))]
        numbers = frame_numbers(names) or tuple(range(len(names)))
        if trial.times is not None:
            return cls(sources, read_times(trial.times, names), numbers)
        rate = trial.frame_rate_hz or _rate_hz(sources)
        return cls(sources, _times_s(numbers, rate), numbers)


def _times_s(numbers: Sequence[int], rate_hz: float) -> tuple[float, ...]:
    """Return the times of equidistant frames, of which some may be missing."""
    step = min((after - before for before, after in pairwise(numbers)), default=1)
    return tuple((number - numbers[0]) / step / rate_hz for number in numbers)


def _rate_hz(sources: Sequence[FrameSource]) -> float:
    """Return the rate that every view's files tell; NaN where one does not, or they differ."""
    rates = {source.rate_hz for source in sources}
    known = rates.pop() if len(rates) == 1 else None
    return float("nan") if known is None else known


def load_trial(path: str | Path) -> Trial:
    """Read a trial's TOML file; raises FileFormatError naming the file and every wrong or unknown field."""
    return read_toml(path, Trial)


def read_times(path: Path, names: list[str]) -> tuple[float, ...]:
    """Read the times (s) of the frames ``names`` from a CSV file with the columns frame, time_s.

    Raises
    ------
    FileFormatError
        If the file cannot be read, a column or frame is missing, or the times do not increase.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:  # spreadsheets put a mark first
            rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FileFormatError(f"{path}: cannot be read: {first_line(error)}") from error
    if not rows or not {"frame", "time_s"} <= set(rows[0]):
        raise FileFormatError(f"{path}: expected rows with the columns frame, time_s")
    try:
        time_of = {_key(row["frame"]): float(row["time_s"]) for row in rows}
    except (TypeError, ValueError) as error:
        raise FileFormatError(f"{path}: time_s: expected seconds: {error}") from error
    if frame_numbers(names) is not None:
        # A pair that lacks view 1's frame goes by another view's name, which ends in the same number.
        by_number = {trailing_number(key): time for key, time in time_of.items()}
        for name in names:
            if _key(name) not in time_of and trailing_number(name) in by_number:
                time_of[_key(name)] = by_number[trailing_number(name)]
    missing = [name for name in names if _key(name) not in time_of]
    if missing:
        raise FileFormatError(f"{path}: no time for {len(missing)} of {len(names)} frames, the first is {missing[0]}")
    times = tuple(time_of[_key(name)] for name in names)
    for name, before, after in zip(names[1:], times, times[1:], strict=False):
        if not after > before:
            raise FileFormatError(f"{path}: time_s: frame {name}: expected more than {before:g} s, found {after:g} s")
    return times


def _key(name: str) -> str:
    """Make "7" and "0007" the same frame."""
    return str(int(name)) if name.isdecimal() else name
