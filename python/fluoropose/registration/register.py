"""Registering a whole trial: every frame gets a row, and a rerun goes on where the last one stopped."""

from __future__ import annotations

import hashlib
import json
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fluoropose._files import write_text
from fluoropose._toml import require_inputs
from fluoropose.bone import Bone
from fluoropose.drr import device_beside
from fluoropose.errors import ConfigError, FileFormatError, InputError
from fluoropose.geometry import Pose
from fluoropose.io.frames import frame_range, frame_slice
from fluoropose.io.stored_frame import attenuating, why_unusable
from fluoropose.learning.bundle import Bundle, device_named
from fluoropose.refinement import Refiner
from fluoropose.registration.masks import GivenMasks
from fluoropose.registration.poses_file import PoseRow, has_note, read_poses, write_poses
from fluoropose.registration.refined import REFINED, refined_row, rescued_row
from fluoropose.registration.registrar import Registrar
from fluoropose.registration.registration import Status
from fluoropose.registration.summary import Summary, summarise
from fluoropose.registration.trial import Trial, TrialFrames
from fluoropose.rig import Rig
from fluoropose.silhouette import field_mask

__all__ = ["REFERENCE", "TrialResult", "register_trial"]

_BATCH = 8  # frame pairs per call of the network
_FORMAT = "fluoropose-run"
REFERENCE = "evaluated_against.csv"  # the reference, in the trial's world and bone frame


@dataclass(frozen=True, eq=False)
class TrialResult:
    """What a run left in the trial's ``out`` folder."""

    rows: tuple[PoseRow, ...]
    summary: Summary
    resumed: int


@dataclass(frozen=True, eq=False)
class _Inputs:
    frames: TrialFrames
    rig: Rig
    fields: tuple[NDArray[np.bool_], ...]
    registrar: Registrar
    masks: GivenMasks | None
    refiner: Refiner | None
    starts: dict[int, Pose]
    manual: dict[int, PoseRow]


def register_trial(
    trial: Trial,
    frames: str | None = None,
    progress: Callable[[int, int, int], None] | None = None,
    device: str = "cpu",
) -> TrialResult:
    """Register the frames of a trial; writes poses.csv and summary.json to ``trial.out`` as it goes.

    Rows that an earlier run of the same trial left are kept, unless an input has changed since. Poses set by hand are
    taken as they are.

    Parameters
    ----------
    trial
        What to register.
    frames
        "A:B": only these positions (A up to but without B).
    progress
        Called with (rows done, rows in all, rows failed) after every batch.
    device
        Where the networks run, see ``Bundle.load``, and poses are refined; a GPU that fails is warned of.

    Raises
    ------
    FileFormatError, InputError
        If an input is missing or does not fit the others. A frame that is damaged, blank or shows no bone is no error:
        it gets a failed row with the reason.
    """
    frame_slice(frames)  # before anything large is read
    inputs = _open(trial, device)
    chosen = frame_range(frames, len(inputs.frames))
    trial.out.mkdir(parents=True, exist_ok=True)
    poses_path, run_path = trial.out / "poses.csv", trial.out / "run.json"
    # What else is written to the same file, by hand or by a stream, does not bear this.
    note = f"registration {_fingerprint(trial, device)}"
    wanted = [inputs.frames.numbers[i] for i in chosen]
    rows, seconds = _earlier(poses_path, run_path, note, again=set(wanted))
    time_of = dict(zip(inputs.frames.numbers, inputs.frames.times_s, strict=True))
    rows = {n: replace(row, time_s=time_of.get(n, row.time_s)) for n, row in rows.items()}
    resumed = sum(n in rows for n in wanted)
    _require_copied(poses_path, inputs.manual)
    rows.update(inputs.manual)
    todo = [i for i in chosen if inputs.frames.numbers[i] not in rows]
    started = time.perf_counter()
    for batch in [todo[k : k + _BATCH] for k in range(0, len(todo), _BATCH)] or [[]]:
        for row in _register_batch(inputs, trial, batch):
            rows[row.frame] = row
        done = [rows[n] for n in sorted(rows)]
        write_poses(poses_path, done, note)
        spent = seconds + time.perf_counter() - started
        write_text(run_path, json.dumps({"format": _FORMAT, "seconds": spent}) + "\n")
        if progress is not None:
            finished = [rows[n] for n in wanted if n in rows]
            progress(len(finished), len(wanted), sum(row.status is Status.FAILED for row in finished))
    for problem in (inputs.registrar.sight.problem, "" if inputs.refiner is None else inputs.refiner.problem):
        if problem:
            warnings.warn(problem, stacklevel=2)
    kept = tuple(rows[n] for n in sorted(rows))
    failed = sum(row.status is Status.FAILED for row in kept)
    summary = summarise(len(kept), failed, seconds=seconds + time.perf_counter() - started)
    summary.write(trial.out / "summary.json")
    (trial.out / REFERENCE).unlink(missing_ok=True)  # as its errors are gone from the summary
    return TrialResult(kept, summary, resumed)


