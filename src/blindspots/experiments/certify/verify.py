"""Proves a certification again: radii from the stored votes, of some rows and of all finds the votes themselves."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from scipy.stats import beta, binomtest, norm
from torch import Tensor

from blindspots.errors import InputError
from blindspots.experiments.certify.config import CertifyConfig
from blindspots.experiments.certify.exchanges import SmoothedTexts
from blindspots.experiments.certify.noise import COUNTING, JUDGING, SELECTING, block_of, gaussian
from blindspots.experiments.certify.verdict import ATTACKS, ROWS, CertifyVerdict
from blindspots.experiments.certify.verify_texts import checks as checks_of_texts
from blindspots.experiments.evaluate.verify_texts import with_candidates
from blindspots.models.model import Model
from blindspots.models.texts import TextModel
from blindspots.random import keys
from blindspots.runs.again import EDGE, SLACK, share
from blindspots.runs.columns import check_columns
from blindspots.runs.experiment import Check
from blindspots.runs.metric import numbers_of
from blindspots.runs.store import Parts, Run
from blindspots.runs.verify import SAME, differing, note
from blindspots.runs.world import World

REDRAWN = 3  # rows whose votes are taken again
Problems = Iterator[str]


def inside(run: Run[CertifyConfig, CertifyVerdict], part: str, world: World) -> Mapping[str, Any]:
    """What was attacked: the model or its vote under exchanges; and its rows, as far as they can be had."""
    config, model = run.config, world.named("model")
    if config.method == "votes" and isinstance(model, TextModel):
        threat = with_candidates(world)
        if threat is None:
            raise InputError("expected the candidates of the run, which the vote depends on, found none or others")
        model = SmoothedTexts(model, threat, draws=config.draws, seed=config.seed)
    return {"model": model, **({"data": world.data} if "data" in world.same else {})}


def checks(config: CertifyConfig, verdict: CertifyVerdict, parts: Parts, world: World) -> Iterator[Check]:
    """What `verify` looks at. Bounds and shares are scipy's, not what the run used."""
    if config.threat is not None:
        yield from checks_of_texts(config, verdict, parts, world)
        return
    proof = _Proof(config, parts, world)
    yield Check("all rows are there, with all their columns", list(proof.shapes()))
    yield Check("every prediction and every radius follows from its votes", list(proof.radii()))
    yield differing("every number of the verdict follows from the rows", numbers_of(verdict), proof.numbers())
    if not world.same.get("model") or not world.same.get("data", True):
        return
    if "data" not in world.same:
        yield note("The data are not at hand, so no votes were taken again.")
        return
    yield Check(f"the votes of {len(proof.redrawn)} rows came out again", list(proof.votes()))
    yield Check("what attacks found lies within its radius and is taken for another class", list(proof.found()))


