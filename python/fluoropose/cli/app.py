"""The program ``fluoropose``: its help, its options, and how errors are shown; the commands lie beside this file.

Each is a thin call into its module, and modules are imported only when called.
"""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TextIO, TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from typer.core import TyperCommand, TyperGroup

from fluoropose import __version__
from fluoropose.errors import ConfigError, FluoroposeError, first_line

__all__ = [
    "Device",
    "TomlFile",
    "TrialFile",
    "app",
    "bench_app",
    "console",
    "errors_console",
    "report_app",
    "shown",
    "train_app",
]

_F = TypeVar("_F", bound=Callable[..., Any])

console = Console(soft_wrap=True)  # so that the name of a file is in one piece wherever it is printed
errors_console = Console(stderr=True)


def shown(name: object) -> str:
    """Return what a user has named, such as a file, for the console: brackets in it are no markup."""
    return escape(str(name))


# What the optional parts of the package import, by extra.
_EXTRAS = {
    "train": ("lightning", "monai"),
    "video": ("av",),
    "refine": ("cma", "nlopt"),
    "stream": ("pyigtl", "pylsl", "zmq"),
    "export": ("ezc3d", "pyarrow"),
    "view": ("rerun",),
    "simulate": ("spekpy", "xraydb"),
}


class _Typer(typer.Typer):
    """Makes every command one of ours."""

    def command(self, *args: Any, **options: Any) -> Callable[[_F], _F]:
        return super().command(*args, cls=_Command, **options)


class _Command(TyperCommand):
    """Says of what is wrong with a key in which file that stands, and of an option how it is written.

    Its help is wrapped to the terminal's width, not to that of the source.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        options["help"] = re.sub(r"(?<!\n)\n(?!\n)", " ", inspect.cleandoc(options["help"]))
        super().__init__(*args, **options)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except FluoroposeError as error:
            error.args = (self._named(ctx.params, error),)
            raise

    def _named(self, given: dict[str, Any], error: FluoroposeError) -> str:
        message = str(error)
        if isinstance(error, ConfigError):
            files = [path for path in given.values() if isinstance(path, Path) and path.suffix == ".toml"]
            elsewhere = "data" in given and given["data"] is None and "does not exist" in message
            hint = "; relative paths start at the file's own folder unless --data names another" if elsewhere else ""
            return f"{files[0]}: {message}{hint}" if files else message
        name, colon, rest = message.partition(":")
        options = [one.opts[0] for one in self.params if one.name == name and one.opts[0].startswith("--")]
        return f"{options[0]}:{rest}" if colon and options else message


class _OneLineErrors(TyperGroup):
    """Shows what is wrong with an input as one red line and exit code 2; --debug shows where it was found.

    Warnings are one yellow line each.
    """

    def invoke(self, ctx: Any) -> Any:
        try:
            with warnings.catch_warnings():
                warnings.showwarning = _show_warning
                return super().invoke(ctx)
        except (FluoroposeError, OSError, ModuleNotFoundError) as error:
            if ctx.params.get("debug"):
                raise
            message = " ".join(_said(error).split()) + _extra(error)
            errors_console.print("error: ", style="bold red", end="")
            errors_console.print(message, style="red", markup=False, highlight=False, soft_wrap=True)
            raise typer.Exit(2) from None


def _said(error: Exception) -> str:
    """Return an error's message; of the system's errors file and reason."""
    named = isinstance(error, OSError) and error.filename is not None
    return f"{error.filename}: {first_line(error)}" if named else str(error)  # type: ignore[attr-defined]


def _extra(error: Exception) -> str:
    """Return which extra of the package brings a module that is missing."""
    name = error.name if isinstance(error, ModuleNotFoundError) else None
    extras = [extra for extra, modules in _EXTRAS.items() if name is not None and name.split(".")[0] in modules]
    return f"; it comes with the extra {extras[0]!r}: pip install 'fluoropose[{extras[0]}]'" if extras else ""


class _TrialByDefault(TyperGroup):
    """Takes the name of a file for that of a trial: "report walking.toml" is "report trial walking.toml"."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        named = args[0] in self.commands
        return super().resolve_command(ctx, args if named else ["trial", *args])


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Stand in for ``warnings.showwarning``."""
    errors_console.print("warning: ", style="bold yellow", end="")
    errors_console.print(" ".join(str(message).split()), style="yellow", markup=False, highlight=False, soft_wrap=True)


app = _Typer(
    cls=_OneLineErrors,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help=r"""Find where a bone is, in six degrees of freedom, in every frame pair of two X-ray fluoroscopes.

[bold]The way from images to poses[/bold]

  1  [cyan]fluoropose calibrate[/cyan] calibration.toml --out rig.json
     from images of a bead plate and of an alignment tool; once per set-up

  2  [cyan]fluoropose bone[/cyan] bone.toml --out skull.h5
     from a CT or a surface model; once per bone

  3  [cyan]fluoropose dataset[/cyan] learn.toml --out set.h5
     [cyan]fluoropose train landmarks[/cyan] set.h5 --out skull.fpbundle
     a network for this bone, from artificial radiographs; once per bone

  4  [cyan]fluoropose register[/cyan] walking.toml
     frames in; poses.csv, summary.json and report.html out; once per trial

  5  [cyan]fluoropose evaluate[/cyan] walking.toml --reference poses.csv
     where reference poses exist

  6  [cyan]fluoropose export[/cyan] walking.toml walking.mot
     poses for OpenSim, Autoscoper, XMALab, C3D or Parquet

  7  [cyan]fluoropose joint[/cyan] knee.toml
     joint angles, from the poses of two bones

[cyan]fluoropose report[/cyan] draws sets, networks' results and runs side by side.

Instead of 4, while the subject walks:

     [cyan]fluoropose stream[/cyan] walking.toml --source ring:/dev/shm/frames

[bold]A trial[/bold], here walking.toml; paths are relative to the file:

  rig = "rig.json"
  bone = "skull.h5"
  bundle = "skull.fpbundle"
  frames = \["walking/view1", "walking/view2"]
  frame_rate_hz = 30
  out = "out/walking"

Frames are folders of PNG or TIFF, TIFF stacks, DICOM runs or videos.
[cyan]fluoropose template[/cyan] trial prints all keys; also of calibration, bone,
learning, style, joint, simulation.

No data at hand? [cyan]fluoropose demo[/cyan] simulates a laboratory and goes
the whole way.""",
)
train_app = _Typer(no_args_is_help=True, help="Train the networks.")
app.add_typer(train_app, name="train")
bench_app = _Typer(no_args_is_help=True, help="Measure how fast this machine is.")
app.add_typer(bench_app, name="bench")
report_app = _Typer(
    cls=_TrialByDefault,
    no_args_is_help=True,
    help="Draw pages that hold all that they show. A trial's file alone: report trial.",
)
app.add_typer(report_app, name="report")

TomlFile = Annotated[Path, typer.Argument(help="configuration file", show_default=False)]
TrialFile = Annotated[Path, typer.Argument(help="the trial's TOML file", show_default=False)]
Device = Annotated[
    str,
    typer.Option(
        help="where networks and refinement run: cpu, cuda or cuda:N; the cpu goes on where a GPU fails on the way"
    ),
]


def _version(asked: bool) -> None:
    if asked:
        console.print(__version__, highlight=False)
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error comes from.")] = False,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")] = False,
) -> None:
    pass
