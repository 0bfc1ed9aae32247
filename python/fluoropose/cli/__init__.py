"""The command line: ``fluoropose --help``."""

from fluoropose.cli.app import app

__all__ = ["app"]
