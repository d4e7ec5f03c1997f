"""Trees of scikit-learn: single ones, forests, gradient boosting in both forms, AdaBoost and bags of trees.

Only scikit-learn's own classes are read, by their exact type, since a subclass may override any method.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blindspots.models.trees.forest import LEAF, Forest, Link, Tree, above, asked_for, forest
from blindspots.models.trees.reading import in_column
from blindspots.models.trees.scalers import beyond, scaling, unscaled

Rule = Callable[[NDArray[np.float64], NDArray[np.integer]], NDArray[np.float32]]

_SEARCHES = ("GridSearchCV", "RandomizedSearchCV", "HalvingGridSearchCV", "HalvingRandomSearchCV")
_SINGLE = ("DecisionTreeClassifier", "DecisionTreeRegressor", "ExtraTreeClassifier", "ExtraTreeRegressor")
_LINKS: dict[str, Link] = {"IdentityLink": "identity", "LogLink": "exp"}


def read(estimator: Any) -> Forest | None:
    """The trees of a fitted estimator; None where it is not fitted, something else, or asks about categories."""
    if type(estimator).__module__.partition(".")[0] != "sklearn":
        return None
    reader = _READERS.get(type(estimator).__name__)
    try:
        return reader(estimator) if reader else None
    except AttributeError:  # it is not fitted, or this version of scikit-learn keeps its parts elsewhere
        return None


def _searched(search: Any) -> Forest | None:
    return read(search.best_estimator_)


def _pipeline(pipeline: Any) -> Forest | None:
    """Trees behind scalers, whose numbers HistGradientBoosting takes in float64 and all others in float32."""
    *steps, last = _steps(pipeline)
    if type(last).__name__.startswith("Hist"):
        scaled = scaling(steps)
        return None if scaled is None else _histogram(last, lambda t, f: beyond(scaled, t, f))
    found = read(last)
    return None if found is None else unscaled(found, steps)


def _steps(step: Any) -> Iterator[Any]:
    """Those of pipelines in each other, with the best of each search in its place."""
    if type(step).__name__ in _SEARCHES:
        yield from _steps(step.best_estimator_)
    elif type(step).__name__ == "Pipeline":
        for _, inner in step.steps:
            yield from _steps(inner)
    else:
        yield step


def _single(tree: Any) -> Forest | None:
    return _averaged([tree], tree)


def _forest(ensemble: Any) -> Forest | None:
    return _averaged(ensemble.estimators_, ensemble)


def _averaged(trees: Any, whole: Any) -> Forest | None:
    classes = getattr(whole, "n_classes_", None)
    if not np.isscalar(classes) and classes is not None:  # one label after the other
        return None
    made = [_tree(tree.tree_, _values(tree)) for tree in trees]
    outputs = made[0].value.shape[1]
    link: Link = "identity" if classes is None else "probabilities"
    if outputs == 1 and classes is not None:
        return None  # fitted on a single class
    return forest(made, np.zeros(outputs), whole.n_features_in_, link, divisor=len(made))


def _values(tree: Any) -> Any:
    """(n, K): the shares of the classes, or the numbers that a regressor predicts."""
    value = tree.tree_.value
    return value[:, 0, :] if hasattr(tree, "classes_") else value[:, :, 0]


def _tree(nodes: Any, value: Any) -> Tree:
    leaf = nodes.children_left == LEAF
    feature = asked_for(nodes.feature, leaf)
    return Tree(feature, above(nodes.threshold), nodes.children_left, nodes.children_right, value)


def _bag(ensemble: Any) -> Forest | None:
    """Bagging of trees, each of which may see some of the features and know some of the classes."""
    trees, several = ensemble.estimators_, hasattr(ensemble, "classes_")
    if any(type(tree).__name__ not in _SINGLE for tree in trees):
        return None
    outputs = len(ensemble.classes_) if several else 1
    made = []
    for tree, features in zip(trees, ensemble.estimators_features_, strict=True):
        value = np.zeros((tree.tree_.node_count, outputs))
        value[:, tree.classes_.astype(int) if several else [0]] = _values(tree)
        found = _tree(tree.tree_, value)
        made.append(found._replace(feature=np.where(found.feature == LEAF, LEAF, features[found.feature])))
    if several and outputs == 1:
        return None
    link: Link = "probabilities" if several else "identity"
    return forest(made, np.zeros(outputs), ensemble.n_features_in_, link, divisor=len(made))


def _voted(ensemble: Any) -> Forest | None:
    """AdaBoost: every tree votes for the class of its leaf, with its weight, and against all others."""
    trees, classes = ensemble.estimators_, ensemble.classes_
    if any(type(tree).__name__ not in _SINGLE for tree in trees) or len(classes) < 2:
        return None
    weights = ensemble.estimator_weights_[: len(trees)]
    made = []
    for tree, weight in zip(trees, weights, strict=True):
        chosen = tree.classes_[_values(tree).argmax(1)][:, None] == classes
        vote = np.where(chosen, weight, -1 / (len(classes) - 1) * weight)
        made.append(_tree(tree.tree_, vote if len(classes) > 2 else vote[:, 1:]))
    outputs = made[0].value.shape[1]
    divisor = float(weights.sum()) / (2 if outputs == 1 else 1)
    return forest(made, np.zeros(outputs), ensemble.n_features_in_, divisor=divisor)


def _boosted(ensemble: Any) -> Forest | None:
    """GradientBoosting: what it begins with, and its trees times the learning rate."""
    if ensemble.init_ != "zero" and type(ensemble.init_).__name__ not in ("DummyClassifier", "DummyRegressor"):
        return None  # it begins with a model of its own
    start = ensemble._raw_predict_init(np.zeros((1, ensemble.n_features_in_), np.float32))[0]
    made = [
        _tree(tree.tree_, ensemble.learning_rate * in_column(tree.tree_.value[:, 0, 0], k, len(start)))
        for stage in ensemble.estimators_
        for k, tree in enumerate(stage)
    ]
    link: Link = "logits" if hasattr(ensemble, "classes_") else "identity"
    return forest(made, start, ensemble.n_features_in_, link)


def _histogram(ensemble: Any, rule: Rule = lambda t, _: above(t)) -> Forest | None:
    """HistGradientBoosting; missing values have a branch of their own there, which nothing takes here.

    `rule` makes thresholds of x < t of what it asks, given the features (n,).
    """
    start = np.asarray(ensemble._baseline_prediction, np.float64).reshape(-1)
    stages = [[stage.nodes for stage in row] for row in ensemble._predictors]
    if ensemble._preprocessor is not None or any(n["is_categorical"].any() for row in stages for n in row):
        return None
    made = [_histogram_tree(nodes, k, len(start), rule) for row in stages for k, nodes in enumerate(row)]
    link = "logits" if hasattr(ensemble, "classes_") else _LINKS.get(type(ensemble._loss.link).__name__)
    return forest(made, start, ensemble.n_features_in_, link) if link and made else None


def _histogram_tree(nodes: Any, k: int, outputs: int, rule: Rule) -> Tree:
    leaf = nodes["is_leaf"].astype(bool)
    feature = asked_for(nodes["feature_idx"].astype(np.int64), leaf)
    left, right = (nodes[side].astype(np.int64) for side in ("left", "right"))
    threshold = rule(nodes["num_threshold"], np.maximum(feature, 0))
    return Tree(feature, threshold, left, right, in_column(nodes["value"], k, outputs))


_READERS: dict[str, Callable[[Any], Forest | None]] = {
    **dict.fromkeys(_SEARCHES, _searched),
    **dict.fromkeys(_SINGLE, _single),
    **dict.fromkeys(
        ("RandomForestClassifier", "RandomForestRegressor", "ExtraTreesClassifier", "ExtraTreesRegressor"), _forest
    ),
    **dict.fromkeys(("BaggingClassifier", "BaggingRegressor"), _bag),
    "AdaBoostClassifier": _voted,
    "Pipeline": _pipeline,
    **dict.fromkeys(("GradientBoostingClassifier", "GradientBoostingRegressor"), _boosted),
    **dict.fromkeys(("HistGradientBoostingClassifier", "HistGradientBoostingRegressor"), _histogram),
}
