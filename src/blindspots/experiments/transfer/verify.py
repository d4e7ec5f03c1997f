"""Proves a transfer run again: the models are asked anew about all that they were fed, and everything is recounted."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, zero_one_loss
from torch import Tensor

from blindspots.ball import Ball
from blindspots.experiments.evaluate.verify_texts import decoded, exchanges
from blindspots.experiments.transfer.changes import fed, noise_beside
from blindspots.experiments.transfer.config import TransferConfig
from blindspots.experiments.transfer.models import opened, owner
from blindspots.experiments.transfer.texts import threat_of
from blindspots.experiments.transfer.verdict import ANSWERS, CLEAN, SOURCE, TransferVerdict, made_for
from blindspots.models.model import Model
from blindspots.packing import unpack_inputs
from blindspots.runs.again import NORM_ROUNDING, SLACK, UNIT_ROUNDOFF, Array, norms, predictions, rms, share
from blindspots.runs.columns import check_columns
from blindspots.runs.experiment import Check, Columns
from blindspots.runs.metric import numbers_of
from blindspots.runs.store import Parts
from blindspots.runs.verify import differing, note
from blindspots.runs.world import World
from blindspots.texts.threats import TextThreat

Problems = Iterator[str]


def checks(config: TransferConfig, verdict: TransferVerdict, parts: Parts, world: World) -> Iterator[Check]:
    """What `verify` looks at. Shares, intervals and tests are those of scikit-learn and scipy, not the run's."""
    proof = _Proof(config, parts, world)
    yield Check("all rows are there, with all their columns", list(proof.shapes()))
    yield Check("every example lies where it may, and has the size that is stored", proof.of_all(proof.inside))
    yield Check("what is stored of a source agrees with what is stored of it as a model", proof.of_all(proof.alike))
    yield differing("every number of the verdict follows from the parts", numbers_of(verdict), proof.numbers())
    if config.attacked in world.same:
        yield Check("the clean rows are those of the data", list(proof.clean_rows()))
    if config.split:
        yield note("Networks were not trained again: their weights are taken as they are stored.")
    if all(world.same.get(name) for name in config.models()):
        yield Check("the models say of the clean rows what was stored", list(proof.clean_answers()))
        yield Check("the models say of the examples, and of noise as large, what was stored", proof.of_all(proof.asked))


