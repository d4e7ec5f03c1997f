"""Naive Bayes with a table for every feature, as trees: one for each feature, whose leaves are the table's entries."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from blindspots.models.model import Model
from blindspots.models.trees.forest import LEAF, Forest, Tree, above, forest
from blindspots.models.trees.model import TreeModel

Array = NDArray[Any]


def forest_of(model: Model) -> Forest | None:
    """The trees or tables that a model consists of; None where it is something else."""
    if isinstance(model, TreeModel):
        return model.forest
    return read_tables(getattr(getattr(model, "known", None), "estimator", None))


def read_tables(estimator: Any) -> Forest | None:
    """The logarithms of the joint probabilities of a fitted BernoulliNB or CategoricalNB; None of anything else.

    The sums are those of scikit-learn but for the order in which they are added up.
    """
    if type(estimator).__module__.partition(".")[0] != "sklearn":
        return None
    reader = {"BernoulliNB": _bernoulli, "CategoricalNB": _categorical}.get(type(estimator).__name__)
    return reader(estimator) if reader else None


def _bernoulli(estimator: Any) -> Forest | None:
    """Each feature is compared with one threshold."""
    if estimator.binarize is None:
        return None  # then values between 0 and 1 are weights
    yes = estimator.feature_log_prob_  # (C, features)
    no = np.log1p(-np.exp(yes))
    edge = above(np.float64(estimator.binarize))[None]
    trees = [_steps(f, edge, np.stack([no[:, f], yes[:, f]])) for f in range(yes.shape[1])]
    return forest(trees, estimator.class_log_prior_, yes.shape[1])


def _categorical(estimator: Any) -> Forest:
    """Values are cut to whole numbers, the categories."""
    tables = estimator.feature_log_prob_  # of each feature (C, categories)
    trees = [_steps(f, np.arange(1, t.shape[1], dtype=np.float32), t.T) for f, t in enumerate(tables)]
    return forest(trees, estimator.class_log_prior_, len(tables))


def _steps(feature: int, edges: Array, values: Array) -> Tree:
    """Compares a feature with ascending edges (n,), one after the other; values (n + 1, C) at its leaves."""
    n = len(edges)
    inner, leaves = np.arange(n), n + np.arange(n + 1)
    following = np.r_[inner[1:], leaves[-1:]] if n else inner
    return Tree(
        np.r_[np.full(n, feature), np.full(n + 1, LEAF)],
        np.r_[edges, np.zeros(n + 1)].astype(np.float32),
        np.r_[leaves[:-1], leaves],
        np.r_[following, leaves],
        np.concatenate([np.zeros((n, values.shape[1])), values]),
    )