def _open(trial: Trial, device: str) -> _Inputs:
    device_named(device)
    require_inputs(trial)
    rig, bone, bundle = Rig.load(trial.rig), Bone.load(trial.bone), Bundle.load(trial.bundle, device)
    if any(rig.offsets_s):
        apart = max(map(abs, rig.offsets_s))
        warnings.warn(
            f"{trial.rig}: its tubes fire up to {1e3 * apart:g} ms apart, and pairs are registered as if at once; "
            "fluoropose stream TRIAL --every --fast takes that into account",
            stacklevel=3,
        )
    if len(trial.frames) != len(rig.fluoroscopes):
        raise ConfigError(
            f"frames: expected one source of frames for each of the {len(rig.fluoroscopes)} views of {trial.rig}, "
            f"found {len(trial.frames)}"
        )
    frames = TrialFrames.open(trial)
    _require_size(frames, rig)
    starts = {} if trial.start_poses is None else _poses_of(trial.start_poses)
    manual = {} if trial.manual_poses is None else {row.frame: row for row in _by_hand(trial.manual_poses)}
    for path, given in ((trial.start_poses, starts), (trial.manual_poses, manual)):
        unknown = sorted(set(given) - set(frames.numbers))
        if unknown:
            raise FileFormatError(f"{path}: frame {unknown[0]}: the trial has no such frame")
    time_of = dict(zip(frames.numbers, frames.times_s, strict=True))
    manual = {number: replace(row, time_s=time_of[number]) for number, row in manual.items()}
    fields = tuple(field_mask(fluoroscope) for fluoroscope in rig.fluoroscopes)
    refiner = Refiner(rig, bone, device=device_beside(device)) if trial.refine else None
    segmenter, translator = bundle.asked(trial.segmentation == "predicted", trial.translation)
    registrar = Registrar(rig, bone, bundle, trial.checks, segmenter=segmenter, translator=translator)
    masks = GivenMasks.open(trial, frames, rig) if trial.masks else None
    return _Inputs(frames, rig, fields, registrar, masks, refiner, starts, manual)


def _require_size(frames: TrialFrames, rig: Rig) -> None:
    """Refuse frames that another rig took, before anything is written; a damaged one has a row of its own later."""
    for number, (source, view) in enumerate(zip(frames.sources, rig.views, strict=True), start=1):
        try:
            height, width = source.read(0).shape
        except FileFormatError:
            continue
        if (width, height) != view.size_px:
            expected = f"{view.width} x {view.height} px, as view {number} of the rig has"
            raise ConfigError(f"frames: {source.path}: expected {expected}, found {width} x {height}")


def _poses_of(path: Path) -> dict[int, Pose]:
    return {row.frame: row.world_from_bone for row in read_poses(path) if row.world_from_bone is not None}


def _by_hand(path: Path) -> Iterator[PoseRow]:
    for row in read_poses(path):
        # A copy of an earlier run's file, corrected here and there, must say which of its rows were set by hand.
        if row.source.removesuffix(REFINED) == "network":
            raise FileFormatError(
                f'{path}: frame {row.frame}: source: expected "manual" or another word for where the pose comes from, '
                f'found "{row.source}"'
            )
        yield row


