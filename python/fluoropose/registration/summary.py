"""``summary.json``: the same fields for every run of the project (demo, register, evaluate, bench)."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from fluoropose import __version__
from fluoropose._files import write_text
from fluoropose.errors import FileFormatError, InputError, first_line
from fluoropose.evaluation import PoseErrors

__all__ = ["Environment", "Statistics", "SuccessRate", "Summary", "summarise"]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Statistics(_Model):
    """Statistics over the pairs that have a value; ``sd`` is the sample standard deviation (0 for one pair)."""

    mean: float
    sd: float
    median: float
    p95: float
    max: float

    @classmethod
    def of(cls, values: NDArray[np.float64] | None) -> Statistics | None:
        """Summarise values (n,), NaN left out; None when nothing is left."""
        kept = np.empty(0) if values is None else values[~np.isnan(values)]
        if kept.size == 0:
            return None
        return cls(
            mean=float(kept.mean()),
            sd=float(kept.std(ddof=1)) if kept.size > 1 else 0.0,
            median=float(np.median(kept)),
            p95=float(np.percentile(kept, 95)),
            max=float(kept.max()),
        )

    @property
    def cells(self) -> tuple[str, ...]:
        """Mean, sd, median, 95th percentile and largest value, for a table."""
        return tuple(f"{value:.3f}" for value in (self.mean, self.sd, self.median, self.p95, self.max))


class SuccessRate(_Model):
    """Share of ALL pairs within both limits (geodesic angle and translation norm); a failed pair is a failure."""

    value: float
    deg: float
    mm: float


class Environment(_Model):
    """Where and with what the numbers were made; None where it cannot be known."""

    machine: str
    cpu: str
    python: str
    torch: str | None
    fluoropose: str
    commit: str | None
    date: str

    @classmethod
    def here(cls) -> Environment:
        """Describe this machine and this installation, now."""
        try:
            torch = version("torch")
        except PackageNotFoundError:
            torch = None
        return cls(
            machine=f"{platform.system()} {platform.machine()}{_memory()}",
            cpu=f"{_cpu_model()}, {os.cpu_count()} cores",
            python=platform.python_version(),
            torch=torch,
            fluoropose=__version__,
            commit=_commit(),
            date=datetime.now(UTC).isoformat(timespec="seconds"),
        )


class Summary(_Model):
    """The fields of ``summary.json``. The errors are None when there is no reference, ``iou`` when it was not measured.

    ``rotation_error_deg`` and ``translation_error_mm`` are the infinity norms of Zhou et al. 2021, Eq. 3. Error
    statistics are over the pairs that have a pose; ``failed`` says how many have none.
    """

    pairs: int
    failed: int
    rotation_error_deg: Statistics | None
    translation_error_mm: Statistics | None
    geodesic_error_deg: Statistics | None
    translation_norm_mm: Statistics | None
    mtre_mm: Statistics | None
    iou: Statistics | None
    success_rate: SuccessRate | None
    seconds: float | None
    seconds_per_pair: float | None
    environment: Environment

    @property
    def named(self) -> dict[str, Statistics]:
        """The statistics that are there, by what they are called wherever they are shown."""
        every = {
            "rotation error (Eq. 3), degrees": self.rotation_error_deg,
            "translation error (Eq. 3), mm": self.translation_error_mm,
            "geodesic angle, degrees": self.geodesic_error_deg,
            "distance of the origin, mm": self.translation_norm_mm,
            "mean target registration error, mm": self.mtre_mm,
            "overlap of the shadows (IoU)": self.iou,
        }
        return {name: one for name, one in every.items() if one is not None}

    def write(self, path: str | Path) -> None:
        """Write as JSON, atomically."""
        write_text(path, self.model_dump_json(indent=1) + "\n")

    @classmethod
    def read(cls, path: str | Path) -> Summary:
        """Read what ``write`` wrote; raises FileFormatError naming the file and the field."""
        try:
            return cls.model_validate_json(Path(path).read_bytes())
        except OSError as error:
            expected = "a summary, which fluoropose register writes"
            raise FileFormatError(f"{path}: expected {expected}: {first_line(error)}") from error
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"])) or "document"
            raise FileFormatError(f"{path}: {field}: {first['msg']}") from error


def summarise(
    pairs: int,
    failed: int,
    *,
    errors: PoseErrors | None = None,
    iou: ArrayLike | None = None,
    seconds: float | None = None,
    success_deg: float = 5.0,
    success_mm: float = 5.0,
) -> Summary:
    """Build the summary of a run.

    Parameters
    ----------
    pairs, failed
        Number of frame pairs, and of those without a pose.
    errors
        Errors against the reference, one per pair (NaN where failed); None when there is no reference.
    iou
        (k,) overlaps of projected and imaged bone; None when not measured.
    seconds
        Wall time of the whole run; None when not measured.
    success_deg, success_mm
        Limits of the success rate.
    """
    if not 0 <= failed <= pairs:
        raise InputError(f"failed: expected 0 to {pairs} (the number of pairs), found {failed}")
    if errors is not None and (len(errors.failed), int(errors.failed.sum())) != (pairs, failed):
        raise InputError(
            f"errors: expected {pairs} pairs of which {failed} failed, "
            f"found {len(errors.failed)} of which {int(errors.failed.sum())} failed"
        )
    rate = None
    if errors is not None and pairs:
        rate = SuccessRate(value=errors.success_rate(success_deg, success_mm), deg=success_deg, mm=success_mm)
    return Summary(
        pairs=pairs,
        failed=failed,
        rotation_error_deg=Statistics.of(errors.rotation_error_deg if errors else None),
        translation_error_mm=Statistics.of(errors.translation_error_mm if errors else None),
        geodesic_error_deg=Statistics.of(errors.geodesic_error_deg if errors else None),
        translation_norm_mm=Statistics.of(errors.translation_norm_mm if errors else None),
        mtre_mm=Statistics.of(errors.mtre_mm if errors else None),
        iou=Statistics.of(None if iou is None else np.asarray(iou, dtype=np.float64)),
        success_rate=rate,
        seconds=seconds,
        seconds_per_pair=seconds / pairs if seconds is not None and pairs else None,
        environment=Environment.here(),
    )


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _memory() -> str:
    try:
        return f", {os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"
    except (AttributeError, ValueError, OSError):
        return ""


def _commit() -> str | None:
    """Return the commit of the source tree this package runs from; None for an installed package."""
    here = Path(__file__).resolve()
    git = ["git", "-C", str(here.parent)]
    describe = [*git, "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        # An installed copy may lie inside some other project's tree (its .venv): that commit would not be ours.
        subprocess.run([*git, "ls-files", "--error-unmatch", here.name], capture_output=True, check=True)
        return subprocess.run(describe, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
