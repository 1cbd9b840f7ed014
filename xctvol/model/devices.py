"""Devices and precisions: what the user asks for, checked against what is there."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Literal

import torch

from xctvol.errors import UsageError
from xctvol.units import format_bytes

__all__ = [
    "HALVES",
    "Precision",
    "arithmetic",
    "choose_device",
    "choose_precision",
    "describe_gpus",
    "device_called",
    "gpu_count",
    "learning_precision",
    "reproducible",
    "settled",
]

Precision = Literal["auto", "fp32", "tf32", "bf16", "fp16"]
"""fp32 is exact; tf32 are GPU convolutions and products with 10 bits of mantissa."""

HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}
"""The types of those precisions that take half the bytes."""


def device_called(name: str) -> torch.device:
    """The device called `name`, which another machine may have and this one not.

    `auto` is the first GPU of this machine, or its CPU where there is none.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise UsageError(f"there is no device {name!r}; use auto, cpu, cuda or cuda:1")
    if device.type == "cpu" and device.index:
        raise UsageError(f"there is no device {name!r}: all processors together are cpu; use that")
    return device


def choose_device(name: str) -> torch.device:
    """The device called `name` of this machine, see `device_called`.

    Raises UsageError for a device that is not there: work is never moved to another one silently.
    """
    device = device_called(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"device {name} was asked for but torch sees {torch.cuda.device_count()} CUDA devices; "
            "use --device cpu, or see `xctvol doctor`"
        )
    return device


@contextmanager
def reproducible(device: torch.device) -> Iterator[None]:
    """While active, results on a CPU do not depend on how many threads torch may use.

    Its convolutions sum in another order for another number of threads, and where two materials
    are nearly equal that decides. One thread a slice; blocks side by side use the processors.
    """
    threads = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def settled(device: torch.device) -> Iterator[None]:
    """In the end a GPU has done all that was asked of it meanwhile, copies without waiting too."""
    try:
        yield
    finally:
        if device.type == "cuda":
            torch.cuda.synchronize(device)


def gpu_count() -> int:
    """GPUs that torch can use here."""
    return torch.cuda.device_count()


def describe_gpus() -> list[str]:
    """Name and memory of each GPU that torch can use here."""
    found = [torch.cuda.get_device_properties(index) for index in range(gpu_count())]
    return [f"{gpu.name}, {format_bytes(gpu.total_memory)}" for gpu in found]


def choose_precision(precision: Precision, device: torch.device) -> Precision:
    """`precision` with `auto` decided: fp32 on a CPU, fp16 on a GPU."""
    if precision == "auto":
        return "fp16" if device.type == "cuda" else "fp32"
    if precision in ("fp16", "tf32") and device.type == "cpu":
        raise UsageError(f"{precision} needs a GPU; on a CPU use fp32 (exact) or bf16")
    return precision


def learning_precision(device: torch.device) -> Precision:
    """The precision to train in: bf16, which needs no scaling of the loss, where it is fast."""
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = _cpu_multiplies_bf16()
    return "bf16" if fast else "fp32"


def _cpu_multiplies_bf16() -> bool:
    """Whether it does so itself; another one has to convert, which takes longer than fp32."""
    ask = getattr(torch.cpu, "get_capabilities", dict)  # older torch does not tell
    found: Mapping[str, object] = ask()
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))


def arithmetic(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """While active, networks on `device` compute in `precision`; fp32 means no TF32 either."""
    if precision in HALVES:
        return torch.autocast(device.type, HALVES[precision])
    if device.type == "cuda":
        return _float32(allow_tf32=precision == "tf32")
    return nullcontext()


@contextmanager
def _float32(*, allow_tf32: bool) -> Iterator[None]:
    products = torch.backends.cuda.matmul
    before, products.allow_tf32 = products.allow_tf32, allow_tf32
    try:
        # without `enabled` these flags would turn cuDNN off
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=allow_tf32):
            yield
    finally:
        products.allow_tf32 = before
