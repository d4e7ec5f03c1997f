"""Proves a certification of texts again: from stored votes and lattices, and by asking the model about exchanges."""

import json
import zlib
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, cast

import numpy as np
import torch
from scipy.stats import beta, binomtest
from torch import Tensor

from blindspots.experiments.certify.config import CertifyConfig
from blindspots.experiments.certify.noise import COUNTING, JUDGING, SELECTING
from blindspots.experiments.certify.verdict import JUDGED_TEXTS, TEXTS, VOTES, CertifyVerdict
from blindspots.experiments.evaluate.verify_texts import decoded, with_candidates, written
from blindspots.models.texts import TextModel, TokenModel
from blindspots.random import keys
from blindspots.runs.again import EDGE, share
from blindspots.runs.columns import check_columns
from blindspots.runs.experiment import Check
from blindspots.runs.metric import numbers_of
from blindspots.runs.store import Parts
from blindspots.runs.verify import differing, note
from blindspots.runs.world import World
from blindspots.texts.lattice import Lattice
from blindspots.texts.threats import TextThreat

REDRAWN, ASKED = 3, 64  # rows whose votes are taken again, and rows within whose bounds the model is asked
_BY_LOT = 64  # texts of each of these
_SEED = 2**63 - 1
Problems = Iterator[str]
Places = list[dict[str, Any]]


def checks(config: CertifyConfig, verdict: CertifyVerdict, parts: Parts, world: World) -> Iterator[Check]:
    """What `verify` looks at; the attack is verified as a run of its own."""
    proof = _Proof(config, parts, world)
    yield Check("all texts are there, with all their columns", list(proof.shapes()))
    yield Check("what each text withstands follows from what is stored of it", list(proof.sizes()))
    yield differing("every number of the verdict follows from the rows", numbers_of(verdict), proof.numbers())
    if config.draws:
        yield Check("the attack was made on these texts, within this threat", list(proof.attacked_the_same()))
    yield Check("no attack found another class within what is certified", list(proof.contradictions()))
    if not world.same.get("model") or not world.same.get("data"):
        yield note("Model or data are not at hand, so the model was not asked again.")
        return
    with world.named("model").borrowed(), torch.no_grad():
        yield from proof.asked()


