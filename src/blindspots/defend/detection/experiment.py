"""One experiment, part by part: examples, fits, scores, attacks on the pair. Every part is made once and kept."""

from collections.abc import Callable

import torch
from torch import Tensor

from blindspots.attacks import Attack, parse_attack
from blindspots.crafting import Plan, craft
from blindspots.data import Dataset, notes_of, part_of
from blindspots.defend.detection import overhead
from blindspots.defend.detection.asked import Asked
from blindspots.defend.detection.batches import TestsBatches, p_values
from blindspots.defend.detection.conclude import SMALLEST, Evidence, OfDetector, Told, arrays, conclude
from blindspots.defend.detection.detectors.detector import Detector, Examples, Fitted
from blindspots.defend.detection.detectors.file import load, save
from blindspots.defend.detection.folder import Memory
from blindspots.defend.detection.guarded import Guarded, guard
from blindspots.defend.detection.record import DetectFile
from blindspots.defend.detection.remarks import remarks
from blindspots.defend.detection.rows import Split, columns
from blindspots.defend.detection.score import scored
from blindspots.errors import InputError
from blindspots.evaluate import Evaluation, Options, Progress, evaluate
from blindspots.evaluate import attack as run_attack
from blindspots.findings import Finding
from blindspots.goal import Goal
from blindspots.journal import Columns
from blindspots.models.model import Model
from blindspots.oracle import Oracle
from blindspots.packing import unpack_inputs
from blindspots.sizes import check_radius

Say = Callable[[str], None]
DISTORTION_ROWS = 200  # of which the smallest changes are searched for
_PART = 1024  # rows that attacks take at once


