"""Commands that make artificial sets and train networks."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from fluoropose.cli.app import TomlFile, app, console, shown, train_app

if TYPE_CHECKING:
    from fluoropose.learning.config import LearningConfig


@app.command()
def dataset(
    config: TomlFile,
    out: Annotated[Path, typer.Option(help="the set to write")] = Path("set.h5"),
    workers: Annotated[
        int, typer.Option(help="processes that render", show_default="one per processor")
    ] = os.cpu_count() or 1,
) -> None:
    """Render an artificial set of radiographs with their landmarks. Goes on where it was stopped."""
    from fluoropose.learning.config import load_config
    from fluoropose.learning.dataset import make_dataset

    make_dataset(load_config(config), out, workers)
    console.print(f"set: [bold]{shown(out)}[/bold]")


SetFile = Annotated[Path, typer.Argument(help="the set that fluoropose dataset wrote", show_default=False)]
BundleFile = Annotated[Path, typer.Option("--out", help="the bundle to add to or to begin")]
RunFile = Annotated[Path | None, typer.Option(help="other settings than those stored in the set", show_default=False)]


@train_app.command()
def landmarks(samples: SetFile, out: BundleFile = Path("landmarks.fpbundle"), config: RunFile = None) -> None:
    """Train the landmark network of one bone, which registration needs. Goes on where it was stopped."""
    from fluoropose.learning.training.landmarks import train_landmarks

    _train(train_landmarks, samples, out, config)


@train_app.command()
def segment(samples: SetFile, out: BundleFile = Path("landmarks.fpbundle"), config: RunFile = None) -> None:
    """Train a network that tells the bone from all else, for trials with segmentation = "predicted"."""
    from fluoropose.learning.training.segment import train_segment

    _train(train_segment, samples, out, config)


@train_app.command()
def style(
    config: TomlFile,
    out: BundleFile = Path("landmarks.fpbundle"),
    data: Annotated[
        Path | None, typer.Option(help="folder where relative paths of frames start", show_default="the file's own")
    ] = None,
    distil: Annotated[
        bool, typer.Option("--distil", help="teach a small network what the trained one does, for use without a GPU")
    ] = False,
) -> None:
    """Train the translation of a trial's X-rays to radiographs and back. Goes on where it was stopped.

    Pictures of both, after every epoch, and the log lie in the folder named as the bundle with ".work" appended.
    """
    from fluoropose.learning.translation.config import load_translation_config
    from fluoropose.learning.translation.distil import distil_style
    from fluoropose.learning.translation.train import train_style

    loaded = load_translation_config(config, data)
    if distil:
        distilled = distil_style(loaded, out)
        told = distilled.facts.training
        console.print(
            f"mean difference {told['test_loss']:.3f} of [-1, 1], phi {told['test_phi']:.3f}; "
            f"{distilled.ms_per_pair:.0f} ms per frame pair instead of {distilled.large_ms_per_pair:.0f}"
        )
    else:
        train_style(loaded, out)
    console.print(f"bundle: [bold]{shown(out)}[/bold]")


@train_app.command()
def uncertainty(samples: SetFile, out: BundleFile = Path("landmarks.fpbundle"), config: RunFile = None) -> None:
    """Teach a bundle's landmark network to tell how sure it is of each landmark; its positions stay as they are."""
    from fluoropose.learning.training.uncertainty import train_uncertainty

    _train(train_uncertainty, samples, out, config)


def _train(
    train: Callable[[Path, Path, LearningConfig | None], Path], samples: Path, out: Path, config: Path | None
) -> None:
    from fluoropose.learning.config import load_config

    train(samples, out, None if config is None else load_config(config))
    console.print(f"bundle: [bold]{shown(out)}[/bold]")


@app.command()
def bundle(
    file: Annotated[Path, typer.Argument(help="the bundle", show_default=False)],
    add: Annotated[
        list[Path] | None, typer.Option(help="bundle whose networks to put in, in place of those of the same names")
    ] = None,
) -> None:
    """Show what a bundle holds, or join bundles of one bone; its weights are checked."""
    from fluoropose.learning.bundle import Bundle, copy_networks

    for other in add or ():
        copy_networks(other, file)
    manifest = Bundle.load(file).manifest
    console.print(
        f"bone: [bold]{shown(manifest.bone_name)}[/bold] ({manifest.bone_fingerprint[:12]}), {manifest.views} views"
    )
    for name, facts in manifest.networks.named().items():
        weights = "" if facts.parameters is None else f", {facts.parameters:,} weights"
        place = "" if facts.trained_on is None else f", trained on {facts.trained_on}"
        table = Table(title=f"{name}: {facts.size} px{weights}{place}", title_justify="left", show_header=False)
        for key, value in facts.training.items():
            table.add_row(key.replace("_", " "), f"{value:.4g}")
        console.print(table)
