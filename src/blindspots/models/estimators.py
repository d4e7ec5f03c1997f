"""Fitted estimators as models: networks where their formulas are known, trees as trees, else black boxes."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from blindspots.arguments import checked
from blindspots.box import Numbers, as_box
from blindspots.errors import InputError
from blindspots.models.blackbox import BlackBox
from blindspots.models.classifiers import Flatten, features_of, from_classifier, probes_within, quiet
from blindspots.models.columns import ColumnPipeline, takes_columns
from blindspots.models.model import Model
from blindspots.models.pipelines import TextEstimator, takes_texts
from blindspots.models.translate import translate
from blindspots.models.trees.objects import is_booster, tree_model

_AGREEMENT = 1e-4  # of a translation with the regressor, relative to the spread of its predictions


@checked()
def from_estimator(
    estimator: Any,
    bounds: tuple[Numbers, Numbers] | None = None,
    name: str | None = None,
    spec: str | None = None,
    shape: Sequence[int] | None = None,
) -> Model:
    """A fitted scikit-learn classifier or regressor as a model of inputs (B, *shape), flattened to its features.

    Class i is `estimator.classes_[i]`, which is also its name: pass labels as the estimator was fitted on them, words
    or numbers such as 3, 5 and 8.

    These become networks in float64, so they have gradients: LogisticRegression, LinearSVC, SGDClassifier,
    Perceptron, PassiveAggressiveClassifier, RidgeClassifier, LinearDiscriminantAnalysis, MLPClassifier, SVC and NuSVC
    (kernels linear, rbf, poly and sigmoid), GaussianNB, MultinomialNB, QuadraticDiscriminantAnalysis, NearestCentroid
    (Euclidean, equal priors), ComplementNB, BernoulliNB without a threshold, the best estimator of a grid or random
    search, and a Pipeline of StandardScaler, MinMaxScaler, PCA and Normalizer that ends in one of them. Their logits
    are the `decision_function`, with z of two classes as (-z/2, z/2); the logarithm of `predict_proba` for GaussianNB
    and QuadraticDiscriminantAnalysis; and c x - |c|^2 / 2 for the centroids c of NearestCentroid. In a support vector
    machine with more than two classes, class i gets the smallest of its decisions against the others, so that the
    margin is zero exactly where the prediction changes: see `translate.OneVsOne`. Softmax of the logits is
    `predict_proba` for logistic regression, discriminant analysis, neural networks and naive Bayes.

    Decision trees, forests, extra trees, gradient boosting and histogram gradient boosting of scikit-learn, and the
    models of XGBoost, LightGBM and CatBoost, with scikit-learn's methods or without (`Booster`), become a `TreeModel`,
    classifiers and regressors alike: their trees are read, and answer bit for bit as they do. So do scikit-learn's, but
    for the last, in a Pipeline behind StandardScaler, MinMaxScaler, MaxAbsScaler and RobustScaler.

    A Pipeline with a ColumnTransformer that was fitted on a data frame takes the columns of a table by their names: see
    `from_columns`. It needs a table with a feature file.

    Everything else (nearest neighbours, votes, classes from other packages) becomes a `BlackBox` that returns
    `predict_proba`, else `decision_function`, else labels: the first of these whose largest entry is the output of
    `predict`. Its digest covers the outputs for 512 fixed inputs. To get gradients, train a network on its labels:
    `blindspots.experiments.transfer.substitute.train_substitute`.

    Regressors become models of values (B,), or (B, k) where they predict several numbers, for goals such as
    `goals.Move`. With gradients: the linear ones (LinearRegression, Ridge, Lasso, ElasticNet, those along LARS and of
    several tasks, BayesianRidge, ARDRegression, HuberRegressor, QuantileRegressor, TheilSenRegressor, SGDRegressor,
    LinearSVR), PoissonRegressor, GammaRegressor, TweedieRegressor, MLPRegressor, SVR, NuSVR, and searches and pipelines
    as above; every other one is a `BlackBox` that returns `predict`.

    Classifiers with a CountVectorizer, TfidfVectorizer or HashingVectorizer among their steps, also inside a
    FeatureUnion, a search or a calibration, become a `TextModel`. They are asked for `decision_function`, else
    `predict_log_proba`, else `predict_proba`, else labels: the first of these whose largest entry is what `predict`
    says, for 256 texts of words that they know. Bounds and shape mean nothing for them.

    Args:
        estimator: fitted on one label per row, integers or words.
        bounds: the smallest and the largest value an input can have, before the pipeline's own scaling; arrays where
            features differ, as in bounds=(x.min(0), x.max(0)). None: those of the data that it is run on.
        name: its name in reports. Default: the class, for a pipeline that of the last step.
        spec: what `load_model` was given, if anything.
        shape: of one input; others are refused. None: any shape with as many numbers as there are features.

    Raises:
        InputError: it is not a fitted classifier or regressor, or the shape does not fit.
    """
    called = name or type(getattr(estimator, "steps", [(None, estimator)])[-1][1]).__name__
    if is_estimator(estimator) and takes_columns(estimator):
        return ColumnPipeline(estimator, called, spec)
    if is_estimator(estimator) and (trees := tree_model(estimator, bounds, called, spec, shape)) is not None:
        return trees
    of_values = _is_regressor(estimator)
    if takes_texts(estimator):
        _refuse_numbers(called, of_values)
        return TextEstimator(estimator, called, spec)
    make = from_regressor if of_values else from_classifier
    made = make(estimator, (0.0, 1.0) if bounds is None else bounds, called, spec, shape)
    made.bounded = bounds is not None
    return made


def _refuse_numbers(called: str, of_values: bool) -> None:
    if of_values:
        raise InputError(
            f"expected a classifier of texts, got {called}, which predicts numbers: evaluate it on inputs of numbers"
        )


def is_estimator(thing: Any) -> bool:
    """Whether it has the methods of scikit-learn's estimators, fitted or not, classifier or not, or is a booster."""
    methods = not isinstance(thing, type) and hasattr(thing, "get_params") and hasattr(thing, "fit")
    return methods or is_booster(thing)


