"""scikit-learn's classifiers, regressors and scalers as networks: the same answers in float64, with gradients.

Only scikit-learn's own classes are translated, by their exact type, since a subclass may override any method.
"""

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_ACTIVATIONS = {"identity": nn.Identity, "logistic": nn.Sigmoid, "tanh": nn.Tanh, "relu": nn.ReLU}


def translate(estimator: Any) -> nn.Module | None:
    """A network from float64 (B, features) to what the fitted `estimator` computes; None if it has no translation.

    A transformer gives (B, features), a regressor (B, k), a classifier (B, C) scores in the order of `classes_`, or
    (B, 1) with the score of the second of two classes.
    """
    if type(estimator).__module__.partition(".")[0] != "sklearn":
        return None
    translator = _TRANSLATORS.get(type(estimator).__name__)
    return translator(estimator) if translator else None


# ------------------------------------------------------------------ the networks


class Affine(nn.Module):
    """x W^T + b."""

    def __init__(self, weight: Any, bias: Any) -> None:
        super().__init__()
        self.weight, self.bias = _learned(weight), _learned(bias)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.weight, self.bias)


class Scale(nn.Module):
    """Each feature times a number, plus one."""

    def __init__(self, factor: Any, offset: Any) -> None:
        super().__init__()
        self.factor, self.offset = _learned(factor), _learned(offset)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor + self.offset


