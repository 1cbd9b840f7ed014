"""Decode rules against torch's own interpolate and the rules written out in numpy."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from xctvol.errors import InputError
from xctvol.materials import Materials
from xctvol.model.decode import (
    Largest,
    LargestReached,
    Sum,
    decoded,
    decoded_in_bands,
    probabilities,
    rule_of,
)
from xctvol.model.overlaps import overlaps, with_overlaps

TIE = 1e-5
sizes = st.tuples(st.integers(1, 200), st.integers(1, 60))
shapes = {
    "size": sizes,
    "shrink": st.integers(1, 9),
    "materials": st.integers(1, 7),
    "models": st.integers(1, 3),
    "seed": st.integers(0, 99),
}


def material(name, label, threshold=0.5):
    return {"name": name, "mask": label, "label": label, "threshold": threshold}


def coarse_logits(size, shrink, materials, models, seed):
    generator = torch.Generator().manual_seed(seed)
    shape = (2, materials, *(-(-s // shrink) for s in size))
    return [2 * torch.randn(shape, generator=generator) for _ in range(models)]


def log_odds(coarse, size):
    """Of the mean probability, the plain way, in float64."""
    full = [
        functional.interpolate(c.double(), size=size, mode="bilinear", align_corners=False)
        for c in coarse
    ]
    return torch.logit(torch.stack(full).sigmoid().mean(0)).numpy()


def argmax(odds):
    top = np.sort(odds, axis=1)
    clear = top[:, -1] - top[:, -2] > TIE if odds.shape[1] > 1 else np.ones_like(top[:, 0], bool)
    return odds.argmax(1), clear


def reached(odds, least):
    """The material that exceeds its threshold most, or 255."""
    above = odds - least[:, None, None]
    found, clear = argmax(above)
    best = above.max(1)
    return np.where(best >= 0, found, 255), (clear | (best < -TIE)) & (abs(best) > TIE)


def summed(odds, least, values):
    above = odds - least[:, None, None]
    return (np.moveaxis(above >= 0, 1, -1) @ values) % 256, (abs(above) > TIE).all(1)


@settings(max_examples=60, deadline=None)
@given(**shapes)
def test_rules_are_what_they_say(size, shrink, materials, models, seed):
    coarse = coarse_logits(size, shrink, materials, models, seed)
    odds = log_odds(coarse, size)
    indices, values = tuple(range(materials)), np.arange(materials) * 37 + 1
    least = np.linspace(-1, 1.5, materials)
    for rule, (expected, clear) in {
        Largest(indices): argmax(odds),
        LargestReached(indices, tuple(least), 255): reached(odds, least),
        Sum(tuple(values.tolist()), tuple(least)): summed(odds, least, values),
    }.items():
        found = decoded_in_bands(coarse, size, rule).numpy()
        assert np.array_equal(found[clear], expected[clear])


@settings(max_examples=30, deadline=None)
@given(**shapes)
def test_bands_change_nothing(size, shrink, materials, models, seed):
    """Whole slices at once, as on a GPU, and in bands: only rounding may decide otherwise."""
    coarse = coarse_logits(size, shrink, materials, models, seed)
    odds = log_odds(coarse, size)
    least = np.linspace(-1, 1.5, materials)
    whole = [functional.interpolate(c, size=size, mode="bilinear") for c in coarse]
    for rule, clear in (
        (Largest(tuple(range(materials))), argmax(odds)[1]),
        (LargestReached(tuple(range(materials)), tuple(least), 255), reached(odds, least)[1]),
    ):
        planes = (_mean_odds([w[:, k] for w in whole]) for k in range(materials))
        expected = rule(planes).numpy()
        found = decoded(coarse, size, rule).numpy()
        assert np.array_equal(found[clear], expected[clear])


def _mean_odds(logits):
    return (
        logits[0].clone()
        if len(logits) == 1
        else torch.logit(torch.stack(logits).sigmoid().mean(0))
    )


def test_the_plain_argmax_of_torch_is_met_on_every_voxel():
    """On random logits even near ties come out the same: the count is part of the claim."""
    differing = ties = 0
    for seed in range(20):
        (coarse,) = coarse_logits((150, 131), 8, 6, 1, seed)
        plain = functional.interpolate(coarse, size=(150, 131), mode="bilinear")
        found = decoded([coarse], (150, 131), Largest(tuple(range(6)))).long()
        top = plain.topk(2, 1).values
        tie = top[:, 0] - top[:, 1] < TIE
        ties += int(tie.sum())
        differing += int(((found != plain.argmax(1)) & ~tie).sum())
    assert differing == 0
    assert ties < 20


def test_of_equal_logits_the_first_wins():
    coarse = torch.tensor([1.0, 3.0, 3.0]).reshape(1, 3, 1, 1).expand(1, 3, 4, 4).contiguous()
    for models in ([coarse], [coarse, coarse]):
        assert decoded(models, (8, 8), Largest((5, 6, 7))).unique().tolist() == [6]
        rule = LargestReached((5, 6, 7), (1.0, 2.5, 2.5))
        assert decoded(models, (8, 8), rule).unique().tolist() == [6]


def test_a_threshold_that_is_just_reached_is_reached():
    table = Materials.from_json([material("a", 9), material("b", 4)])
    coarse = torch.tensor([0.0, -1.0]).reshape(1, 2, 1, 1)
    assert decoded([coarse], (1, 1), rule_of("threshold", table)).item() == 9
    assert decoded([coarse], (1, 1), rule_of("threshold_sum", table)).item() == 9
    assert decoded([coarse - 1e-3], (1, 1), rule_of("threshold", table)).item() == 0
    assert decoded([coarse - 1e-3], (1, 1), rule_of("threshold_sum", table)).item() == 0


def test_thresholds_are_those_of_the_sigmoid():
    table = Materials.from_json([material("a", 1, 0.9), material("b", 2, 0.2)])
    chances = torch.tensor([[0.91, 0.5], [0.89, 0.5], [0.89, 0.19], [0.91, 0.19]])
    coarse = chances.logit().T.reshape(1, 2, 2, 2)
    found = decoded([coarse], (2, 2), rule_of("threshold", table)).flatten().tolist()
    assert found == [2, 2, 0, 1]  # 0.5 exceeds 0.2 by more than 0.91 exceeds 0.9
    found = decoded([coarse], (2, 2), rule_of("threshold_sum", table)).flatten().tolist()
    assert found == [3, 2, 0, 1]


def test_far_logits_of_several_models_stay_numbers():
    coarse = torch.tensor([1000.0, -1000.0, 0.0]).reshape(1, 3, 1, 1)
    assert decoded([coarse, coarse], (2, 2), Largest((1, 2, 3))).unique().tolist() == [1]
    assert decoded([-coarse, -coarse], (2, 2), Largest((1, 2, 3))).unique().tolist() == [2]


def test_probabilities_are_the_mean_of_sigmoids():
    coarse = coarse_logits((40, 30), 4, 3, 3, 0)
    full = [functional.interpolate(c, size=(40, 30), mode="bilinear") for c in coarse]
    expected = torch.stack(full).sigmoid().mean(0)
    kept = [c.clone() for c in coarse]
    assert torch.allclose(probabilities(coarse, (40, 30)), expected, atol=1e-6)
    assert all(torch.equal(c, k) for c, k in zip(coarse, kept, strict=True))


def test_logits_at_full_size_are_left_alone():
    (coarse,) = coarse_logits((40, 30), 1, 3, 1, 0)
    kept = coarse.clone()
    decoded([coarse], (40, 30), LargestReached((1, 2, 3), (0.1, 0.2, 0.3)))
    assert torch.equal(coarse, kept)


def test_sums_say_which_materials_they_stand_for():
    table = Materials.from_json([material("a", 1), material("b", 2), material("c", 253)])
    with pytest.raises(InputError, match=r"labels 0 would mean no material as well as a \+ b \+ c"):
        overlaps(table)
    with pytest.raises(InputError, match="decode by threshold"):
        rule_of("threshold_sum", table)
    fine = Materials.from_json([material("a", 1), material("b", 2), material("c", 252)])
    names = {total: [m.name for m in parts] for total, parts in overlaps(fine).items()}
    assert len(names) == 8
    assert names[255] == ["a", "b", "c"]
    assert names[254] == ["b", "c"]


def test_the_output_values_of_the_paper_are_ambiguous():
    """Background 170 and epidermis 85 add up to the air space's 255."""
    with pytest.raises(InputError, match="background"):
        overlaps(
            Materials.from_json([material("background", 170), material("epidermis", 85),
                                 material("air space", 255)])
        )  # fmt: skip  # one table


def test_overlaps_that_occur_become_materials():
    drawn = {**material("a", 1), "drawn_as": ["epi*"]}
    table = Materials.from_json([drawn, material("b", 2), material("c", 4)])
    found = with_overlaps(table, [0, 1, 3, 7])
    assert found.names == ("a", "b", "c", "a + b", "a + b + c")
    assert found.labels == (1, 2, 4, 3, 7)
    assert Materials.from_json(found.to_json()) == found
    assert Materials.from_json(found.to_json())[3].rgb == tuple(
        (p + q) // 2 for p, q in zip(table[0].rgb, table[1].rgb, strict=True)
    )