class _Proof:
    def __init__(self, config: CertifyConfig, parts: Parts, world: World) -> None:
        self.config, self.parts, self.world = config, parts, world
        self.votes = config.method == "votes"
        for name in parts:
            if name.startswith("rows/"):
                check_columns(parts[name], TEXTS | (VOTES if self.votes else {}), name)
        if self.judged:
            check_columns(parts["judged"], JUDGED_TEXTS, "judged")
        joined = parts.joined("rows")
        self.c = {name: t.numpy() for name, t in joined.items() if name not in ("lattices", "cost")}
        self.n = len(self.c["y"])

    @property
    def judged(self) -> bool:
        return self.votes and self.config.draws > 0

    @cached_property
    def lattices(self) -> list[dict[str, Any]]:
        found = [json.loads(zlib.decompress(part["lattices"].numpy().tobytes())) for part in self.parts.below("rows")]
        return [lattice for several in found for lattice in several]

    @property
    def model(self) -> TextModel:
        return cast(TextModel, self.world.named("model"))

    # -------------------------------------------------------------- from what is stored

    def shapes(self) -> Problems:
        expected = self.parts.begun.manifest.world["data"]["rows"]
        if not self.n == expected == len(self.lattices):
            yield f"expected {expected} texts, as the data have, found {self.n}, and {len(self.lattices)} lattices"
        places = [len(lattice["places"]) for lattice in self.lattices]
        yield from _told(self.c["places"] != places, "as many places as its lattice has")
        if self.votes and len(self.c["overlaps"]) != sum(places):
            yield f"expected an overlap for each of {sum(places)} places, found {len(self.c['overlaps'])}"

    def sizes(self) -> Problems:
        c = self.c
        yield from _told((c["withstood"] < 0) | (c["withstood"] > c["places"]), "no more than there are places")
        yield from _told(~c["read"] & (c["withstood"] > 0), "nothing where bounds cannot follow")
        yield from _told(c["allowed"] > c["places"], "no more exchanges allowed than there are places")
        if not self.votes:
            yield from _told(c["prediction"] != c["base"], "what the model says of the text")
            return
        m, ends = self.config, np.cumsum(c["places"])
        top = c["selected"].argmax(1)
        hits = np.take_along_axis(c["counts"], top[:, None], 1)[:, 0]
        low = np.nan_to_num(beta.ppf(m.alpha, hits, m.samples - hits + 1))
        yield from _told(c["counts"].sum(1) != m.samples, f"{m.samples:,} votes")
        yield from _told(c["prediction"] != np.where(low > 0.5, top, -1), "the class that its votes prove")
        kept = np.split(c["overlaps"], ends[:-1]) if self.n else []
        again = [_withstood(p, overlaps) for p, overlaps in zip(low.tolist(), kept, strict=True)]
        yield from _told(c["withstood"] != again, "the exchanges that its votes prove")

    def contradictions(self) -> Problems:
        right = self.c["prediction"] == self.c["y"]
        yield from _told(right & (self.fell <= self.c["withstood"]), "no find within what is certified")

    def attacked_the_same(self) -> Problems:
        inner, own = self.parts.run("attacked").manifest, self.parts.begun.manifest
        settings = ("threat", "candidates", "limits", "seed")
        if [inner.config.get(s) or "" for s in settings] != [own.config.get(s) or "" for s in settings]:
            yield "expected the attack within the threat of this run, found another one"
        if inner.world["data"]["digest"] != own.world["data"]["digest"]:
            yield "expected the attack on the rows of this run, found others"
        if not self.votes and inner.world["model"]["digest"] != own.world["model"]["digest"]:
            yield "expected the attack on the model of this run, found another"

    @cached_property
    def found(self) -> dict[str, Tensor]:
        return self.parts.run("attacked").parts.joined("shards")

    @cached_property
    def _falls(self) -> dict[int, tuple[float, bool]]:
        """Of the rows that fell: with how many exchanges, and whether by a valid text."""
        if not self.config.draws:
            return {}
        won, norm = self.found["won"].tolist(), self.found["norm"].tolist()
        rows = [i for i, fell in enumerate(won) if fell]
        falls = dict(zip(rows, zip([norm[i] for i in rows], self.found["valid"].tolist(), strict=True), strict=True))
        if self.judged:
            counted = zip(self.parts["judged"]["broken"].tolist(), self.parts["judged"]["votes"], strict=True)
            other = {i: _other_class(votes, int(self.c["y"][i]), self.config.alpha) for i, votes in counted}
            falls = {i: fall for i, fall in falls.items() if other[i]}
        return falls

    @cached_property
    def fell(self) -> Any:
        return np.array([self._falls.get(i, (np.inf, False))[0] for i in range(self.n)])

    def numbers(self) -> dict[str, Any]:
        """The verdict, counted text by text."""
        c = {name: values.tolist() for name, values in self.c.items()}
        right = [a == b for a, b in zip(c["prediction"], c["y"], strict=True)]
        sure = [w if ok else -1 for w, ok in zip(c["withstood"], right, strict=True)]
        valid = {i for i, (_, honest) in self._falls.items() if honest}
        radii, n, fell, attacked = list(self.config.radii or ()), self.n, self.fell.tolist(), self.config.draws > 0
        clean = share(sum(right), n)
        within = sum(s >= most for s, most in zip(sure, c["allowed"], strict=True))
        stood = [ok and f == np.inf for ok, f in zip(right, fell, strict=True)]
        honest = [ok and i not in valid for i, ok in enumerate(right)]
        noisy = None
        if self.votes:
            hits = sum(votes[y] for votes, y in zip(c["counts"], c["y"], strict=True))
            noisy = hits / sum(map(sum, c["counts"]))
        forwards, backwards = self._costs()
        return {
            "rows": n,
            "clean_accuracy": clean["share"],
            "clean_interval": clean["interval"],
            "abstained": share(c["prediction"].count(-1), n),
            "base": share(sum(a == b for a, b in zip(c["base"], c["y"], strict=True)), n),
            "noisy_accuracy": noisy,
            "certified": [
                (k, share(sum(s >= min(k, p) for s, p in zip(sure, c["places"], strict=True)), n)) for k in radii
            ],
            "empirical": [(k, share(sum(ok and f > k for ok, f in zip(right, fell, strict=True)), n)) for k in radii]
            if attacked
            else [],
            "mean_radius": sum(s for s in sure if s > 0) / n,
            "forwards": forwards,
            "backwards": backwards,
            "texts": {
                "certified": share(within, n),
                "attacked": share(sum(stood), n) if attacked else None,
                "adjusted": share(sum(honest), n) if attacked else None,
                "unread": c["read"].count(False),
            },
        }

    def _costs(self) -> tuple[int, int]:
        own = np.array([self.parts[name]["cost"].tolist() for name in self.parts if name != "attacked"]).sum(0).tolist()
        if not self.config.draws:
            return own[0], own[1]
        verdict = self.parts.run("attacked").verdict.model_dump()
        return own[0] + verdict["forwarded"], own[1] + verdict["backwards"]

    # -------------------------------------------------------------- from the model

    def asked(self) -> Iterator[Check]:
        yield Check("labels, answers and lattices are those of the data and the model", list(self.rows_again()))
        if self.votes:
            at = sorted({0, self.n // 2, self.n - 1})[:REDRAWN]
            yield Check(f"the votes of {len(at)} texts came out again", list(self._votes_again(at)))
            if self.judged:
                yield Check("votes on what the attack found came out again", list(self._judged_again()))
        elif self.config.method == "exact":
            yield Check("one exchange more than each text withstands changes its class, none less", list(self._exact()))
        else:
            spread = np.unique(np.linspace(0, self.n - 1, ASKED).astype(int)).tolist()
            told = [problem for i in spread for problem in self._kept(i, int(self.c["withstood"][i]), True)]
            yield Check(f"exchanges that {len(spread)} texts are certified for, the worst ones and others by lot", told)
            yield note("Bounds were not derived again: texts within them were asked about.")

    def rows_again(self) -> Problems:
        threat = with_candidates(self.world)
        for i, lattice in enumerate(self.lattices):
            x, y = self.world.data.rows(i, i + 1)
            text = decoded(x[0].numpy())
            if (lattice["text"], int(self.c["y"][i])) != (text, int(y[0])):
                yield f"expected text and label of row {i} as in the data, found others"
            if threat is not None:
                yield from self._allowed(i, threat.lattice(text), threat)
            if not _says(self.model.of([text])[0], int(self.c["base"][i])):
                yield f"expected what the model says of the text of row {i}, found class {self.c['base'][i]}"

    def _allowed(self, i: int, again: Lattice, threat: TextThreat) -> Problems:
        if json.loads(again.to_json()) != self.lattices[i]:
            yield f"expected the candidates that the text of row {i} has, found others"
        most = int(min(threat.allowed(again), len(again.spans)))
        if most != self.c["allowed"][i]:
            yield f"expected {most} exchanges, as the threat allows in row {i}, found {self.c['allowed'][i]}"

    def _exact(self) -> Problems:
        for i in np.flatnonzero(self.c["read"]).tolist():
            most = int(self.c["withstood"][i])
            yield from self._kept(i, most, False)
            if most < self.c["places"][i]:
                top, texts = int(self.c["prediction"][i]), list(self._worst(i, most + 1))
                leads = [_lead(scores, top) for scores in self.model.of(texts)]
                if min(leads, default=0.0) > EDGE:
                    yield f"expected {most + 1} exchanges that change the class of row {i}, found none"

    def _kept(self, i: int, most: int, by_lot: bool) -> Problems:
        """Within so many exchanges, the worst ones by what each does alone, and others by lot."""
        texts = [*(self._worst(i, most) if most else ()), *(self._drawn_within(i, most) if most and by_lot else ())]
        said = [_lead(scores, int(self.c["prediction"][i])) for scores in self.model.of(texts)] if texts else []
        if min(said, default=1.0) < -EDGE:
            yield f"expected {most} exchanges to leave the class of row {i}, found some that do not"

    def _worst(self, i: int, most: int) -> Iterator[str]:
        """For every other class, the places whose exchanges alone gain most for it, as sums over words."""
        lattice, top = self.lattices[i], int(self.c["prediction"][i])
        alone = [(p, word) for p, place in enumerate(lattice["places"]) for word in place["may be"]]
        if not alone:
            return
        scores = self._summed([lattice["text"], *(written(lattice, {p: word}) for p, word in alone)])
        gains = (scores - scores[:, [top]]) - (scores[0] - scores[0, top])
        for c in range(scores.shape[1]):
            best = dict[int, tuple[float, str]]()
            for (p, word), gain in zip(alone, gains[1:, c].tolist(), strict=True):
                best[p] = max(best.get(p, (0.0, "")), (gain, word))
            chosen = sorted(best.items(), key=lambda one: -one[1][0])[:most]
            if c != top:
                yield written(lattice, {p: word for p, (gain, word) in chosen if gain > 0})

    def _summed(self, texts: list[str]) -> Any:
        """Scores (B, C), of networks times the number of words: of bags of words what all words say in sum."""
        said = self.model.of(texts).double()
        if isinstance(self.model, TokenModel):
            said *= torch.tensor([len(tokens) for tokens in self.model.tokenizer.encode(texts)])[:, None]
        return said.numpy()

    def _drawn_within(self, i: int, most: int) -> Iterator[str]:
        lattice, draw = self.lattices[i], np.random.default_rng([self.config.seed, i])
        open_ = [p for p, place in enumerate(lattice["places"]) if place["may be"]]
        for _ in range(_BY_LOT):
            places = draw.permutation(open_)[:most].tolist()
            yield written(lattice, {p: str(draw.choice(lattice["places"][p]["may be"])) for p in places})

    # -------------------------------------------------------------- votes

    def _votes_again(self, rows: list[int]) -> Problems:
        m, ends = self.config, np.cumsum(self.c["places"])
        for i in rows:
            self.world.say(f"taking the votes of text {i:,} again")
            for column, purpose, n in (("selected", SELECTING, m.n0), ("counts", COUNTING, m.samples)):
                key = int(keys(m.seed, torch.tensor([i]), purpose)[0])
                yield from self._same(self.lattices[i], key, n, self.c[column][i], f"{column} of row {i}")
            stored = self.c["overlaps"][ends[i] - self.c["places"][i] : ends[i]]
            again = self._overlaps(self.lattices[i])
            if again is not None and not np.allclose(again, stored):
                yield f"expected the overlaps {again} in row {i}, found {stored.tolist()}"

    def _judged_again(self) -> Problems:
        judged, threat = self.parts["judged"], with_candidates(self.world)
        won = self.found["won"].nonzero()[:, 0].tolist()
        if judged["broken"].tolist() != won:
            yield f"expected votes on the {len(won)} rows that the attack won, found others"
        for i, point, votes in zip(won, self.found["nearest"], judged["votes"].numpy(), strict=True):
            if threat is not None:
                lattice = json.loads(threat.lattice(decoded(point.numpy())).to_json())
                key = int(keys(self.config.seed, torch.tensor([i]), JUDGING)[0])
                yield from self._same(lattice, key, self.config.judged, votes, f"votes on the find of row {i}")

    def _same(self, lattice: Mapping[str, Any], key: int, n: int, stored: Any, what: str) -> Problems:
        """The stored votes, but for draws where rounding decides between the two best scores."""
        words = [[place["is"], *place["may be"]] for place in lattice["places"]]
        lot = torch.rand(n, len(words), generator=torch.Generator().manual_seed(key & _SEED))
        picks = (lot * torch.tensor([len(there) for there in words])).long().tolist()
        texts = [
            written(dict(lattice), {p: there[c] for p, (there, c) in enumerate(zip(words, pick, strict=True))})
            for pick in picks
        ]
        two = self.model.of(texts).topk(2, 1)
        edge = int(((two.values[:, 0] - two.values[:, 1]) <= EDGE * two.values.abs().amax(1)).sum())
        votes = two.indices[:, 0].bincount(minlength=len(stored)).numpy()
        if len(votes) != len(stored) or np.abs(votes - stored).sum() > 2 * edge:
            yield f"expected the votes {votes.tolist()}, found {stored.tolist()} as {what}"

    def _overlaps(self, lattice: dict[str, Any]) -> list[float] | None:
        """Of each place, the smallest share of its choices that remain after an exchange there."""
        if (threat := with_candidates(self.world)) is None:
            return None
        before, found = [{p["is"], *p["may be"]} for p in lattice["places"]], []
        for p, place in enumerate(lattice["places"]):
            kept = [1.0]
            for word in place["may be"]:
                after = json.loads(threat.lattice(written(lattice, {p: word})).to_json())["places"]
                now = [{q["is"], *q["may be"]} for q in after]
                moved = len(now) != len(before) or _spans(after) != _spans(lattice["places"], p, word)
                same = not moved and all(a == b for q, (a, b) in enumerate(zip(before, now, strict=True)) if q != p)
                kept.append(len(before[p] & now[p]) / max(len(before[p]), len(now[p])) if same else 0.0)
            found.append(min(kept))
        return found


def _spans(places: Places, at: int = -1, word: str = "") -> list[list[int]]:
    """Where places are, once a word stands at one of them."""
    spans, moved = [], 0
    for p, place in enumerate(places):
        a, b = place["span"]
        longer = len(word) - (b - a) if p == at else 0
        spans.append([a + moved, b + moved + longer])
        moved += longer
    return spans


def _withstood(probability: float, overlaps: Any) -> int:
    """How many of the smallest overlaps may be lost before the class could lose its majority."""
    left, most = 1.0, 0
    for overlap in sorted(overlaps.tolist()) if probability > 0.5 else ():
        left *= overlap
        if probability - (1 - left) <= 0.5:
            break
        most += 1
    return most


def _other_class(votes: Tensor, y: int, alpha: float) -> bool:
    (first, second), (top, _) = (t.tolist() for t in votes.topk(2))
    return bool(top != y and binomtest(first, first + second, 0.5).pvalue <= alpha)


def _lead(scores: Tensor, top: int) -> float:
    """By how much a class is above all others, relative to the largest score."""
    others = scores[torch.arange(len(scores)) != top]
    return float((scores[top] - others.max()) / scores.abs().max().clamp_min(1e-30))


def _says(scores: Tensor, top: int) -> bool:
    return _lead(scores, top) >= -EDGE


def _told(bad: Any, expected: str) -> Problems:
    """One sentence on the rows that are `bad`."""
    if bad.any():
        yield f"expected {expected}, found another in {int(bad.sum())} texts, the first of them row {int(bad.argmax())}"