class Exponential(nn.Module):
    """exp(x)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.exp()


class Normalize(nn.Module):
    """Each row divided by its norm; a row of zeros stays."""

    def __init__(self, order: float) -> None:
        super().__init__()
        self.order = order

    def forward(self, x: Tensor) -> Tensor:
        norm = torch.linalg.vector_norm(x, self.order, dim=1, keepdim=True)
        return x / torch.where(norm == 0, 1, norm)

    def extra_repr(self) -> str:
        return f"order={self.order}"


class Kernel(nn.Module):
    """k(x, v) of every support vector v (V, n): (B, V)."""

    def __init__(self, vectors: Any, kind: str, gamma: float, coef0: float, degree: int) -> None:
        super().__init__()
        self.vectors, self.kind, self.gamma, self.coef0, self.degree = _learned(vectors), kind, gamma, coef0, degree

    def forward(self, x: Tensor) -> Tensor:
        products = x @ self.vectors.T
        if self.kind == "rbf":
            squares = x.square().sum(1, keepdim=True) + self.vectors.square().sum(1)
            return (self.gamma * (2 * products - squares)).exp()
        shifted = self.gamma * products + self.coef0
        return shifted**self.degree if self.kind == "poly" else shifted.tanh()

    def extra_repr(self) -> str:
        return f"kind={self.kind!r}, gamma={self.gamma!r}, coef0={self.coef0!r}, degree={self.degree!r}"


class OneVsOne(nn.Module):
    """C scores from the C (C - 1) / 2 decisions d_ij = -d_ji between two classes, positive where i is preferred.

    The score of i is its narrowest decision, min_j d_ij. Where a class beats all others it alone has a positive score,
    the margin to the runner-up is zero exactly on the boundary between them, and the gradients are those of that
    boundary; the votes that scikit-learn counts are constant almost everywhere. Where the decisions run in a circle,
    the class with the most votes swaps its score with the largest one, so the prediction is always that of the votes.
    """

    def __init__(self, decisions: nn.Module, classes: int, break_ties: bool) -> None:
        super().__init__()
        self.decisions, self.classes, self.break_ties = decisions, classes, break_ties
        self.first, self.second = map(list, zip(*combinations(range(classes), 2), strict=True))

    def forward(self, x: Tensor) -> Tensor:
        against = self._against(self.decisions(x))
        scores = against.amin(2)
        best, chosen = scores.argmax(1, keepdim=True), self._chosen(against.detach())
        return scores.scatter(1, best, scores.gather(1, chosen)).scatter(1, chosen, scores.gather(1, best))

    def _against(self, decisions: Tensor) -> Tensor:
        """d_ij: (B, C, C), infinite on the diagonal."""
        table = decisions.new_full((len(decisions), self.classes, self.classes), torch.inf)
        table[:, self.first, self.second] = decisions
        table[:, self.second, self.first] = -decisions
        return table

    def _chosen(self, against: Tensor) -> Tensor:
        """The class with the most votes, (B, 1); ties go to the first, or to the largest sum of decisions."""
        votes = (against > 0).sum(2).double()
        if self.break_ties:
            confidence = against.masked_fill(against.isinf(), 0).sum(2)
            votes = votes + confidence / (3 * (confidence.abs() + 1))
        return votes.argmax(1, keepdim=True)

    def extra_repr(self) -> str:
        return f"classes={self.classes}, break_ties={self.break_ties}"


class Gaussians(nn.Module):
    """log P(class | x) under one Gaussian per class, from squared lengths of (x - mean) A, with A (n, r) or (n,).

    The logarithms of the probabilities, not of the densities, which can be so large that float32 cannot resolve the
    difference between two classes.
    """

    def __init__(self, means: Any, whitenings: Sequence[Any], weights: Any) -> None:
        super().__init__()
        self.means, self.weights = _learned(means), _learned(weights)
        self.whitenings = nn.ParameterList(_learned(w) for w in whitenings)

    def forward(self, x: Tensor) -> Tensor:
        white = [_times(x - mean, w) for mean, w in zip(self.means, self.whitenings, strict=True)]
        squares = torch.stack([z.square().sum(1) for z in white], 1)
        return (self.weights - squares / 2).log_softmax(1)


def _times(x: Tensor, whitening: Tensor) -> Tensor:
    return x @ whitening if whitening.ndim == 2 else x * whitening


def _learned(array: Any) -> nn.Parameter:
    return nn.Parameter(torch.tensor(_dense(array), dtype=torch.float64), requires_grad=False)


def _dense(array: Any) -> Any:
    return array.toarray() if hasattr(array, "toarray") else np.asarray(array)


# ------------------------------------------------------------------ classifiers


def _linear(estimator: Any) -> nn.Module:
    weights = np.atleast_2d(_dense(estimator.coef_))  # for two classes, some estimators keep a row, some a vector
    return Affine(weights, np.zeros(len(weights)) + estimator.intercept_)


def _perceptrons(estimator: Any) -> nn.Module:
    layers: list[nn.Module] = []
    for weight, bias in zip(estimator.coefs_, estimator.intercepts_, strict=True):
        layers += [Affine(weight.T, bias), _ACTIVATIONS[estimator.activation]()]
    return nn.Sequential(*layers[:-1])


def _support_vectors(estimator: Any) -> nn.Module | None:
    if estimator.kernel not in ("linear", "rbf", "poly", "sigmoid"):
        return None
    classes, weights, bias = len(estimator.classes_), _pair_weights(estimator), estimator.intercept_
    decisions: nn.Module
    if estimator.kernel == "linear":
        decisions = Affine(weights @ _dense(estimator.support_vectors_), bias)
    else:
        # The value of gamma="scale" has no public name.
        kind, gamma = estimator.kernel, float(estimator._gamma)
        kernel = Kernel(estimator.support_vectors_, kind, gamma, float(estimator.coef0), estimator.degree)
        decisions = nn.Sequential(kernel, Affine(weights, bias))
    return decisions if classes == 2 else OneVsOne(decisions, classes, bool(estimator.break_ties))


def _support_vectors_of_numbers(estimator: Any) -> nn.Module | None:
    if estimator.kernel not in ("linear", "rbf", "poly", "sigmoid"):
        return None
    weights, bias = np.atleast_2d(_dense(estimator.dual_coef_)), estimator.intercept_
    if estimator.kernel == "linear":
        return Affine(weights @ _dense(estimator.support_vectors_), bias)
    kind, gamma = estimator.kernel, float(estimator._gamma)
    kernel = Kernel(estimator.support_vectors_, kind, gamma, float(estimator.coef0), estimator.degree)
    return nn.Sequential(kernel, Affine(weights, bias))


def _pair_weights(estimator: Any) -> Any:
    """The weight of every support vector in every decision between two classes: (pairs, V)."""
    dual = _dense(estimator.dual_coef_)
    if len(dual) == 1:
        return dual
    ends = np.cumsum(estimator.n_support_)
    own = [slice(end - count, end) for end, count in zip(ends, estimator.n_support_, strict=True)]
    pairs = list(combinations(range(len(own)), 2))
    weights = np.zeros((len(pairs), dual.shape[1]))
    for row, (i, j) in zip(weights, pairs, strict=True):
        row[own[i]], row[own[j]] = dual[j - 1, own[i]], dual[i, own[j]]
    return weights


def _generalised(estimator: Any) -> nn.Module | None:
    """A generalised linear model: exp(w x + b) where its link is the logarithm."""
    links = {"PoissonRegressor": "log", "GammaRegressor": "log"}
    link = links.get(type(estimator).__name__) or getattr(estimator, "link", "auto")
    logarithm = link == "log" or (link == "auto" and estimator.power > 0)
    return nn.Sequential(_linear(estimator), Exponential()) if logarithm else _linear(estimator)


def _naive_bayes(estimator: Any) -> nn.Module:
    logarithms = np.log(2 * np.pi * estimator.var_).sum(1)
    return Gaussians(estimator.theta_, estimator.var_**-0.5, np.log(estimator.class_prior_) - logarithms / 2)


def _multinomial(estimator: Any) -> nn.Module:
    return _centred(estimator.feature_log_prob_, estimator.class_log_prior_)


def _centred(weights: Any, bias: Any) -> nn.Module:
    """Without what all classes share, beside which float32 could not resolve what they differ in."""
    return Affine(weights - weights.mean(0), bias - bias.mean())


def _complement(estimator: Any) -> nn.Module:
    weights = estimator.feature_log_prob_
    return _centred(weights, np.zeros(len(weights)))


def _bernoulli(estimator: Any) -> nn.Module | None:
    """Values between 0 and 1 are weights, unless a threshold makes them one of the two."""
    if estimator.binarize is not None:
        return None
    yes = estimator.feature_log_prob_
    no = np.log1p(-np.exp(yes))
    return _centred(yes - no, estimator.class_log_prior_ + no.sum(1))


def _quadratic(estimator: Any) -> nn.Module:
    scalings = [np.asarray(s) for s in estimator.scalings_]
    whitenings = [r * s**-0.5 for r, s in zip(estimator.rotations_, scalings, strict=True)]
    logarithms = np.array([np.log(s).sum() for s in scalings])
    return Gaussians(estimator.means_, whitenings, np.log(estimator.priors_) - logarithms / 2)


def _centroids(estimator: Any) -> nn.Module | None:
    """-|x - c|^2 / 2 without the term in |x|^2, which all classes share."""
    priors = getattr(estimator, "class_prior_", 1 / len(estimator.classes_))
    if estimator.metric != "euclidean" or not np.isclose(priors, 1 / len(estimator.classes_)).all():
        return None
    return Affine(estimator.centroids_, -np.square(estimator.centroids_).sum(1) / 2)


def _best(estimator: Any) -> nn.Module | None:
    return translate(estimator.best_estimator_)


# ------------------------------------------------------------------ transformers


def _pipeline(estimator: Any) -> nn.Module | None:
    steps = [translate(step) for _, step in estimator.steps if step is not None and step != "passthrough"]
    known = [step for step in steps if step is not None]
    return nn.Sequential(*known) if len(known) == len(steps) else None


def _standard(scaler: Any) -> nn.Module:
    mean = 0.0 if scaler.mean_ is None or not scaler.with_mean else scaler.mean_
    factor = 1 / scaler.scale_ if scaler.with_std else np.ones(scaler.n_features_in_)
    return Scale(factor, -mean * factor)


def _min_max(scaler: Any) -> nn.Module:
    scale, (lo, hi) = Scale(scaler.scale_, scaler.min_), scaler.feature_range
    return nn.Sequential(scale, nn.Hardtanh(float(lo), float(hi))) if scaler.clip else scale


def _principal(pca: Any) -> nn.Module:
    components = pca.components_
    if pca.whiten:
        deviations = np.sqrt(pca.explained_variance_)
        components = components / np.maximum(deviations, np.finfo(deviations.dtype).eps)[:, None]
    return Affine(components, -components @ pca.mean_)


def _normalizer(normalizer: Any) -> nn.Module:
    return Normalize({"l1": 1, "l2": 2, "max": np.inf}[normalizer.norm])


_LINEAR = (
    "LinearDiscriminantAnalysis",
    "LinearSVC",
    "LogisticRegression",
    "LogisticRegressionCV",
    "PassiveAggressiveClassifier",
    "Perceptron",
    "RidgeClassifier",
    "RidgeClassifierCV",
    "SGDClassifier",
)
_LINEAR_REGRESSORS = (
    "ARDRegression",
    "BayesianRidge",
    "ElasticNet",
    "ElasticNetCV",
    "HuberRegressor",
    "Lars",
    "LarsCV",
    "Lasso",
    "LassoCV",
    "LassoLars",
    "LassoLarsCV",
    "LassoLarsIC",
    "LinearRegression",
    "LinearSVR",
    "MultiTaskElasticNet",
    "MultiTaskElasticNetCV",
    "MultiTaskLasso",
    "MultiTaskLassoCV",
    "OrthogonalMatchingPursuit",
    "OrthogonalMatchingPursuitCV",
    "PassiveAggressiveRegressor",
    "QuantileRegressor",
    "Ridge",
    "RidgeCV",
    "SGDRegressor",
    "TheilSenRegressor",
)
_OF_A_LINK = ("GammaRegressor", "PoissonRegressor", "TweedieRegressor")
_TRANSLATORS: dict[str, Callable[[Any], nn.Module | None]] = {
    **dict.fromkeys((*_LINEAR, *_LINEAR_REGRESSORS), _linear),
    "BernoulliNB": _bernoulli,
    "ComplementNB": _complement,
    **dict.fromkeys(_OF_A_LINK, _generalised),
    "GaussianNB": _naive_bayes,
    "GridSearchCV": _best,
    "MLPClassifier": _perceptrons,
    "MLPRegressor": _perceptrons,
    "MinMaxScaler": _min_max,
    "MultinomialNB": _multinomial,
    "NearestCentroid": _centroids,
    "Normalizer": _normalizer,
    "NuSVC": _support_vectors,
    "NuSVR": _support_vectors_of_numbers,
    "PCA": _principal,
    "Pipeline": _pipeline,
    "QuadraticDiscriminantAnalysis": _quadratic,
    "RandomizedSearchCV": _best,
    "SVC": _support_vectors,
    "SVR": _support_vectors_of_numbers,
    "StandardScaler": _standard,
}
