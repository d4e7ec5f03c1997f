"""What `verify` looks at: every number a second time, in numpy, from the designs and weights that are stored."""

import math
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from blindspots.errors import InputError
from blindspots.experiments.design.config import DesignConfig
from blindspots.experiments.design.opening import parse_task
from blindspots.experiments.design.tasks import Task
from blindspots.experiments.design.verdict import (
    BOX,
    CLIMB,
    CONSERVATIVE,
    DATA,
    MOLECULES,
    NETWORKS,
    SEQUENCES,
    DesignVerdict,
)
from blindspots.experiments.design.verify_molecules import qed
from blindspots.experiments.design.verify_truths import BOUNDS, FORMULAS, PUBLISHED, ehrlich, reachable
from blindspots.runs.columns import check_columns
from blindspots.runs.experiment import Check
from blindspots.runs.metric import numbers_of
from blindspots.runs.store import Parts
from blindspots.runs.verify import differing, note
from blindspots.runs.world import World

Array = NDArray[Any]
Problems = Iterator[str]
_CLOSE = 1e-9  # between two ways to compute a float64, as a share of the largest value
_STEP = 1e-4  # between two ways to take a step in float32
_KINKS = 0.02  # share of designs at which rounding may decide on which side of a rectifier's kink they are
_ALONE = "a single repeat"


def checks(config: DesignConfig, verdict: DesignVerdict, parts: Parts, world: World) -> Iterator[Check]:
    """What `verify` looks at."""
    proof = _Proof(config, verdict, parts, world)
    yield Check("all parts are there, with all their columns", list(proof.shapes()))
    yield differing("every number of the verdict follows from the parts", numbers_of(verdict), proof.numbers())
    yield Check("the data are the worst of what was drawn", list(proof.worst()))
    yield Check("climbs begin at the best of the data and go where they may", list(proof.ways()))
    yield Check("every prediction follows from the weights", list(proof.predictions()))
    yield Check("the optimum is the published one", list(proof.optimum()))
    if proof.truth is None:
        how = "install 'blindspots[molecules]'" if proof.letters else "pass given={'task': task}"
        yield note(f"The truth is not at hand, so true values were taken as they are stored: {how}.")
        return
    yield Check("every true value is what the truth says", list(proof.truths()))


