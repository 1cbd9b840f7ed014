"""Models of XCT_FCN: a .pth file with the weights, and what only its users know.

XCT_FCN predicts with the network in training mode: batch normalization takes the statistics of
the slice at hand, and dropout goes on. The card says `norm = batch`; dropout is left out, which
gives the expectation of the old logits, as only a linear layer follows it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from xctvol.errors import UsageError
from xctvol.files import sha256
from xctvol.grid import Block, counted
from xctvol.journal import Journal, Recipe
from xctvol.materials import Materials
from xctvol.model.card import Card, Decode, GreyScale
from xctvol.model.checkpoint import checked_weights, read_checkpoint
from xctvol.model.decode import rule_of
from xctvol.model.file import Model, save_model
from xctvol.model.networks import weight_bytes
from xctvol.model.product import ModelProduct
from xctvol.plan import Plan, Stage, refuse_own_input
from xctvol.units import Spacing
from xctvol.volume import Window

__all__ = ["Preprocess", "import_xctfcn"]

Preprocess = Literal["fixed", "legacy"]
"""How grey values 0..255 meet the mean and std of images divided by 255.

`fixed`: divided by 255 too, as in training. `legacy`: as they are, as XCT_FCN did by mistake when
it predicted; statistics of each slice hide that, but for the borders of slices. It gives the
labels that XCT_FCN gave.
"""

_BYTE = 255.0
_COPIES = 4  # of the weights: file, its tensors, the network, the draft
_PROCESS_BYTES = 600_000_000


@dataclass(frozen=True)
class ImportWeights:
    """Writes the weights of a checkpoint, with a card, as the draft of a product."""

    checkpoint: Path
    card: Card
    product: ModelProduct

    def __call__(self, block: Block) -> None:
        weights = read_checkpoint(self.checkpoint)
        architecture, materials = self.card.architecture, len(self.card.materials)
        checked = checked_weights(self.checkpoint, weights, architecture, materials)
        save_model(self.product.draft, self.card, checked)


def import_xctfcn(  # noqa: PLR0913 - what a .pth file does not say, all given by name
    checkpoint: str | Path,
    materials: Materials,
    output: str | Path,
    *,
    mean: float,
    std: float,
    preprocess: Preprocess = "fixed",
    scale: float = 1.0,
    spacing: Spacing | None = None,
    decode: Decode = "argmax",
    architecture: str = "fcn_resnet101",
) -> Plan[Model]:
    """Plan to make a model of a state dict that XCT_FCN saved.

    `materials` are those it was trained for, in its order; `mean` and `std` are those of its
    training images divided by 255; `scale` is the one its slices were resized by. The file is
    read and checked here: raises InputError where it is no state dict of tensors or does not fit.
    """
    path, product = Path(checkpoint), ModelProduct(Path(output))
    refuse_own_input([path], product.path)
    _require(0 <= mean <= 1, f"a mean of {mean}", "from 0 to 1, of images divided by 255")
    _require(
        0 < std <= 1, f"a standard deviation of {std}", "from 0 to 1, of images divided by 255"
    )
    _require(0 < scale <= 1, f"a scale of {scale}", "above 0 and at most 1")
    rule_of(decode, materials)  # refuses labels whose sums cannot be read
    checked_weights(path, read_checkpoint(path), architecture, len(materials))
    unit = _BYTE if preprocess == "legacy" else 1.0
    card = Card(
        architecture=architecture,
        materials=materials,
        grey=GreyScale("uint8", Window(0.0, _BYTE), mean / unit, std / unit),
        norm="batch",
        decode=decode,
        spacing_um=None if spacing is None else spacing.zyx,
        scale=scale,
    )
    recipe = Recipe("import-xctfcn", {"checkpoint": sha256(path)}, {"card": card.to_json()})
    weights = weight_bytes(architecture, len(materials))
    stage = Stage(
        name="import",
        task=ImportWeights(path, card, product),
        blocks=counted([1]),
        journal=Journal(product.work / "imported"),
        unit="blocks",
    )
    return Plan(
        recipe=recipe,
        product=product,
        stages=(stage,),
        conclude=lambda: product.publish(recipe),
        peak_memory=_COPIES * weights + _PROCESS_BYTES,
        reads=path.stat().st_size,
        writes=2 * weights,
        notes=(f"{architecture}, {', '.join(materials.names)}; {preprocess} grey values",),
    )


def _require(holds: bool, what: str, wanted: str) -> None:
    if not holds:
        raise UsageError(f"{what} is not possible: it must be {wanted}")