class _Proof:
    def __init__(self, config: TransferConfig, parts: Parts, world: World) -> None:
        self.config, self.parts, self.world = config, parts, world
        tables = {"clean": CLEAN, "sources": SOURCE, "answers": ANSWERS}
        for name in parts:
            if table := tables.get(name.partition("/")[0]):
                check_columns(parts[name], table, name)
        self.clean = parts["clean"]
        self.x, self.y = unpack_inputs(self.clean["x"]), self.clean["y"]
        self.threat = threat_of(config, world)

    def of_all(self, problems: Any) -> list[str]:
        """What speaks against any of the sources, one after the other."""
        return [said for i in range(1, len(self.config.sources) + 1) for said in problems(i, made_for(self.parts, i))]

    def shapes(self) -> Problems:
        """As many entries as rows, of as many models as were named."""
        rows, models = self.parts.begun.manifest.world[self.config.attacked]["rows"], len(self.config.sizes)
        if self.clean["prediction"].shape != (models, rows) or len(self.y) != rows:
            yield f"expected what {models} models say of {rows} rows, found {tuple(self.clean['prediction'].shape)}"
        for i, source in enumerate(self.config.sources, 1):
            made = made_for(self.parts, i)
            sizes = {len(made[name]) for name in ("moved", "target", *ANSWERS) if "prediction" not in name}
            if sizes != {rows} or any(made[f"{of}prediction"].shape != (models, rows) for of in ("", "noise_")):
                yield f"expected {rows} rows and {models} models for {source.name}, found others"

    # -------------------------------------------------------------- from what is stored

    def _fed(self, made: Columns) -> Tensor:
        return fed(self.x, made["moved"], self.config.amplify, self.threat)

    def inside(self, number: int, made: Columns) -> Problems:
        """In the box, in the ball if there is one, and of the sizes that were stored, all taken again in float64."""
        if not isinstance(self.threat, Ball):
            yield from self._of_lattices(number, made)
            return
        name, moved = self.config.sources[number - 1].name, self._fed(made).double().numpy()
        lo, hi = self.config.bounds
        if moved.min() < lo or moved.max() > hi:
            yield f"expected what was made for {name} in the box from {lo:g} to {hi:g}, found values outside"
        sizes = norms(self.threat.name, moved - self.x.double().numpy())
        stored = np.allclose(sizes, made["norm"].numpy(), rtol=NORM_ROUNDING, atol=1e-6)
        if not (stored and _near(rms(moved - self.x.double().numpy()), made["rms"])):
            yield f"expected changes for {name} of the sizes that were stored, found others"
        radius = self.threat.radius
        if radius is not None:
            most = radius * (1 + SLACK) + UNIT_ROUNDOFF * norms(self.threat.name, moved)
            if (sizes > (radius if self.threat.name == "l0" else most)).any():
                yield f"expected changes for {name} of at most {radius:g}, found {float(sizes.max()):g}"
        noise = noise_beside(self.x, self._fed(made), self.config.seed, number, self.threat).double().numpy()
        if not _near(rms(noise - self.x.double().numpy()), made["noise_rms"]):
            yield f"expected other noise beside {name} than its seed gives"

    def _of_lattices(self, number: int, made: Columns) -> Problems:
        """Made by so few exchanges that the lattice allows, counted by other code, and noise by as many."""
        name, sizes = self.config.sources[number - 1].name, self._exchanges(made["moved"])
        if np.isinf(sizes).any():
            yield f"expected texts for {name} that few enough exchanges of their lattices make, found others"
        if not all(np.array_equal(sizes, made[column].numpy()) for column in ("norm", "rms")):
            yield f"expected changes for {name} of the sizes that were stored, found others"
        noise = noise_beside(self.x, self._fed(made), self.config.seed, number, self.threat)
        if not np.array_equal(self._exchanges(noise), made["noise_rms"].numpy()):
            yield f"expected other noise beside {name} than its seed gives"

    def _exchanges(self, moved: Tensor) -> Array:
        """How many exchanges make each text; inf where it is none of its lattice, or more than may be."""
        assert isinstance(self.threat, TextThreat)
        lattices = [json.loads(self.threat.lattice(decoded(row)).to_json()) for row in self.x.numpy()]
        rows = zip(lattices, map(decoded, moved.numpy()), self.threat.reach(self.x).tolist(), strict=True)
        return np.array([exchanges(*row) for row in rows])

    def alike(self, number: int, made: Columns) -> Problems:
        """A source that is one of the models says the same in both places, and was fooled where it says so."""
        name, target = self.config.sources[number - 1].name, made["target"]
        if number <= len(self.config.names):
            same = torch.equal(made["own"], made["prediction"][number - 1])
            if not (same and torch.equal(made["own_clean"], self.clean["prediction"][number - 1])):
                yield f"expected {name} to say the same of its own examples in both places"
        found = torch.where(target >= 0, made["own"] == target, made["own"] != self.y)
        if self.config.amplify is None and not torch.equal(made["found"], found):
            yield f"expected examples for {name} to be counted as found where it is fooled"

    # -------------------------------------------------------------- counted again

    def numbers(self) -> dict[str, Any]:
        """The verdict, cell by cell."""
        made = [made_for(self.parts, i) for i in range(1, len(self.config.sources) + 1)]
        count, names = len(self.config.names), [source.name for source in self.config.sources]
        y, clean = self.y.numpy(), self.clean["prediction"].numpy()
        return {
            **_matrices(names[:count], y, clean, made[:count]),
            "models": self.config.names,
            "rows": len(y),
            "clean_error": [share(int(zero_one_loss(y, said, normalize=False)), len(y)) for said in clean],
            "ensemble": _matrices(names[count:], y, clean, made[count:]) if names[count:] else None,
        }

    # -------------------------------------------------------------- from data and models

    def clean_rows(self) -> Problems:
        data = self.world.rows[self.config.attacked]
        x, y = data.rows(0, len(data))
        if not (torch.equal(x, self.x) and torch.equal(y, self.y)):
            yield f"expected the rows and labels of {data.name} among the clean rows, found others"

    def _models(self) -> list[Model]:
        weights = [self.parts[name] for name in self.parts if name.startswith("trained/")]
        return self.world.once("models", lambda: opened(self.config, self.world, tuple(self.x.shape[1:]), weights))

    def clean_answers(self) -> Problems:
        self.world.say("asking all models about the clean rows")
        yield from self._said(self._models(), self.config.names, self.x, self.clean["prediction"], "the clean rows")

    def asked(self, number: int, made: Columns) -> Problems:
        source, models, shown = self.config.sources[number - 1], self._models(), self._fed(made)
        self.world.say(f"asking all models about what was made for {source.name}")
        noise = noise_beside(self.x, shown, self.config.seed, number, self.threat)
        yield from self._said(models, self.config.names, shown, made["prediction"], f"what was made for {source.name}")
        yield from self._said(models, self.config.names, noise, made["noise_prediction"], f"noise beside {source.name}")
        if len(source.members) > 1 or self.config.amplify is not None:
            yield from self._own(number, made, shown)

    def _own(self, number: int, made: Columns, shown: Tensor) -> Problems:
        """What an average says of its own examples; of any source, whether it was fooled before they were amplified."""
        source, target = self.config.sources[number - 1], made["target"]
        fooled = owner(source, self._models())
        stored = [("own_clean", self.x), ("own", shown)]
        for column, x in stored:
            yield from self._said([fooled], [source.name], x, made[column][None], "its own rows")
        said, edge = self._answers(fooled, made["moved"])
        found = torch.where(target >= 0, said == target, said != self.y)
        if bool(((found != made["found"]) & ~edge).any()):
            yield f"expected examples for {source.name} to be counted as found where it is fooled"

    def _said(self, models: Sequence[Model], names: Sequence[str], x: Tensor, stored: Tensor, what: str) -> Problems:
        """The models' answers, but where rounding decides between the two best scores."""
        for model, name, before in zip(models, names, stored, strict=True):
            said, edge = self._answers(model, x)
            differ = int(((said != before) & ~edge).sum())
            if differ:
                yield f"expected {name} to say of {what} what was stored, but predictions differ on {differ:,} rows"

    def _answers(self, model: Model, x: Tensor) -> tuple[Tensor, Tensor]:
        """In calls as large as the run's."""
        return predictions(model, x, self.config.chunk or 1, self.config.seed)


