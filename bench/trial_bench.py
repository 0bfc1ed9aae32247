"""What the benchmarks of whole trials share: arguments, training, registering and the table of results."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from fluoropose._files import write_text
from fluoropose.geometry import Pose
from fluoropose.learning.config import DatasetConfig, load_config
from fluoropose.registration.register import TrialResult, register_trial
from fluoropose.registration.summary import Statistics, Summary
from fluoropose.registration.trial import Trial
from fluoropose.report.compare import compare_poses, record_comparison

console = Console()


@dataclass(frozen=True)
class Arguments:
    """The command line of a benchmark."""

    data: Path
    out: Path
    frames: str | None
    bundle: Path | None
    quick: bool
    small: bool
    styles: bool
    work: Path

    @classmethod
    def parse(cls, what: str) -> Arguments:
        """Read the command line."""
        parser = argparse.ArgumentParser(description=what)
        parser.add_argument("--data", type=Path, required=True, help="holds knee_biplane, lab_head and head_ct")
        parser.add_argument("--out", type=Path, required=True, help="JSON file to write; a .md table goes beside it")
        parser.add_argument("--frames", help="A:B, only these pairs of each trial")
        parser.add_argument("--bundle", type=Path, help="use this network instead of training one")
        parser.add_argument("--quick", action="store_true", help="ten pairs; a short training on few samples")
        parser.add_argument(
            "--small", action="store_true", help="for comparisons of networks: less to learn, for two cores"
        )
        parser.add_argument("--styles", action="store_true", help="real_knee.py: train and compare styles as well")
        parser.add_argument("--work", type=Path, default=Path("out"), help="folder for bones, rigs, sets and reports")
        found = parser.parse_args()
        frames = found.frames or ("0:10" if found.quick else None)
        return cls(found.data, found.out, frames, found.bundle, found.quick, found.small, found.styles, found.work)

    @property
    def ending(self) -> str:
        """What names of files end with that a smaller run makes, so that no other run takes them for its own."""
        return "_quick" if self.quick else "_small" if self.small else ""


def placed_files(dataset: DatasetConfig, folder: Path) -> dict[str, Any]:
    """Return what of a set's configuration names files, with all of them in ``folder``."""
    moving = tuple(m if m.bone is None else m.model_copy(update={"bone": folder / m.bone.name}) for m in dataset.moving)
    return {"bone": folder / dataset.bone.name, "rig": folder / dataset.rig.name, "moving": moving}


def trained(arguments: Arguments, config_path: Path, folder: Path) -> Path:
    """Return the bundle: the given one, or one trained as ``config_path`` says on the bones and the rig of a folder."""
    if arguments.bundle is not None:
        return arguments.bundle
    from fluoropose.learning.dataset import make_dataset
    from fluoropose.learning.training.landmarks import train_landmarks

    config = load_config(config_path)
    changes = placed_files(config.dataset, folder)
    name = f"landmarks{arguments.ending}"
    if arguments.quick:
        changes |= {"count": 400, "test_count": 40}
        config = config.model_copy(update={"training": config.training.model_copy(update={"epochs": 4})})
    config = config.model_copy(update={"dataset": config.dataset.model_copy(update=changes)})
    samples, bundle = folder / f"{name}.h5", folder / f"{name}.fpbundle"
    if not samples.exists():
        make_dataset(config, samples)
    return train_landmarks(samples, bundle, config)


def registered(
    trial: Trial,
    arguments: Arguments,
    reference: Path,
    world_from_reference: Pose | None = None,
    *,
    source_frame: bool = True,
) -> Summary:
    """Register a trial from scratch and compare it with its reference, which only this comparison reads.

    The reference is as for ``compare_poses``.
    """
    from_scratch(trial, arguments)
    found = compare_poses(trial, reference, source_frame=source_frame, world_from_reference=world_from_reference)
    return record_comparison(trial, found)


def from_scratch(trial: Trial, arguments: Arguments) -> TrialResult:
    """Register a trial without what an earlier run left."""
    for name in ("poses.csv", "run.json"):
        (trial.out / name).unlink(missing_ok=True)
    with Progress(console=console) as bar:
        task = bar.add_task(f"registering {trial.out.name}", total=None)
        return register_trial(
            trial, arguments.frames, lambda done, total, _: bar.update(task, completed=done, total=total)
        )


def write_results(
    out: Path, title: str, summaries: Mapping[str, Summary], notes: Mapping[str, Any], **more: Any
) -> None:
    """Write the first summary with its notes and more, and the others under "trials", as JSON; and all as a table."""
    first = next(iter(summaries.values()))
    document: dict[str, Any] = first.model_dump() | dict(notes) | more
    if len(summaries) > 1:
        document["trials"] = {name: one.model_dump(exclude={"environment"}) for name, one in summaries.items()}
    write_text(out, json.dumps(document, indent=1) + "\n")
    text = _table(title, summaries) + _notes(notes)
    write_text(out.with_suffix(".md"), text)
    console.print(text, markup=False, highlight=False, soft_wrap=True)
    console.print(f"written: {out} and {out.with_suffix('.md')}")


def _table(title: str, summaries: Mapping[str, Summary]) -> str:
    environment = next(iter(summaries.values())).environment
    lines = [
        f"# {title}",
        "",
        f"{environment.date[:10]}, {environment.cpu}, commit {environment.commit}.",
        "Mean ± sd (median; 95th percentile; largest) over the pairs with a pose.",
        "",
        "| | " + " | ".join(summaries) + " |",
        "|---|" + "---|" * len(summaries),
    ]
    rows: dict[str, list[str]] = {"pairs": [str(s.pairs) for s in summaries.values()]}
    rows["failed"] = [str(s.failed) for s in summaries.values()]
    for field, name in {
        "rotation_error_deg": "rotation error (Eq. 3), degrees",
        "translation_error_mm": "translation error (Eq. 3), mm",
        "geodesic_error_deg": "geodesic angle, degrees",
        "translation_norm_mm": "translation norm, mm",
        "mtre_mm": "mTRE, mm",
        "iou": "overlap (IoU)",
    }.items():
        rows[name] = [_statistics(getattr(summary, field)) for summary in summaries.values()]
    rates = [s.success_rate for s in summaries.values()]
    rows["success rate"] = [
        "" if rate is None else f"{rate.value:.1%} within {rate.deg:g}° and {rate.mm:g} mm" for rate in rates
    ]
    per_pair = [s.seconds_per_pair for s in summaries.values()]
    rows["seconds per pair"] = ["" if seconds is None else f"{seconds:.3f}" for seconds in per_pair]
    return "\n".join([*lines, *(f"| {name} | {' | '.join(cells)} |" for name, cells in rows.items())]) + "\n"


def _statistics(s: Statistics | None) -> str:
    return "" if s is None else f"{s.mean:.2f} ± {s.sd:.2f} ({s.median:.2f}; {s.p95:.2f}; {s.max:.2f})"


def _notes(notes: Mapping[str, Any]) -> str:
    lines = ["", "| | |", "|---|---|"]
    for group, values in notes.items():
        lines += [f"| {group}: {name.replace('_', ' ')} | {_short(value)} |" for name, value in values.items()]
    return "\n".join(lines) + "\n" if notes else ""


def _short(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_short(one) for one in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)
