"""Weights to start from: those of a file where they fit, random ones elsewhere.

torchvision's COCO weights know 21 classes, so that the last layers, whose size is the number of
materials, start at random. Nothing is ever downloaded: fetch the file where there is a network,
carry it over, and name it.
"""

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from xctvol.errors import InputError
from xctvol.materials import Materials
from xctvol.model.checkpoint import read_checkpoint
from xctvol.model.file import load_weights, read_card
from xctvol.model.networks import Network, build, first_mismatch, outline
from xctvol.stages.train.settings import Settings

__all__ = ["Starting", "read_starting", "starting_network"]

_AUXILIARY = "aux_classifier."  # a head of torchvision's that is used in its training only


@dataclass(frozen=True)
class Starting:
    """Weights to take from a file, and names of those that start at random."""

    weights: dict[str, Tensor]
    left: tuple[str, ...]


def starting_network(settings: Settings, materials: Materials) -> Network:
    """A network with the weights that `settings` name, else with random ones of torch's seed."""
    network = build(settings.architecture, len(materials))
    if settings.weights is not None:
        starting = read_starting(settings.weights, settings.architecture, materials)
        network.body.load_state_dict(starting.weights, strict=False)
    return network


def read_starting(path: Path, architecture: str, materials: Materials) -> Starting:
    """Read .safetensors (models of this package too), or a state dict as torch saves it.

    The last layers are left out where they were trained for another number of materials, or for
    other ones as far as the file says. Raises InputError where anything else does not fit.
    """
    own = path.suffix == ".safetensors"
    read = load_weights(path) if own else read_checkpoint(path)
    found = {name: t for name, t in read.items() if not name.startswith(_AUXILIARY)}
    body = outline(architecture, len(materials)).body
    shapes = {name: tuple(tensor.shape) for name, tensor in body.state_dict().items()}
    heads = _heads(architecture, len(materials), shapes)
    others = own and _known_materials(path) not in (None, materials.names)
    left = tuple(
        name
        for name in heads
        if name in found and (others or tuple(found[name].shape) != shapes[name])
    )
    taken = {name: tensor for name, tensor in found.items() if name not in left}
    mismatch = first_mismatch(
        body,
        {**{name: tuple(t.shape) for name, t in taken.items()}, **{n: shapes[n] for n in left}},
    )
    if mismatch is not None:
        raise InputError(
            f"the weights in {path} are not of {architecture}: {mismatch}; name the architecture "
            "they are of, or start without them"
        )
    return Starting(taken, left)


def _heads(
    architecture: str, materials: int, shapes: dict[str, tuple[int, ...]]
) -> tuple[str, ...]:
    """Names of the weights whose shape is another one for another number of materials."""
    one_more = outline(architecture, materials + 1).body.state_dict()
    return tuple(name for name, t in one_more.items() if tuple(t.shape) != shapes[name])


def _known_materials(path: Path) -> tuple[str, ...] | None:
    """The materials of a model file; None for weights of another program, which have no card."""
    try:
        return read_card(path).materials.names
    except InputError:
        return None
