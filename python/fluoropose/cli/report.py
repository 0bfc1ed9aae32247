"""Commands that draw: a trial, trials side by side, an artificial set, translations, errors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fluoropose.cli.app import TrialFile, console, report_app, shown

if TYPE_CHECKING:
    from fluoropose.report.page import Section

SetFile = Annotated[Path, typer.Argument(help="the set that fluoropose dataset wrote", show_default=False)]
Page = Annotated[Path | None, typer.Option("--out", help="the page", show_default="the file's name, but .html")]


@report_app.command()
def trial(trial: TrialFile) -> None:
    """Write a registered trial's report.html again, with the reference poses it was last compared with."""
    from fluoropose.registration.evaluate import read_reference
    from fluoropose.registration.poses_file import read_poses
    from fluoropose.registration.register import REFERENCE
    from fluoropose.registration.summary import Summary
    from fluoropose.registration.trial import load_trial
    from fluoropose.report import write_report

    loaded = load_trial(trial)
    path, compared = loaded.out / "report.html", loaded.out / REFERENCE
    rows, summary = read_poses(loaded.out / "poses.csv"), Summary.read(loaded.out / "summary.json")
    write_report(path, loaded, rows, summary, read_reference(compared) if compared.exists() else None)
    console.print(f"report: [bold]{shown(path)}[/bold]")


@report_app.command()
def trials(
    trials: Annotated[list[Path], typer.Argument(help="TOML files of trials of the same frames", show_default=False)],
    frames: Annotated[str | None, typer.Option(help="A:B, only these positions (without B), as one cycle")] = None,
    out: Annotated[Path, typer.Option(help="the page")] = Path("trials.html"),
) -> None:
    """Show registered trials of the same frames side by side, at 0, 50 and 100 % of them: raw and translated, say."""
    from fluoropose.errors import InputError
    from fluoropose.registration.trial import load_trial
    from fluoropose.report.side_by_side import side_by_side_section

    loaded = {path.stem: load_trial(path) for path in trials}
    if len(loaded) < len(trials):
        raise InputError(f"trials: expected files of different names, found {', '.join(path.name for path in trials)}")
    _write(out, ", ".join(loaded), side_by_side_section(loaded, frames))


@report_app.command("set")
def of_set(
    samples: SetFile,
    bundle: Annotated[
        Path | None, typer.Option(help="show what its landmark network finds in the test samples", show_default=False)
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="style of another run than that stored in the set", show_default=False)
    ] = None,
    out: Page = None,
) -> None:
    """Show radiographs of an artificial set with masks and landmarks, and how well a network finds these."""
    from fluoropose.learning.bundle import Bundle
    from fluoropose.learning.config import load_config
    from fluoropose.learning.dataset import RadiographSet
    from fluoropose.report.predictions import prediction_section
    from fluoropose.report.radiographs import radiograph_section

    trained = None if bundle is None else Bundle.load(bundle)
    radiographs = RadiographSet.load(samples)
    run = radiographs.config if config is None else load_config(config)
    sections = [radiograph_section(samples, radiographs, run)]
    if trained is not None:
        sections.append(prediction_section(radiographs, trained, run))
    _write(out or samples.with_suffix(".html"), samples.name, *sections)


@report_app.command()
def translation(
    bundle: Annotated[Path, typer.Argument(help="with the networks of fluoropose train style", show_default=False)],
    samples: Annotated[Path, typer.Option("--set", help="radiographs", show_default=False)],
    trial: Annotated[Path, typer.Option(help="TOML file of a trial, whose frames are the X-rays", show_default=False)],
    out: Page = None,
) -> None:
    """Show X-rays as radiographs, radiographs as X-rays, and each of them back again."""
    from fluoropose.learning.bundle import Bundle
    from fluoropose.learning.dataset import RadiographSet
    from fluoropose.registration.trial import load_trial
    from fluoropose.report.translations import translation_section

    loaded, networks = load_trial(trial), Bundle.load(bundle)
    section = translation_section(RadiographSet.load(samples), networks, loaded)
    _write(out or bundle.with_suffix(".html"), bundle.name, section)


@report_app.command()
def errors(
    results: Annotated[Path, typer.Argument(help="JSON that bench/figure10.py wrote", show_default=False)],
    out: Page = None,
) -> None:
    """Draw errors by scenario and style, as in the paper's Figure 10."""
    from fluoropose.report.error_bars import error_section

    _write(out or results.with_suffix(".html"), results.name, error_section(results))


def _write(out: Path, title: str, *sections: Section) -> None:
    from fluoropose.report.page import write_page

    write_page(out, title, "; ".join(section.heading for section in sections), sections)
    console.print(f"page: [bold]{shown(out)}[/bold]")
