"""Commands for what comes before a trial: configurations, rigs, bones, simulated trials."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fluoropose.cli.app import TomlFile, app, console, shown
from fluoropose.errors import InputError

if TYPE_CHECKING:
    from fluoropose._toml import Config


@app.command()
def template(
    kind: Annotated[
        str,
        typer.Argument(
            help="calibration, bone, learning, style, trial, joint or simulation", metavar="KIND", show_default=False
        ),
    ],
) -> None:
    """Print a configuration file with every key, its default and its meaning; redirect it to a file to begin one."""
    from fluoropose._template import toml_template
    from fluoropose.bone_model.build import BoneConfig
    from fluoropose.calibration.config import CalibrationConfig
    from fluoropose.learning.config import LearningConfig
    from fluoropose.learning.translation.config import TranslationConfig
    from fluoropose.registration.joint_trial import JointConfig
    from fluoropose.registration.trial import Trial
    from fluoropose.simulate.trial.config import SimulationConfig

    models: dict[str, type[Config]] = {
        "calibration": CalibrationConfig,
        "bone": BoneConfig,
        "learning": LearningConfig,
        "style": TranslationConfig,
        "trial": Trial,
        "joint": JointConfig,
        "simulation": SimulationConfig,
    }
    if kind not in models:
        raise InputError(f"KIND: expected one of {', '.join(models)}, found {kind!r}")
    typer.echo(toml_template(models[kind]), nl=False)


@app.command()
def calibrate(
    config: TomlFile,
    out: Annotated[Path, typer.Option(help="the rig to write")] = Path("rig.json"),
) -> None:
    """Calibrate a rig from bead plates (distortion, pixel size) and an alignment tool (views and sources)."""
    from fluoropose.calibration import calibrate as run

    run(config, out)


@app.command()
def mayacam(
    files: Annotated[list[Path], typer.Argument(help="one MayaCam 2.0 file per view", show_default=False)],
    out: Annotated[Path, typer.Option(help="the rig to write")] = Path("rig.json"),
    unit: Annotated[str, typer.Option(help="unit of the files' translations: mm, cm or m")] = "mm",
    frames: Annotated[
        list[Path] | None, typer.Option(help="frames of a trial, once per view: shows where the round field is")
    ] = None,
) -> None:
    """Make a rig from another program's calibration (XMALab, Autoscoper), for images free of distortion."""
    from fluoropose.calibration.field import with_fields
    from fluoropose.io.frames import open_frames
    from fluoropose.io.mayacam import read_mayacam_rig

    rig = read_mayacam_rig(files, unit=unit)
    if frames:
        rig = with_fields(rig, [open_frames(path) for path in frames])
    rig.save(out)
    console.print(f"rig: [bold]{shown(out)}[/bold], {len(rig.fluoroscopes)} views")


@app.command()
def simulate(
    config: TomlFile,
    out: Annotated[Path, typer.Option(help="folder for the trials and their truth")] = Path("simulated"),
) -> None:
    """Simulate X-rays of moving bones: trials as a laboratory leaves them, and the truth. Goes on where it was stopped.

    A head whose neck bends, or two bones of a knee, before any rig. For every trial and bone a TRIAL_BONE.toml for
    fluoropose register is written, which needs a BONE.fpbundle there that fluoropose dataset and train landmarks make;
    truth/TRIAL/world_from_BONE.csv is the reference for fluoropose evaluate.
    """
    from fluoropose.simulate.trial.config import read_simulation
    from fluoropose.simulate.trial.write import write_simulation

    try:
        write_simulation(read_simulation(config), out, console)
    except KeyboardInterrupt:
        console.print(f"stopped; what was exposed is in {shown(out)}, a rerun goes on from there")
        raise typer.Exit(130) from None
    console.print(f"trials: [bold]{shown(out / 'trials')}[/bold], truth: {shown(out / 'truth')}")


@app.command()
def bone(
    config: TomlFile,
    out: Annotated[Path, typer.Option(help="the bone to write")] = Path("bone.h5"),
    data: Annotated[
        Path | None, typer.Option(help="folder where the file's relative paths start", show_default="the file's own")
    ] = None,
) -> None:
    """Build a bone from a CT or a surface: attenuation, mask, surface and landmarks in symmetric pairs.

    A picture of the surface with its landmarks, and of the cut, is written beside it: look at it.
    """
    from fluoropose.bone_model.build import build_model, read_bone_config
    from fluoropose.bone_model.picture import save_picture

    with console.status("reading") as status:
        model = build_model(read_bone_config(config, data), status.update)
        built = model.bone
        built.save(out)
        save_picture(model, out.with_suffix(".png"))
    console.print(
        f"bone: [bold]{shown(out)}[/bold], {len(built.landmarks_mm)} landmarks, "
        f"{len(built.symmetric_pairs)} symmetric pairs; picture: {shown(out.with_suffix('.png'))}"
    )
