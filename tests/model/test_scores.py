"""Scores against counts by hand."""

import numpy as np
from hypothesis import given
from hypothesis.extra import numpy as npst
from hypothesis.strategies import integers

from xctvol.model.scores import METRICS, MaterialScores, confusion, mean_without_nan

K = 3
labels = npst.arrays(np.uint8, (6, 5), elements=integers(0, K - 1))


@given(annotated=labels, predicted=labels, ignored=npst.arrays(bool, (6, 5)))
def test_scores_equal_counting(annotated, predicted, ignored):
    scores = MaterialScores.of(confusion(np.where(ignored, 255, annotated), predicted, K))
    a, p = annotated[~ignored], predicted[~ignored]
    for k in range(K):
        tp, fp = np.sum((p == k) & (a == k)), np.sum((p == k) & (a != k))
        fn, tn = np.sum((p != k) & (a == k)), np.sum((p != k) & (a != k))
        ratios = (
            (tp + tn, a.size),
            (tp, tp + fp),
            (tp, tp + fn),
            (tp, tp + (fp + fn) / 2),
            (tp, tp + fp + fn),
        )
        for metric, (part, whole) in zip(METRICS, ratios, strict=True):
            expected = part / whole if whole else np.nan
            np.testing.assert_allclose(getattr(scores, metric)[k], expected)


def test_what_is_absent_counts_neither_way():
    counts = confusion(np.array([0, 0, 1, 1], np.uint8), np.array([0, 1, 1, 1], np.uint8), K)
    scores = MaterialScores.of(counts)
    assert np.isnan(scores.f1[2])
    np.testing.assert_allclose(scores.macro_f1, (2 / 3 + 4 / 5) / 2)


def test_the_mean_over_images_leaves_out_where_a_material_is_absent():
    both = np.array([[[2, 0], [0, 2]], [[4, 0], [0, 0]]])
    np.testing.assert_allclose(mean_without_nan(MaterialScores.of(both).f1, axis=0), [1, 1])
    np.testing.assert_allclose(MaterialScores.of(both.sum(0)).f1, [1, 1])
    half = np.array([[[1, 1], [0, 0]], [[2, 0], [0, 0]]])
    mean = mean_without_nan(MaterialScores.of(half).f1, axis=0)
    np.testing.assert_allclose(mean, [(2 / 3 + 1) / 2, 0])
