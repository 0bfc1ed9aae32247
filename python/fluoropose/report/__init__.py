"""Reports as pages that need no network."""

from fluoropose.report.report import write_report

__all__ = ["write_report"]