def _register_batch(inputs: _Inputs, trial: Trial, batch: list[int]) -> list[PoseRow]:
    """Return a row for every frame of the batch; damaged ones never reach the network."""
    rows: list[PoseRow] = []
    good: list[int] = []
    pairs: list[list[NDArray[np.float32]]] = []
    masks: list[list[NDArray[np.bool_]]] = []
    for i in batch:
        pair, reason = _read_pair(inputs, trial, i)
        if inputs.masks is not None and not reason:
            drawn, reason = inputs.masks.read(i)
            masks += [] if reason else [drawn]
        if reason:
            rows.append(PoseRow.failed(inputs.frames.numbers[i], inputs.frames.times_s[i], reason))
        else:
            good.append(i)
            pairs.append(pair)
    if not good:
        return rows
    starts = [inputs.starts.get(inputs.frames.numbers[i]) for i in good]
    found = inputs.registrar.register(pairs, starts, masks or None)
    for i, pair, start, one in zip(good, pairs, starts, found, strict=True):
        source = "network" if start is None else "start"
        row = PoseRow.from_registration(inputs.frames.numbers[i], inputs.frames.times_s[i], one, source)
        if inputs.refiner is not None:
            if one.disputed is None:
                row = refined_row(row, pair, inputs.refiner, trial.checks)
            else:
                row = rescued_row(row, one.disputed, pair, inputs.refiner, trial.checks)
        rows.append(row)
    return rows


def _read_pair(inputs: _Inputs, trial: Trial, index: int) -> tuple[list[NDArray[np.float32]], str]:
    pair, reasons = [], []
    views = zip(inputs.frames.sources, inputs.rig.views, inputs.fields, strict=True)
    for k, (source, view, field) in enumerate(views, start=1):
        try:
            stored = source.read(index)
        except FileFormatError as error:
            reasons.append(f"view {k}: {error}")
            continue
        reason = why_unusable(stored, source.bits, view.size_px, field)
        if reason:
            reasons.append(f"view {k}: {reason}")
        else:
            pair.append(attenuating(stored, source.bits, trial.polarity))
    return pair, "; ".join(reasons)


def _require_copied(poses_path: Path, manual: Mapping[int, PoseRow]) -> None:
    """Refuse to write over poses that were set by hand in the very file that results go to."""
    rows: list[PoseRow] = []
    with suppress(FileFormatError):
        rows = read_poses(poses_path)
    edited = [row.frame for row in rows if row.source == "manual" and row.frame not in manual]
    if edited:
        raise InputError(
            f"{poses_path}: frame {edited[0]} was set by hand, and this file is written anew: copy it and name the "
            "copy as manual_poses in the trial, or remove it"
        )


def _earlier(poses_path: Path, run_path: Path, note: str, again: set[int]) -> tuple[dict[int, PoseRow], float]:
    """Return the rows and seconds of an earlier run with the same inputs, without the failed ones of ``again``."""
    try:
        run: Any = json.loads(run_path.read_text(encoding="utf-8"))
        if run["format"] != _FORMAT or not has_note(poses_path, note):
            return {}, 0.0
        rows = {row.frame: row for row in read_poses(poses_path)}
        own = {source + refined for source in ("network", "start") for refined in ("", REFINED)}
        # A failed pair is tried again: its frames may have been mended since.
        kept = {n: r for n, r in rows.items() if r.source in own and (r.status is Status.OK or n not in again)}
        return kept, float(run["seconds"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}, 0.0


def _fingerprint(trial: Trial, device: str) -> str:
    """Return a digest of everything that a pose depends on, except for the frames' pixels."""
    digest = hashlib.sha256()
    for path in (trial.rig, trial.bone, trial.bundle, trial.start_poses):
        digest.update(b"-" if path is None else hashlib.sha256(_bytes(path)).digest())
    # As seen from the results: the same wherever the command is called from, or the study is moved to.
    places = [os.path.relpath(one, trial.out) for one in (*trial.frames, *trial.masks)]
    paths = {"rig", "bone", "bundle", "frames", "masks", "times", "start_poses", "manual_poses", "out"}
    digest.update(f"{places} {trial.model_dump_json(exclude=paths)} {device}".encode())
    return digest.hexdigest()


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
