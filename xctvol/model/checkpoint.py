"""Checkpoints of PyTorch, read without running what they hold, for networks of torchvision."""

import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xctvol.errors import InputError
from xctvol.model.networks import build, first_mismatch, outline

__all__ = ["checked_weights", "read_checkpoint"]

_UNUSED = "aux_classifier."  # the head that torchvision adds for training
_LAST = "classifier.4.weight"  # of FCN and DeepLab: one filter a material


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """The tensors of a state dict in a .pth file, but for those of the auxiliary classifier.

    Nothing but tensors and plain values is ever unpickled. Raises InputError for any other file.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist; it should be a checkpoint (.pth) of PyTorch")
    _refuse_compressed(path)
    try:
        with warnings.catch_warnings(action="ignore"):  # of what is refused below anyway
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # noqa: BLE001 - hostile or damaged files raise anything at all
        raise InputError(
            f"{path} is damaged, or not a state dict of PyTorch that can be read without running "
            "its code, so nothing of it was used; save one with "
            "torch.save(model.state_dict(), ...)"
        ) from None
    if not isinstance(state, Mapping) or not state or not all(map(_is_weight, state.items())):
        raise InputError(
            f"{path} holds {type(state).__name__} that is not a state dict of dense tensors; "
            "write one with torch.save(model.state_dict(), ...)"
        )
    return {name: tensor for name, tensor in state.items() if not name.startswith(_UNUSED)}


def _refuse_compressed(path: Path) -> None:
    """Raise InputError for an archive that grows when it is read: PyTorch compresses nothing."""
    with open(path, "rb") as file:
        if not zipfile.is_zipfile(file):
            return  # of older versions, or refused below
        try:
            claimed = sum(member.file_size for member in zipfile.ZipFile(file).infolist())
        except (zipfile.BadZipFile, ValueError, OverflowError):
            return  # refused below
    if claimed > path.stat().st_size:
        raise InputError(
            f"{path} claims to hold {claimed} bytes, more than it has; torch.save writes no such "
            "file, so it is damaged, or made to fill the memory"
        )


def checked_weights(
    path: Path, weights: Mapping[str, Tensor], architecture: str, materials: int
) -> dict[str, Tensor]:
    """`weights` in the types of the network, after every name, shape and value was checked.

    Raises InputError where the number of materials is another one, where anything is missing,
    left over or of another shape, and where a weight is not a number.
    """
    last = weights.get(_LAST)
    if last is not None and last.shape[:1] != (materials,):
        raise InputError(
            f"{path} was trained for {last.shape[0] if last.ndim else 0} materials but the table "
            f"names {materials}; name those it was trained for, in the same order"
        )
    shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    mismatch = first_mismatch(outline(architecture, materials).body, shapes)
    if mismatch is not None:
        raise InputError(
            f"the weights in {path} do not fit {architecture} with {materials} materials: "
            f"{mismatch}"
        )
    for name, tensor in weights.items():
        if not torch.isfinite(tensor).all():
            raise InputError(
                f"{path}: {name} holds values that are not numbers: its training failed"
            )
    body = build(architecture, materials).body
    body.load_state_dict(weights)
    return dict(body.state_dict())


def _is_weight(item: tuple[Any, Any]) -> bool:
    name, tensor = item
    dense = isinstance(tensor, Tensor) and tensor.layout == torch.strided
    return isinstance(name, str) and dense and not (tensor.is_complex() or tensor.is_quantized)