class _Proof:
    def __init__(self, config: CertifyConfig, parts: Parts, world: World) -> None:
        self.config, self.world, self.parts = config, world, parts
        for kind, table in (("rows", ROWS), ("attacks", ATTACKS)):
            for name in parts:
                if name.startswith(f"{kind}/"):
                    check_columns(parts[name], table, name)
        self.rows, self.finds = parts.joined("rows"), parts.joined("attacks")
        self.c = {name: t.numpy() for name, t in {**self.finds, **self.rows}.items()}
        n = len(self.rows["y"])
        self.redrawn = sorted({0, n // 2, n - 1})[:REDRAWN]

    def shapes(self) -> Problems:
        """As many entries as rows, and the finds are of the rows that fell."""
        rows, expected = len(self.c["y"]), self.parts.begun.manifest.world["data"]["rows"]
        if not rows == expected == len(self.c["broken_at"]):
            yield f"expected {expected} rows, as many as the data have, found {rows} and {len(self.c['broken_at'])}"
        fell = np.flatnonzero(np.isfinite(self.c["broken_at"]))
        if not np.array_equal(np.sort(self.c["broken"]), fell):
            yield f"expected broken to name the {len(fell)} rows with a find, found other rows"

    # -------------------------------------------------------------- from the votes

    def radii(self) -> Problems:
        c, m = self.c, self.config
        top = c["selected"].argmax(1)
        hits = np.take_along_axis(c["counts"], top[:, None], 1)[:, 0]
        if (c["counts"].sum(1) > c["draws"]).any() or (c["counts"] < 0).any() or (c["draws"] > m.samples).any():
            yield "expected no more votes than draws, found more"
        low = np.nan_to_num(beta.ppf(m.alpha, hits, m.samples - hits + 1))  # of no hits: nan
        sure = np.where(low > 0.5, m.noise * norm.ppf(low), 0.0)
        yield from _told(~np.isclose(c["radius"], sure, rtol=SAME, atol=SAME), "the radius that its votes prove")
        yield from _told(c["prediction"] != np.where(sure > 0, top, -1), "the class that its votes prove")
        left = hits + m.samples - c["draws"]
        hopeless = beta.ppf(m.alpha, left, m.samples - left + 1) <= 0.5
        yield from _told((left > hits) & ~hopeless, f"{m.samples:,} draws, since they could have certified it")

    def numbers(self) -> dict[str, Any]:
        """The verdict, counted row by row."""
        y, said, sure = self.c["y"].tolist(), self.c["prediction"].tolist(), self.c["radius"].tolist()
        fell, base = self.c["broken_at"].tolist(), self.c["base"].tolist()
        right = [a == b for a, b in zip(said, y, strict=True)]
        radii, n = list(self.config.radii or ()), len(y)
        clean = share(sum(right), n)
        certified = [(r, share(sum(ok and s > r for ok, s in zip(right, sure, strict=True)), n)) for r in radii]
        standing = [(r, share(sum(ok and f > r for ok, f in zip(right, fell, strict=True)), n)) for r in radii]
        votes = sum(row[label] for row, label in zip(self.c["counts"].tolist(), y, strict=True))
        costs = np.sum([self.parts[name]["cost"].numpy() for name in self.parts], 0).tolist()
        return {
            "rows": n,
            "clean_accuracy": clean["share"],
            "clean_interval": clean["interval"],
            "abstained": share(said.count(-1), n),
            "base": share(sum(a == b for a, b in zip(base, y, strict=True)), n),
            "noisy_accuracy": votes / sum(self.c["draws"].tolist()),
            "certified": certified,
            "empirical": standing if self.config.draws else [],
            "mean_radius": sum(s for ok, s in zip(right, sure, strict=True) if ok) / n,
            "forwards": costs[0],
            "backwards": costs[1],
        }

    # -------------------------------------------------------------- from the model

    def votes(self) -> Problems:
        m, data = self.config, self.world.data
        for i in self.redrawn:
            self.world.say(f"taking the votes of row {i:,} again")
            x, y = data.rows(i, i + 1)
            if int(y[0]) != int(self.c["y"][i]):
                yield f"expected the label {int(y[0])} of the data, found {int(self.c['y'][i])} in row {i}"
            for column, purpose, n in (("selected", SELECTING, m.n0), ("counts", COUNTING, int(self.c["draws"][i]))):
                logits = self._answers(x[0], keys(m.seed, torch.tensor([i]), purpose)[0], n)
                yield from _same(logits, self.rows[column][i], f"{column} of row {i}")

    def _answers(self, x: Tensor, key: Tensor, n: int) -> Tensor:
        """Scores (n, C) under the draws of a key."""
        return torch.cat(list(answers(self.world.model, x, key, n, self.config)))

    def found(self) -> Problems:
        (lo, hi), data, c = self.world.model.bounds, self.world.data, self.finds
        for i, moved, stored in zip(c["broken"].tolist(), c["adversarial"], c["votes"], strict=True):
            x, radius = data.rows(i, i + 1)[0][0], float(c["broken_at"][i])
            size = float((moved - x).double().norm())
            if not size <= radius * (1 + SLACK) or moved.min() < lo or moved.max() > hi:
                yield f"expected a find within L2 {radius:g} and the bounds for row {i}, found {size:g}"
            key = keys(self.config.seed, torch.tensor([i]), JUDGING)[0]
            yield from _same(self._answers(moved, key, self.config.judged), stored, f"votes on the find of row {i}")
            if not _other_class(stored, int(self.rows["y"][i]), self.config.alpha):
                yield f"expected votes for another class on the find of row {i}, found {stored.tolist()}"


def answers(model: Model, x: Tensor, key: Tensor, n: int, config: CertifyConfig) -> Iterator[Tensor]:
    """Scores of x (*shape) under n draws of a key, `chunk` at a time."""
    size, chunk = block_of(tuple(x.shape)), config.chunk or 1
    x = x.to(model.device)
    with model.borrowed(), torch.no_grad():
        for block in range(-(-n // size)):
            seed = int(keys(int(key), torch.tensor([block]))[0])
            noise = gaussian(seed, (size, *x.shape), model.device)[: n - block * size]
            yield from (model.logits(x + config.noise * part).cpu() for part in torch.split(noise, chunk))


def _same(logits: Tensor, stored: Tensor, what: str) -> Problems:
    """The stored votes, but for draws where rounding decides between the two best scores."""
    finite = logits.isfinite().all(1)
    two = logits.topk(2, 1)
    edge = int(((two.values[:, 0] - two.values[:, 1]) <= EDGE * logits.abs().amax(1)).sum())
    votes = two.indices[finite, 0].bincount(minlength=logits.shape[1])
    if len(votes) != len(stored) or int((votes - stored).abs().sum()) > 2 * edge:
        yield f"expected the votes {votes.tolist()}, found {stored.tolist()} as {what}"


def _other_class(votes: Tensor, y: int, alpha: float) -> bool:
    (first, second), (top, _) = (t.tolist() for t in votes.topk(2))
    return bool(top != y and binomtest(first, first + second, 0.5).pvalue <= alpha)


def _told(bad: np.ndarray, expected: str) -> Problems:
    """One sentence on the rows that are `bad`."""
    if bad.any():
        yield f"expected {expected}, found another in {int(bad.sum())} rows, the first of them row {int(bad.argmax())}"
