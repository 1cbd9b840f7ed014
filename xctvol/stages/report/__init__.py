"""report: a scan, its labels and their measurements on one page that needs no network."""

from xctvol.stages.report.stage import report

__all__ = ["report"]