class _Proof:
    def __init__(self, config: DesignConfig, verdict: DesignVerdict, parts: Parts, world: World) -> None:
        self.config, self.verdict, self.parts = config, verdict, parts
        self.task = {name: column.numpy() for name, column in parts["task"].items()}
        self.drawn, self.values, self.kept = (parts["data"][name].numpy() for name in DATA)
        self.data = np.take_along_axis(self.drawn, self.kept[..., None], 1)
        learned = np.take_along_axis(self.values, self.kept, 1)
        least = learned.min(1)[:, None]
        self.mean, self.sd = least + (learned - least).mean(1)[:, None], (learned - least).std(1, ddof=1)[:, None]
        self.learned = learned
        self.climbs = {name: {k: c.numpy() for k, c in parts[f"climbs/{name}"].items()} for name in config.method}
        self.own = _own_task(config, world)
        self.truth = self._truth()

    @property
    def letters(self) -> int:
        return len(self.task.get("transitions", self.task.get("symbols", ())))

    @property
    def form(self) -> dict[str, str]:
        """The columns of the part "task"."""
        return next((kind for kind in (SEQUENCES, MOLECULES) if kind.keys() <= self.task.keys()), BOX)

    def _truth(self) -> Any:
        if "transitions" in self.task:
            return lambda x: ehrlich(self.task, x)
        if "symbols" in self.task:
            return (lambda x: qed(self.task["symbols"], x)) if find_spec("rdkit") and find_spec("selfies") else None
        low, high = self.task["bounds"].T
        ask = FORMULAS.get(self.config.task) or (self.own.truth if self.own else None)
        return ask and (lambda x: np.asarray(ask(low + (high - low) * (x.astype(np.float64) + 1) / 2), np.float64))

    # -------------------------------------------------------------- parts

    def shapes(self) -> Problems:
        check_columns(self.parts["task"], self.form, "task")
        check_columns(self.parts["data"], DATA, "data")
        learned = {"conservative" if m == "conservative" else "plain" for m in self.config.method}
        for name in learned:
            kinds = CONSERVATIVE if name == "conservative" else NETWORKS
            check_columns(self.parts[f"networks/{name}"], kinds, f"networks/{name}")
        for name in self.config.method:
            check_columns(self.parts[f"climbs/{name}"], CLIMB, f"climbs/{name}")
        expected = {"task", "data", *(f"networks/{n}" for n in learned), *(f"climbs/{m}" for m in self.config.method)}
        if set(self.parts) != expected:
            yield f"expected the parts {', '.join(sorted(expected))}, found {', '.join(self.parts)}"

    def worst(self) -> Problems:
        rest = np.sort(self.values, 1)[:, : self.kept.shape[1]]
        if not np.array_equal(rest, self.learned) or any(len(set(k)) < len(k) for k in self.kept.tolist()):
            yield "expected the worst designs as data, each of them once, found others"
        count = (self.config.repeats, self.config.points)
        if self.values.shape != count:
            yield f"expected {count} designs, found {self.values.shape}"
        if "transitions" in self.task:
            before, after = self.drawn[..., :-1], self.drawn[..., 1:]
            if (self.task["transitions"][before, after] == 0).any():
                yield "expected random sequences without banned transitions, found some"

    # -------------------------------------------------------------- climbs

    def ways(self) -> Problems:
        starts = self.data[:, ::-1][:, : self.config.designs]
        for name, climb in self.climbs.items():
            designs = climb["designs"]
            known = self.learned[:, ::-1][:, : self.config.designs]
            if not (np.array_equal(designs[0], starts) and _alike(climb["true"][0], known)):
                yield f"expected {name} to begin at the best of the data, found another start"
            if not self.letters and np.abs(designs).max() > 1:
                yield f"expected designs of {name} inside the box, found some outside"
            if climb["step"][-1] != self.config.steps:
                yield f"expected {self.config.steps} steps of {name}, found {climb['step'][-1]}"
            yield from self._substitutions(name, climb) if self.letters else self._ascent(name, climb)
        if "trust" in self.climbs and not self._near(self.climbs["trust"]["designs"]):
            yield "expected designs of trust near the data, found some farther away than the region reaches"

    def _substitutions(self, name: str, climb: dict[str, Array]) -> Problems:
        changed = (climb["designs"][1:] != climb["designs"][:-1]).sum(3)
        if (changed > np.diff(climb["step"])[:, None, None]).any():
            yield f"expected one exchanged letter in a step of {name}, found more"
        if (climb["designs"] >= self.letters).any():
            yield f"expected letters below {self.letters} in {name}, found others"

    def _ascent(self, name: str, climb: dict[str, Array]) -> Problems:
        """Steps along the gradient, which numpy takes from the weights; those of a trust region are drawn back.

        Not the first: training puts kinks of rectifiers right on the data, where rounding decides which side counts.
        """
        if self.config.ask_every > 1 or name == "trust":
            return
        x = climb["designs"].astype(np.float64)
        stride = self.config.stride * math.sqrt(x.shape[-1])
        for at in sorted({1, len(x) // 2, len(x) - 2} & set(range(1, len(x) - 1))):
            again = np.clip(x[at] + stride * self._slopes(name, x[at]), -1, 1)
            if (np.abs(again - x[at + 1]).max(2) > _STEP).mean() > _KINKS:
                yield f"expected step {at + 1} of {name} along the gradient, found it elsewhere"

    def _near(self, designs: Array) -> bool:
        for i, data in enumerate(self.data):
            apart = _distances(data, data)
            np.fill_diagonal(apart, np.inf)
            radius = np.quantile(apart.min(1), self.config.trust)
            if (_distances(designs[:, i].reshape(-1, designs.shape[3]), data).min(1) > radius + _STEP).any():
                return False
        return True

    # -------------------------------------------------------------- surrogates

    def _nets(self, method: str) -> tuple[list[Array], int, int]:
        """Weights, networks of every repeat, and how many of these the method asks."""
        made = self.parts[f"networks/{'conservative' if method == 'conservative' else 'plain'}"]
        weights = [made[name].numpy().astype(np.float64) for name in NETWORKS]
        every = len(weights[0]) // len(self.drawn)
        return weights, every, every if method == "ensemble" else 1

    def _features(self, x: Array) -> Array:
        return np.eye(self.letters)[x].reshape(*x.shape[:-1], -1) if self.letters else x.astype(np.float64)

    def predictions(self) -> Problems:
        for name, climb in self.climbs.items():
            weights, every, asked = self._nets(name)
            for i in range(len(self.drawn)):
                x = self._features(climb["designs"][:, i])
                said = np.min([_predicted(weights, i * every + k, x) for k in range(asked)], 0)
                again = self.mean[i] + self.sd[i] * said
                if not _alike(again, climb["predicted"][:, i]):
                    yield f"expected the predictions of {name} in repeat {i} as its weights give them, found others"

    def _slopes(self, name: str, x: Array) -> Array:
        """(r, m, size)"""
        weights, every, asked = self._nets(name)
        found = []
        for i, here in enumerate(x):
            members = [_slope(weights, i * every + k, here) for k in range(asked)]
            lowest = np.argmin([_predicted(weights, i * every + k, here) for k in range(asked)], 0)
            found.append(np.take_along_axis(np.stack(members), lowest[None, :, None], 0)[0])
        return np.stack(found)

    # -------------------------------------------------------------- truths

    def truths(self) -> Problems:
        asked = {"the random designs": (self.drawn, self.values)}
        asked |= {f"the climbs of {name}": (c["designs"], c["true"]) for name, c in self.climbs.items()}
        for what, (designs, stored) in asked.items():
            again = self.truth(designs.reshape(-1, designs.shape[-1])).reshape(stored.shape)
            if not _alike(again, stored):
                yield f"expected the true values of {what} as the truth gives them, found others"

    def optimum(self) -> Problems:
        task, stated = self.config.task, self.verdict.optimum
        if "transitions" in self.task and not (reachable(self.task) and stated == 1):
            yield "expected a chain that reaches every letter and a sequence of value 1, found none"
        if task in PUBLISHED:
            value, places = PUBLISHED[task]
            if stated != value or not np.array_equal(self.task["bounds"], np.array(BOUNDS[task], dtype=np.float64)):
                yield f"expected {value} in {BOUNDS[task]}, found {stated} in {self.task['bounds'].tolist()}"
            if np.abs(FORMULAS[task](np.array(places)) - value).max() > 1e-5:
                yield f"expected the formula of {task} to be {value} at its published maximisers, found another value"
        elif self.own and self.own.optimum != stated:
            yield f"expected the optimum {self.own.optimum} of the task, found {stated}"

    # -------------------------------------------------------------- the verdict

    def numbers(self) -> dict[str, Any]:
        methods = [self._method(name) for name in self.config.method]
        for method in methods:
            for which, left in (("mean", "left_mean"), ("chosen", "left_chosen")):
                naive = methods[0][which]["sd"]["over"]["mean"]
                method[left] = method[which]["sd"]["over"]["mean"] / naive if naive else None
        known = self.own.optimum if self.own else PUBLISHED.get(self.config.task, (self.verdict.optimum,))[0]
        unit = self.own.unit if self.own else self.verdict.unit if self.truth is None else ""
        return {
            "rows": self.kept.shape[1], "repeats": len(self.drawn), "unit": unit,
            "optimum": 1.0 if "transitions" in self.task else known,
            "best_data": _estimate(self.learned.max(1)), "best_drawn": _estimate(self.values.max(1)),
            "deviation": _estimate(self.sd[:, 0]), "methods": methods,
            "asked": self.values.size + sum(c["true"].size for c in self.climbs.values()),
        }  # fmt: skip

    def _method(self, name: str) -> dict[str, Any]:
        said, true = (self.climbs[name][k][-1] for k in ("predicted", "true"))
        one, reference = self._chosen(name), self._chosen("naive")
        better = (one[1] - reference[1]) / self.sd
        return {
            "name": name, "mean": self._outcome(said, true), "chosen": self._outcome(*one),
            "better": _estimate(better[:, 0]),
        }  # fmt: skip

    def _chosen(self, name: str) -> tuple[Array, Array]:
        said, true = (self.climbs[name][k][-1] for k in ("predicted", "true"))
        best = [int(np.argmax(row)) for row in said]
        return tuple(np.array([[row[i]] for row, i in zip(end, best, strict=True)]) for end in (said, true))  # type: ignore[return-value]

    def _outcome(self, said: Array, true: Array) -> dict[str, Any]:
        def numbers(a: Array, b: Array) -> dict[str, Any]:
            gap = a - b
            each = {"predicted": a, "true": b, "gap": gap, "over": np.where(gap > 0, gap, 0), "error": np.fabs(gap)}
            return {name: _estimate(v.mean(1)) for name, v in each.items()}

        return {"sd": numbers((said - self.mean) / self.sd, (true - self.mean) / self.sd), "unit": numbers(said, true)}


def _own_task(config: DesignConfig, world: World) -> Task | None:
    """The task of a user, where it is at hand."""
    if isinstance(given := world.given.get("task"), Task):
        return given
    try:
        found = None if config.task in FORMULAS else parse_task(config.task)
    except InputError:
        return None
    return found if isinstance(found, Task) else None


def _alike(a: Array, b: Array) -> bool:
    return bool(np.abs(a - b).max() <= _CLOSE * max(np.abs(b).max(), 1))


def _distances(a: Array, b: Array) -> Array:
    if a.dtype == np.uint8:
        return np.asarray((a[:, None] != b[None]).sum(2), np.float64)
    return np.asarray(np.linalg.norm(a[:, None].astype(np.float64) - b[None], axis=2))


def _layers(w: list[Array], k: int, x: Array) -> tuple[Array, Array]:
    a = np.maximum(x @ w[0][k] + w[1][k], 0)
    return a, np.maximum(a @ w[2][k] + w[3][k], 0)


def _predicted(w: list[Array], k: int, x: Array) -> Array:
    return np.asarray((_layers(w, k, x)[1] @ w[4][k] + w[5][k])[..., 0])


def _slope(w: list[Array], k: int, x: Array) -> Array:
    """By the chain rule: (m, f)."""
    a, b = _layers(w, k, x)
    return np.asarray((np.where(b > 0, w[4][k][:, 0], 0) @ w[2][k].T * (a > 0)) @ w[0][k].T)


def _estimate(values: Array) -> dict[str, Any]:
    mean, n = float(np.mean(values)), len(values)
    if n < 2:
        return {"mean": mean, "interval": _ALONE}
    low, high = student.interval(0.95, n - 1, mean, math.sqrt(float(np.var(values, ddof=1)) / n) or 1e-300)
    return {"mean": mean, "interval": [float(low), float(high)]}