# ------------------------------------------------------------------ the same numbers by other means


def _matrices(names: Sequence[str], y: Array, clean: Array, made: Sequence[Columns]) -> dict[str, Any]:
    sources = [{name: t.numpy() for name, t in columns.items() if name != "moved"} for columns in made]
    return {
        "sources": list(names),
        **_cells("error", [[_errors(y, said) for said in s["prediction"]] for s in sources]),
        "error_of_right": [[_of_right(s, y, c, said) for c, said in _pairs(clean, s)] for s in sources],
        **_cells("agreement", [[_alike(s, y, said) for said in s["prediction"]] for s in sources]),
        "agreement_of_errors": [[_of_errors(s, y, said) for said in s["prediction"]] for s in sources],
        "targeted": _targeted(clean, sources),
        **_cells("noise", [[_errors(y, said) for said in s["noise_prediction"]] for s in sources]),
        "noise_p_value": [[_sign_test(y, *two) for two in _pairs(s["prediction"], s, "noise_")] for s in sources],
        "distortion": [_mean(s["rms"], s["rms"]) for s in sources],
        "noise_distortion": [_mean(s["noise_rms"], s["rms"]) for s in sources],
        "norm": [_mean(s["norm"], s["rms"]) for s in sources],
        "changed": [int(np.count_nonzero(s["rms"])) for s in sources],
        "found": [_found(s, any((s["target"] >= 0).any() for s in sources)) for s in sources],
        "forwards": [int(s["cost"].sum(0)[0]) for s in sources],
        "backwards": [int(s["cost"].sum(0)[1]) for s in sources],
    }


def _pairs(first: Array, source: dict[str, Array], of: str = "") -> Iterator[tuple[Array, Array]]:
    return zip(first, source[f"{of}prediction"], strict=True)


def _cells(name: str, shares: list[list[dict[str, Any]]]) -> dict[str, Any]:
    return {
        name: [[share["share"] for share in row] for row in shares],
        f"{name}_interval": [[share["interval"] for share in row] for row in shares],
    }


def _errors(y: Array, said: Array) -> dict[str, Any]:
    return share(len(y) - int(accuracy_score(y, said, normalize=False)), len(y))


def _of_right(s: dict[str, Array], y: Array, clean: Array, said: Array) -> dict[str, Any]:
    right = np.flatnonzero((s["own_clean"] == y) & (clean == y))
    return share(int(np.count_nonzero(said[right] != y[right])), len(right))


def _both(s: dict[str, Array], y: Array, said: Array) -> int:
    """Rows that the model gets wrong as the source does, row by row."""
    rows = zip(y.tolist(), s["own"].tolist(), said.tolist(), strict=True)
    return sum(own == other and own not in (label, -1) for label, own, other in rows)


def _alike(s: dict[str, Array], y: Array, said: Array) -> dict[str, Any]:
    return share(_both(s, y, said), len(y))


def _of_errors(s: dict[str, Array], y: Array, said: Array) -> dict[str, Any]:
    return share(_both(s, y, said), int(np.count_nonzero((said != y) & (s["own"] != y))))


def _targeted(clean: Array, sources: Sequence[dict[str, Array]]) -> list[list[dict[str, Any]]] | None:
    if not any((s["target"] >= 0).any() for s in sources):
        return None
    return [[_reached(s["target"], c, said) for c, said in _pairs(clean, s)] for s in sources]


def _reached(target: Array, clean: Array, said: Array) -> dict[str, Any]:
    rows = [(t, s) for t, c, s in zip(target.tolist(), clean.tolist(), said.tolist(), strict=True) if t not in (-1, c)]
    return share(sum(t == s for t, s in rows), len(rows))


def _found(s: dict[str, Array], targeted: bool) -> dict[str, Any]:
    among = (s["target"] != -1) & (s["target"] != s["own_clean"]) if targeted else np.ones(len(s["found"]), bool)
    return share(int(s["found"][among].sum()), int(among.sum()))


def _sign_test(y: Array, said: Array, of_noise: Array) -> float:
    """McNemar's exact test, one-sided, by scipy."""
    only, other = int(((said != y) & (of_noise == y)).sum()), int(((said == y) & (of_noise != y)).sum())
    return float(binomtest(only, only + other, alternative="greater").pvalue) if only + other else 1.0


def _mean(sizes: Array, changes: Array) -> float:
    changed = sizes[changes > 0].astype(np.float64)
    return float(changed.mean()) if changed.size else 0.0


def _near(sizes: Array, stored: Tensor) -> bool:
    return bool(np.allclose(sizes, stored.numpy(), rtol=1e-4, atol=1e-7))
