"""Curves, areas and their intervals, against hand-made cases, scikit-learn and DeLong's formula written out."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from blindspots.experiments.detect.measure import (
    POINTS,
    Scores,
    auc,
    auc_interval,
    auc_variance,
    average_precision,
    precision_recall,
    roc,
    tpr_at,
)
from blindspots.records import clopper_pearson


def drawn(seed: int, shift: float = 1.0, n: int = 40, m: int = 30, ties: bool = False) -> Scores:
    rng = np.random.default_rng(seed)
    low, high = rng.normal(size=n), rng.normal(shift, size=m)
    return Scores.of(low.round(), high.round()) if ties else Scores.of(low, high)


def together(scores: Scores) -> tuple[np.ndarray, np.ndarray]:
    labels = np.r_[np.zeros(len(scores.negatives)), np.ones(len(scores.positives))]
    return labels, np.r_[scores.negatives, scores.positives]


def test_area_of_hand_made_scores() -> None:
    assert auc(Scores.of([0, 1], [2, 3])) == 1
    assert auc(Scores.of([2, 3], [0, 1])) == 0
    assert auc(Scores.of([1, 1], [1, 1])) == 0.5
    assert auc(Scores.of([0, 2], [1, 3])) == 0.75
    assert auc(Scores.of([0, 1], [1, 2])) == 0.875  # three pairs in order, one tied


@pytest.mark.parametrize("ties", [False, True])
def test_area_and_average_precision_are_those_of_scikit_learn(ties: bool) -> None:
    for seed in range(5):
        scores = drawn(seed, ties=ties)
        assert auc(scores) == pytest.approx(roc_auc_score(*together(scores)), abs=1e-12)
        assert average_precision(scores) == pytest.approx(average_precision_score(*together(scores)), abs=1e-12)


@pytest.mark.parametrize("ties", [False, True])
def test_curve_has_the_corners_of_scikit_learn(ties: bool) -> None:
    scores = drawn(1, ties=ties)
    false, true, _ = roc_curve(*together(scores), drop_intermediate=False)
    assert np.allclose(roc(scores), np.stack([false, true], 1))


def test_curves_end_where_everything_is_suspicious_and_keep_their_size() -> None:
    scores = drawn(0, n=900, m=700)
    assert roc(scores)[0] == (0, 0)
    assert roc(scores)[-1] == (1, 1)
    assert precision_recall(scores)[-1] == (1, 700 / 1600)
    assert len(roc(scores)) == len(precision_recall(scores)) == POINTS


def test_precision_and_recall_of_hand_made_scores() -> None:
    scores = Scores.of([0, 2], [1, 3])
    assert precision_recall(scores) == [(0.5, 1), (0.5, 0.5), (1, 2 / 3), (1, 0.5)]
    assert average_precision(scores) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


def test_variance_is_that_of_delong_written_out() -> None:
    scores = drawn(3)
    psi = (scores.positives[:, None] > scores.negatives).astype(float)
    written_out = psi.mean(1).var(ddof=1) / psi.shape[0] + psi.mean(0).var(ddof=1) / psi.shape[1]
    assert auc_variance(scores) == pytest.approx(written_out, rel=1e-12)


def test_rows_that_are_repeated_add_no_certainty() -> None:
    scores = drawn(4)
    rows = [np.tile(at, 3) for at in (scores.negative_rows, scores.positive_rows)]
    thrice = Scores.of(np.tile(scores.negatives, 3), np.tile(scores.positives, 3), *rows)
    assert auc(thrice) == pytest.approx(auc(scores))
    assert auc_variance(thrice) == pytest.approx(auc_variance(scores))
    naive = Scores.of(thrice.negatives, thrice.positives)
    assert auc_variance(naive) < 0.4 * auc_variance(scores)


def test_interval_covers_the_true_area() -> None:
    true = 0.7602499  # P(N(1, 1) > N(0, 1))
    covered = [low <= true <= high for low, high in (auc_interval(drawn(seed)) for seed in range(400))]
    assert 0.91 <= np.mean(covered) <= 0.98


def test_interval_of_pairs_in_rows_covers_the_true_area() -> None:
    """A clean score and its own row's adversarial score share a part."""
    covered = []
    for seed in range(400):
        rng = np.random.default_rng(seed)
        shared, at = rng.normal(size=50), np.arange(50)
        low, high = shared + rng.normal(size=50), shared + rng.normal(size=50) + 2**0.5 * 1.0
        interval = auc_interval(Scores.of(low, high, at, at))
        covered.append(interval[0] <= 0.76025 <= interval[1])
    assert 0.91 <= np.mean(covered) <= 0.98


def test_interval_where_all_pairs_are_in_order_is_that_of_pairs() -> None:
    assert auc_interval(Scores.of(range(30), range(50, 70))) == clopper_pearson(20, 20)
    assert auc_interval(Scores.of(range(50, 70), range(30))) == clopper_pearson(0, 20)


def test_interval_of_one_row_says_nothing() -> None:
    assert auc_interval(Scores.of([0.0, 2.0], [1.0])) == (0, 1)


def test_detection_rate_counts_positives_above_the_threshold() -> None:
    scores = Scores.of(range(100), [93.5, 94.5, 95.5, 99.5])
    assert (tpr_at(scores, 0.05).hits, tpr_at(scores, 0.05).rows) == (3, 4)  # five negatives are above 94
    assert tpr_at(scores, 0.0).hits == 1