def _is_regressor(estimator: Any) -> bool:
    if not is_estimator(estimator):
        raise InputError(
            f"expected a scikit-learn classifier or regressor, got {type(estimator).__name__}, which has not their "
            "methods: pass another"
        )
    from sklearn.base import is_regressor

    return bool(is_regressor(estimator))


def from_regressor(
    estimator: Any, bounds: tuple[Numbers, Numbers], name: str, spec: str | None, shape: Sequence[int] | None
) -> Model:
    """See `from_estimator`."""
    _check_fitted(estimator)
    flatten = Flatten(features_of(estimator, shape), None if shape is None else tuple(shape))
    net = translate(estimator)
    if net is not None:
        model = Model(nn.Sequential(flatten, net), bounds, output="values", name=name, spec=spec)
        if _agrees(model, estimator, flatten, bounds):
            return model
    return _AskedRegressor(estimator, flatten, bounds, name, spec)


class _AskedRegressor(BlackBox):
    """A black box around a fitted regressor."""

    def __init__(
        self, estimator: Any, flatten: Flatten, bounds: tuple[Numbers, Numbers], name: str, spec: str | None
    ) -> None:
        super().__init__(self._predicted, "values", bounds=bounds, name=name)
        self.estimator, self.flatten, self.spec = estimator, flatten, spec

    def _predicted(self, x: Any) -> Any:
        return _predict(self.estimator, self.flatten(torch.from_numpy(x)).numpy())

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of class, bounds and the outputs for fixed inputs, equal wherever the regressor is loaded."""
        said = np.ascontiguousarray(_predict(self.estimator, probes_within(self.box, self.flatten).numpy()))
        kind = (type(self.estimator).__qualname__, self.bounds, said.shape)
        return hashlib.sha256(repr(kind).encode() + said.tobytes()).hexdigest()


def _predict(estimator: Any, x: Any) -> Any:
    with quiet(f"{type(estimator).__name__}.predict"):
        return np.asarray(estimator.predict(x.astype(np.float64)), np.float32)


def _agrees(model: Model, estimator: Any, flatten: Flatten, bounds: tuple[Numbers, Numbers]) -> bool:
    """Whether the model predicts what the regressor does, but for rounding."""
    probes = probes_within(as_box(*bounds), flatten)
    with torch.no_grad():
        said = model.logits(flatten.undone(probes)).numpy()
    wanted = _predict(estimator, probes.numpy())
    return bool(np.abs(said.reshape(wanted.shape) - wanted).max() <= _AGREEMENT * (wanted.std() + np.abs(wanted).max()))


def _check_fitted(estimator: Any) -> None:
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    try:
        check_is_fitted(estimator)
    except NotFittedError as error:
        raise InputError(f"expected a fitted {type(estimator).__name__}: call fit(x, y) on it first") from error