class Experiment:
    """One call of `detect`. Every part is made once, and a later one only looks at what is stored of earlier ones."""

    def __init__(self, asked: Asked, store: Memory, parts: Split, threads: int, say: Say) -> None:
        self.asked, self.store, self.split, self.say = asked, store, parts, say
        self.model = asked.model
        self.options = Options(seed=asked.seed, threads=threads, chunk=asked.chunk)
        self.findings = [
            *check_radius(asked.threat, asked.data.shape),
            *asked.notes,
            *asked.model.notes,
            *notes_of(asked.data, asked.test),
            *parts.findings,
        ]

    def carry_out(self) -> DetectFile:
        self.rows = self.store.part("rows", self._rows)
        self.y = self.rows["y"]
        self.x, self.threshold_x = (unpack_inputs(self.rows[name]) for name in ("x", "threshold_x"))
        self.examples = {name: self._examples(name, attack) for name, attack in self.asked.tests.items()}
        self.bare = self.store.part("examples/bare", self._bare)
        self.distortion = self.store.part("distortion/bare", lambda: self._smallest(self.model))
        detectors = dict(filter(None, (self._detector(*item) for item in self.asked.detectors.items())))
        if not detectors:
            raise InputError(f"expected a detector that can be fitted, found none: {self.findings[-1].saw}")
        seconds = round(sum(part.seconds for part in self.store.file.parts), 3)
        verdict = conclude(self.store.file.manifest, evidence(self.rows, self.examples, self.bare), detectors, seconds)
        found = [*self.findings, *remarks(self.store.file.manifest, verdict)]
        return self.store.conclude(verdict.model_copy(update={"findings": found}))

    # -------------------------------------------------------------- examples

    def _rows(self) -> Columns:
        self.say("Looking at the clean rows")
        oracle = Oracle(self.model, chunk=self.asked.chunk)
        with oracle.session():
            prediction = oracle.logits(self.split.test[0].to(self.model.device)).argmax(1).cpu()
        return {**columns(self.split), "prediction": prediction}

    def _crafted(self, attack: Attack, radius: float, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """What an attack on the model alone makes of every row, searched to its end, and what the model says of it."""
        asked = self.asked
        oracle = Oracle(self.model, chunk=asked.chunk)
        plan = Plan(
            type(asked.threat)(radius, asked.threat.lo, asked.threat.hi), Goal(), None, 1, asked.seed, 128, _PART
        )
        moved = craft(oracle, attack, plan, x, y).moved
        with oracle.session():
            return moved, oracle.logits(moved.to(oracle.device)).argmax(1).cpu()

    def _examples(self, name: str, attack: Attack) -> Columns:
        """(radii, n, ...) examples of a test attack, and (radii, n) predictions."""

        def make() -> Columns:
            self.say(f"Making test examples with {name}")
            made = [self._crafted(attack, radius, self.x, self.y) for radius in self.asked.radii]
            return {"adversarial": torch.stack([m for m, _ in made]), "prediction": torch.stack([p for _, p in made])}

        return self.store.part(f"examples/{name}", make)

    def _bare(self) -> Columns:
        """How the model alone withstands, and the examples (n, ...) that it does not withstand."""
        run = self._evaluate(self.model, self.asked.bare_protocol, "bare", "the model alone")
        return {"adversarial": run.adversarial, **_outcome(run)}

    def _evaluate(self, model: Model, protocol: str, where: str, what: str) -> Evaluation:
        path = self.store.path
        data = part_of(self._measured, self.x, self.y, self._measured.name)

        def watch(p: Progress) -> None:
            self.say(f"Attacking {what}, stage {p.stage}: {p.standing:,} of {p.begun:,} rows stand")

        return evaluate(
            model, data=data, threat=self.asked.threat, protocol=protocol, out=path / where if path else None,
            resume=True, options=self.options, watch=watch,
        )  # fmt: skip

    @property
    def _measured(self) -> Dataset:
        return self.asked.test or self.asked.data

    def _smallest(self, model: Model) -> Columns:
        """The smallest change of the first rows that fools `model`: inf where none was found."""
        self.say(f"Searching for the smallest changes that fool {model.name}")
        threat = type(self.asked.threat)(None, *model.bounds)
        x, y = self.x[:DISTORTION_ROWS], self.y[:DISTORTION_ROWS]
        run = run_attack(model, x, y, parse_attack(SMALLEST[threat.name]), threat=threat, options=self.options)
        return {"norm": run.norms}

    # -------------------------------------------------------------- detectors

    def _detector(self, name: str, detector: Detector) -> tuple[str, OfDetector] | None:
        try:
            content = self.store.content(f"detectors/{name}", lambda: self._fitted(name, detector))
        except InputError as error:
            if self.asked.picky:
                raise
            said = f"The detector {name} was left out: {error}."
            self.findings.append(Finding(code="detector-left-out", severity="note", saw=said, do=""))
            return None
        return name, self._measured_detector(name, detector, load(content, self.model))

    def _fitted(self, name: str, detector: Detector) -> bytes:
        self.say(f"Fitting the detector {name}")
        return save(detector.fit(self.model, Examples(*self.split.fit), self._learned_from(detector), self.asked.seed))

    def _learned_from(self, detector: Detector) -> Examples | None:
        """What the training attacks make of the fit rows that the model gets right, where it fools the model."""
        if not detector.learns_from_attacks:
            return None
        made = self.store.part("training", self._training)
        if not len(made["y"]):
            if not detector.needs_attacks:
                return None
            raise InputError(
                f"expected training attacks that fool the model within {self.asked.threat.spec}, got none on "
                f"{len(self.split.fit[1])} rows: there is nothing to learn from, so allow a larger change"
            )
        return Examples(made["x"], made["y"])

    def _training(self) -> Columns:
        x, y = self.split.fit
        oracle = Oracle(self.model, chunk=self.asked.chunk)
        with oracle.session():
            right = oracle.logits(x.to(oracle.device)).argmax(1).cpu() == y
        made = []
        for name, attack in self.asked.train.items():
            self.say(f"Making training examples with {name}")
            moved, prediction = self._crafted(attack, self.asked.radius, x[right], y[right])
            made.append((moved[prediction != y[right]], y[right][prediction != y[right]]))
        return {"x": torch.cat([m for m, _ in made]), "y": torch.cat([labels for _, labels in made])}

    def _measured_detector(self, name: str, detector: Detector, fitted: Fitted) -> OfDetector:
        scores = self.store.part(f"scores/{name}", lambda: self._scores(name, fitted))
        pair = Guarded(self.model, fitted, *scores["pair"].tolist())
        outcome = self.store.part(f"pairs/{name}", lambda: self._attacked(name, pair))
        batches = self._batches(name, fitted, outcome["adversarial"])
        norms = self.store.part(f"distortion/{name}", lambda: self._smallest(pair))
        costs = self.store.part(f"overhead/{name}", lambda: overhead.measured(self.model, pair, self.x))
        told = Told(
            detector.title, detector.paper, detector.learns_from_attacks, detector.smooth,
            self.store.seconds(f"detectors/{name}"),
        )  # fmt: skip
        smallest = {"model": self.distortion["norm"].numpy(), "pair": norms["norm"].numpy()}
        return OfDetector(told, arrays(scores), arrays(outcome), batches, smallest, overhead.record(costs))

    def _scores(self, name: str, fitted: Fitted) -> Columns:
        self.say(f"Scoring with {name}")

        def score(x: Tensor) -> Tensor:
            return scored(fitted, x, self.asked.chunk)

        attacks = [torch.stack([score(x) for x in made["adversarial"]]) for made in self.examples.values()]
        pair = guard(self.model, fitted, self.threshold_x, self.asked.fpr)
        return {
            "pair": torch.tensor([pair.threshold, pair.scale], dtype=torch.float64),
            "clean": score(self.x),
            "attacks": torch.stack(attacks),
            "bare": score(self.bare["adversarial"]),
        }

    def _batches(self, name: str, fitted: Fitted, passing: Tensor) -> Columns:
        """p-values of batches, if the detector tests such; `passing`: examples that fool the pair."""
        if not isinstance(fitted, TestsBatches):
            return {}
        right = self.rows["prediction"] == self.y
        at = self.asked.radii.index(self.asked.radius)
        made = {a: e["adversarial"][at][right & (e["prediction"][at] != self.y)] for a, e in self.examples.items()}
        made["adaptive"] = passing

        def make() -> Columns:
            self.say(f"Testing batches with {name}")
            return p_values(fitted, self.x[right], made, self.asked.seed)

        return self.store.part(f"batches/{name}", make)

    def _attacked(self, name: str, pair: Guarded) -> Columns:
        """What the attacks that know the detector come to, and what it says of their examples."""
        run = self._evaluate(pair, self.asked.protocol, f"adaptive/{name}", f"the model with {name}")
        broken = run.adversarial[run.won]
        return {**_outcome(run), "adversarial": broken, "score": scored(pair.detector, broken, self.asked.chunk)}


def _outcome(run: Evaluation) -> Columns:
    """Row by row: right at first, broken, and how near the nearest example is."""
    return {name: torch.cat([shard[name] for shard in run.shards()]) for name in ("right", "won", "norm")}


def evidence(rows: Columns, examples: dict[str, Columns], bare: Columns) -> Evidence:
    """What `conclude` looks at, out of the parts of a run."""
    fooled = torch.stack([made["prediction"] != rows["y"] for made in examples.values()])
    outcome = {name: bare[name].numpy() for name in ("right", "won", "norm")}
    return Evidence(rows["y"].numpy(), rows["prediction"].numpy(), fooled.numpy(), outcome)
