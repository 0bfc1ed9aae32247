"""Pages that hold all that they show: the trial's report, and sections of pictures and tables."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import jinja2
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from fluoropose import __version__
from fluoropose._files import write_text

__all__ = ["Picture", "Section", "new_figure", "page_template", "write_page"]


@dataclass(frozen=True, eq=False)
class Picture:
    """A drawing, and what it shows."""

    caption: str
    figure: Figure

    @property
    def uri(self) -> str:
        """The drawing as a PNG in a data URI."""
        stored = io.BytesIO()
        self.figure.savefig(stored, format="png", metadata={"Software": "fluoropose"})
        return "data:image/png;base64," + base64.b64encode(stored.getvalue()).decode("ascii")


@dataclass(frozen=True, eq=False)
class Section:
    """Part of a page.

    Attributes
    ----------
    heading, lead
        Its title, and the sentences below it.
    pictures
        Its drawings, in order.
    table
        Rows of cells, the first row their headings; empty: no table.
    """

    heading: str
    lead: str
    pictures: Sequence[Picture] = ()
    table: Sequence[Sequence[str]] = field(default_factory=tuple)


def new_figure(width: float, height: float) -> Figure:
    """Return an empty drawing, inches of 100 pixels, that needs no display."""
    figure = Figure(figsize=(width, height), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def page_template(name: str) -> jinja2.Template:
    """Return a template of this folder."""
    loader = jinja2.PackageLoader("fluoropose.report", ".")
    return jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined).get_template(name)


def write_page(path: str | Path, title: str, subtitle: str, sections: Sequence[Section]) -> None:
    """Write sections as one HTML file, atomically."""
    page = page_template("page.html")
    write_text(path, page.render(title=title, subtitle=subtitle, sections=sections, version=__version__))
