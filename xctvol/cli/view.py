"""xctvol view."""

import os
import sys
import threading
import webbrowser
from typing import TYPE_CHECKING, Annotated

import typer

from xctvol.cli import options
from xctvol.cli.run import show

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xctvol.labels import Labels


def view(
    scan: Annotated[str, typer.Argument(help="Volume to look at.", metavar="SCAN.zarr")],
    labels: Annotated[
        list[str] | None,
        typer.Option(help="Labels to show over it; by default all that it has."),
    ] = None,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to serve on; 0 is any that is free.")
    ] = 0,
    browser: Annotated[
        bool,
        typer.Option(
            "--browser/--no-browser", help="Open the page in a browser, where there is a screen."
        ),
    ] = True,
    json: options.Json = False,
) -> None:
    """Look at a volume and its labels in the browser, until Ctrl-C."""
    from xctvol.stages.view import view as stage
    from xctvol.volume import open_volume

    viewing = stage(open_volume(scan), _labels(scan, labels), port=port)
    try:
        show({"view": viewing.address}, as_json=json)
        sys.stdout.flush()
        print("it is served to this machine until Ctrl-C", file=sys.stderr)
        if browser and _has_screen():
            webbrowser.open(viewing.address)
        threading.Event().wait()
    except KeyboardInterrupt:  # how it is meant to end
        pass
    finally:
        viewing.close()


def _has_screen() -> bool:
    """Whether a browser has somewhere to open a window; else one for terminals would take this."""
    screens = ("DISPLAY", "WAYLAND_DISPLAY")
    return not sys.platform.startswith("linux") or any(os.environ.get(name) for name in screens)


def _labels(scan: str, names: "Sequence[str] | None") -> "list[Labels]":
    """Those that are named, or all; or the volume itself, where it is one of labels.

    Volumes of regions' numbers are labels without materials.
    """
    from xctvol.labels import Labels, open_labels
    from xctvol.locations import located
    from xctvol.materials import Materials
    from xctvol.volume import label_names, open_volume, read_attributes

    found = names or label_names(located(scan))
    own = read_attributes(located(scan))[0].get("image-label")
    if found or own is None:
        return [open_labels(scan, name) for name in found]
    return [open_labels(scan) if own else Labels(open_volume(scan), Materials(()), None)]
