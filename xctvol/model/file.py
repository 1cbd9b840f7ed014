"""Model files: one .safetensors file with the weights, and the card in its metadata."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from xctvol import plan
from xctvol.errors import InputError, UsageError
from xctvol.files import refuse_special, sha256, staged
from xctvol.journal import Recipe
from xctvol.model.card import Card
from xctvol.model.networks import Network, build, first_mismatch, outline

__all__ = ["Model", "load_weights", "open_model", "read_card", "read_recipe", "save_model"]


_ABOUT = "xctvol"
_MAX_HEADER_BYTES = 1 << 24  # of names, shapes and the card; a ResNet has 1 << 17


@dataclass(frozen=True)
class Model:
    """A model file whose weights fit its card; `digest` is the SHA-256 of the file."""

    path: Path
    card: Card
    digest: str

    def network(self) -> Network:
        """The network with its weights, on the CPU, in evaluation mode."""
        network = build(self.card.architecture, len(self.card.materials))
        network.body.load_state_dict(load_weights(self.path))
        network.body.eval()
        return network


def open_model(path: str | Path) -> Model:
    """The model in a file, its weights checked against its card but not loaded.

    Raises InputError where the file is missing, damaged, not a model, newer than this version,
    or where its weights do not fit its architecture and materials.
    """
    path = Path(path)
    card = read_card(path)
    try:
        network = outline(card.architecture, len(card.materials))
    except UsageError as error:
        raise InputError(f"cannot use the model {path}: {error}") from error
    mismatch = first_mismatch(network.body, _shapes(path))
    if mismatch is not None:
        raise InputError(
            f"the weights in {path} do not fit its card ({card.architecture}, "
            f"{len(card.materials)} materials): {mismatch}"
        )
    return Model(path, card, sha256(path))


def load_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a model file; raises InputError where it cannot be read."""
    try:
        _refuse_absurd(path)
        return load_file(path)
    except (OSError, SafetensorError, OverflowError, RuntimeError) as error:
        raise InputError(f"cannot read the model {path}: {error}") from error


def save_model(
    path: Path, card: Card, weights: Mapping[str, Tensor], recipe: Recipe | None = None
) -> None:
    """Write a model file, whole or not at all; equal content gives equal bytes."""
    about = {"card": card.to_json(), "recipe": None if recipe is None else recipe.to_json()}
    # one entry, as the library writes several in no fixed order
    metadata = {_ABOUT: json.dumps(about, sort_keys=True, allow_nan=False)}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    with staged(path) as partial:
        partial.touch()
        usual = partial.stat().st_mode  # what is saved could be read by nobody else
        save_file(tensors, partial, metadata)
        partial.chmod(usual)


def read_card(path: Path) -> Card:
    """The card of a model file; raises InputError where there is none to read."""
    try:
        return Card.from_json(_about(path)["card"])
    except InputError as error:
        raise InputError(f"cannot read the model {path}: {error}") from error


def read_recipe(path: Path) -> Recipe | None:
    """How a model file was made, or None where it does not say."""
    recipe = _about(path)["recipe"]
    return None if recipe is None else plan.read_recipe(path, recipe)


def _about(path: Path) -> dict[str, Any]:
    with _opened(path) as file:
        text = (file.metadata() or {}).get(_ABOUT)
    try:
        about = {"card": None, "recipe": None} if text is None else json.loads(text)
        return {"card": about["card"], "recipe": about["recipe"]}
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise InputError(f"cannot read the model {path}: its card is damaged") from error


def _refuse_absurd(path: Path) -> None:
    """Raise InputError where the header, all of which is parsed, claims to be as no model's is."""
    refuse_special(path)
    with open(path, "rb") as file:
        claimed = int.from_bytes(file.read(8), "little")
    if claimed > min(_MAX_HEADER_BYTES, path.stat().st_size):
        raise InputError(
            f"{path} is not a model file, or is damaged (it claims a header of {claimed} bytes); "
            "it should be a .safetensors file written by xctvol train"
        )


def _shapes(path: Path) -> dict[str, tuple[int, ...]]:
    with _opened(path) as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - not a mapping


def _opened(path: Path) -> Any:
    try:
        _refuse_absurd(path)
        return safe_open(path, framework="numpy")
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; it should be a model (.safetensors)") from None
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"{path} is not a model file, or is damaged ({error}); it should be a .safetensors "
            "file written by xctvol train"
        ) from error
