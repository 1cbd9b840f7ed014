"""view: a scan and its labels in the browser, at any size."""

from xctvol.stages.view.stage import Viewing, view

__all__ = ["Viewing", "view"]
