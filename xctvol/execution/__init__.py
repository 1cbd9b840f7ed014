"""Executors that run a plan's blocks in other processes, on GPUs, or on other machines."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xctvol.execution.allocation import Allocation
    from xctvol.execution.dask import Dask

__all__ = ["Allocation", "Dask"]


def __getattr__(name: str) -> Any:
    if name == "Dask":
        from xctvol.execution.dask import Dask  # a second to import

        return Dask
    if name == "Allocation":
        from xctvol.execution.allocation import Allocation

        return Allocation
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
