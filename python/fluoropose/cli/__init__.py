"""The command line: ``fluoropose --help``."""

# In the order in which the help shows them.
from fluoropose.cli import machine, prepare, train, trials, report, live  # noqa: I001
from fluoropose.cli.app import app

__all__ = ["app", "live", "machine", "prepare", "report", "train", "trials"]
