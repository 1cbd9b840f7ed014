"""Several models that decide together: which can."""

from collections.abc import Sequence

from xctvol.errors import InputError, UsageError
from xctvol.model.card import Decode
from xctvol.model.file import Model

__all__ = ["require_alike"]


def require_alike(models: Sequence[Model], decode: Decode | None = None) -> None:
    """Refuse models whose probabilities mean different things.

    They need the same table of materials, grey values of one type and, unless `decode` replaces
    it, one decode rule. Raises InputError, or UsageError where there is no model, or one twice.
    """
    if not models:
        raise UsageError("no model; give at least one model file")
    first = models[0]
    for model in models[1:]:
        for what, mine, theirs in (
            ("materials", first.card.materials, model.card.materials),
            ("type of grey values", first.card.grey.dtype, model.card.grey.dtype),
            ("decode rule", decode or first.card.decode, decode or model.card.decode),
        ):
            if mine != theirs:
                raise InputError(
                    f"{first.path} and {model.path} cannot decide together: they differ in "
                    f"{what}; use models of one training, or one model"
                )
    digests = [model.digest for model in models]
    for place, digest in enumerate(digests):
        if digest in digests[:place]:
            raise UsageError(
                f"{models[place].path} has the same content as {models[digests.index(digest)].path}"
                "; give each model once"
            )
