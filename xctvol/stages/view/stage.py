"""Showing a volume: nothing is written, so there is no plan; it lasts until it is closed."""

from collections.abc import Sequence
from dataclasses import dataclass

from xctvol.errors import InputError
from xctvol.labels import Labels
from xctvol.stages.view.scene import material_names, scene
from xctvol.stages.view.server import Server
from xctvol.volume import Volume

__all__ = ["Viewing", "view"]


@dataclass(frozen=True)
class Viewing:
    """A page that can be looked at, at `address`, until `close`."""

    server: Server

    @property
    def address(self) -> str:
        return self.server.address

    def close(self) -> None:
        self.server.close()


def view(volume: Volume, labels: Sequence[Labels] = (), *, port: int = 0) -> Viewing:
    """Serve a volume, with labels over it, to the browsers of this machine.

    A volume that is labels itself is shown as such where it is given as these, too.
    Only what is looked at is read, at the resolution of the screen. All views of a process have one
    server, so that closing one ends the others. Raises InputError for labels
    of another volume, UsageError for a port that is taken.
    """
    for found in labels:
        scan = found.volume if found.scan is None else found.scan
        if scan.path != volume.path:
            raise InputError(f"{found.volume.path} are not labels of {volume.path}")
    server = Server(volume.path, {found.name: material_names(found) for found in labels}, port)
    server.show(scene(volume, labels, server.data, server.facts))
    return Viewing(server)
