"""Proves a finished detection run again: the stored detectors are asked anew, and all figures are counted anew."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from blindspots.arguments import checked
from blindspots.data import Dataset, reopened, same_rows
from blindspots.defend.detection import overhead
from blindspots.defend.detection.conclude import OfDetector, Told, arrays, conclude
from blindspots.defend.detection.detectors.detector import Fitted
from blindspots.defend.detection.detectors.file import load
from blindspots.defend.detection.experiment import evidence
from blindspots.defend.detection.folder import DETECTOR, read_columns, read_detect_file, read_part
from blindspots.defend.detection.guarded import Guarded
from blindspots.defend.detection.record import DetectFile, DetectVerdict
from blindspots.defend.detection.score import scored
from blindspots.engine.threads import set_threads
from blindspots.errors import InputError
from blindspots.journal import Columns, read_run_file, read_shard
from blindspots.models.first_look import as_model
from blindspots.models.load import load_model
from blindspots.models.model import Model
from blindspots.oracle import Oracle
from blindspots.packing import unpack_inputs
from blindspots.threat import parse_threat
from blindspots.verify import EDGE, SAME, SLACK, UNIT_ROUNDOFF, Verification, not_finished, tampered, verify

Say = Callable[[str], None]
Problems = Iterator[str]
_SAME_SCORES = 1e-4  # of the spread of the scores: what other batch sizes and machines move them by
_TIMED = ("seconds", "findings", "overhead", "fit_seconds")  # of a verdict: what is not counted from what is stored


@checked(model=as_model)
def load_detector(run: str | Path, model: Model | None = None, name: str | None = None) -> Guarded:
    """The model of a finished detection run with a detector: the same, plus "reject".

    Args:
        run: the folder.
        model: needed where the run was given a network from Python; else it is loaded by its name in run.json.
        name: of the detector; None: the one that the verdict speaks of.

    Raises:
        InputError: no finished run is there, it has no such detector, or its model cannot be had.
    """
    folder = Path(run)
    file = read_detect_file(folder)
    verdict = _finished(folder, file)
    return _guarded(folder, file, model or _network(file), name or verdict.detector)


def verify_detect(
    run: str | Path, model: Model | None = None, data: Dataset | None = None, say: Say = lambda text: None
) -> Verification:
    """Recompute the figures of a finished detection run.

    Fits, times and the searches for the smallest change are not made again.

    Args:
        run: the folder.
        model: needed where the run was given a network from Python; else it is loaded by its name in run.json.
        data: the measured rows; else they are opened by their name if they have one.
        say: gets a sentence on the progress now and then.

    Raises:
        InputError: no finished run is there, or its model cannot be had.
    """
    folder = Path(run)
    file = read_detect_file(folder)
    verdict = _finished(folder, file)
    if changed := tampered(folder, file.seal):
        return changed
    with set_threads(file.manifest.threads):
        return _Proof(folder, file, verdict, model or _network(file), say).carry_out(data)


def _finished(folder: Path, file: DetectFile) -> DetectVerdict:
    if file.verdict is None:
        raise not_finished(folder)
    return file.verdict


def _network(file: DetectFile) -> Model:
    spec = file.manifest.model.spec
    if spec is None:
        raise InputError(
            f"expected the network {file.manifest.model.name!r} itself, since the run was given it from Python: pass "
            "model=..."
        )
    return load_model(spec)


def _fitted(folder: Path, file: DetectFile, model: Model, name: str) -> Fitted:
    part = next((part for part in file.parts if part.name == f"detectors/{name}"), None)
    if part is None or name not in file.manifest.detectors:
        known = ", ".join(p.name.removeprefix("detectors/") for p in file.parts if p.name.startswith("detectors/"))
        raise InputError(f"expected a detector of {folder} among {known}, got {name!r}: use one of these")
    return load(read_part(folder, part), model)


def _guarded(folder: Path, file: DetectFile, model: Model, name: str) -> Guarded:
    fitted = _fitted(folder, file, model, name)
    return Guarded(model, fitted, *read_columns(folder, file, f"scores/{name}")["pair"].tolist())


class _Proof:
    """One call of `verify_detect`."""

    def __init__(self, folder: Path, file: DetectFile, verdict: DetectVerdict, model: Model, say: Say) -> None:
        self.folder, self.file, self.verdict, self.model, self.say = folder, file, verdict, model, say
        self.manifest = file.manifest
        self.checks: list[str] = []
        self.notes = ["Fits, times, tests of batches and the searches for the smallest change were not made again."]
        self.problems: list[str] = []

    def carry_out(self, data: Dataset | None) -> Verification:
        if self._hold("every file has the digest that was recorded", self._files()):
            self._hold("the model is the one that was recorded", self._digest())
            self._hold("the measured rows are those of the data, and the model says of them what was stored",
                       self._rows(data))  # fmt: skip
            self._hold("every test example lies where it may, and the model says of it what was stored",
                       self._examples())  # fmt: skip
            self._hold("every detector says of all of them what was stored", self._scores())
            self._hold("every attack on a pair, and on the model alone, holds", self._evaluations())
            self._hold("every figure of the verdict is what the files come to", self._counted())
        return Verification(self.verdict.rows, self.checks, self.notes, self.problems)

    def _hold(self, topic: str, problems: Problems) -> bool:
        found = list(problems)
        self.problems += found
        if not found:
            self.checks.append(topic)
        return not found

    def _detector(self, name: str) -> Fitted:
        return _fitted(self.folder, self.file, self.model, name)

    def _part(self, name: str) -> Columns:
        return read_columns(self.folder, self.file, name)

    def _files(self) -> Problems:
        for part in self.file.parts:
            try:
                read_part(self.folder, part)
            except InputError as error:
                yield str(error)
        chosen = next(part for part in self.file.parts if part.name == f"detectors/{self.verdict.detector}")
        if (self.folder / DETECTOR).read_bytes() != read_part(self.folder, chosen):
            yield f"expected {DETECTOR} to be the detector {self.verdict.detector}, found another"

    def _digest(self) -> Problems:
        if self.model.digest != self.manifest.model.digest:
            yield f"expected the model with the digest {self.manifest.model.digest}, got {self.model.digest}"

    def _open(self, data: Dataset | None) -> Dataset | None:
        record = self.manifest.test
        if data is None and record is not None and record.spec is not None:
            try:
                return reopened(record)
            except InputError as error:
                self.notes.append(f"The measured rows cannot be opened again, so the stored ones were taken: {error}")
        return data if data is None or record is None else same_rows(data, record)

    def _rows(self, data: Dataset | None) -> Problems:
        rows, data = self._part("rows"), self._open(data)
        x = unpack_inputs(rows["x"])
        if data is not None:
            wanted, labels = data.rows(0, len(data))
            if not (torch.equal(wanted, x) and torch.equal(labels, rows["y"])):
                yield f"expected the rows and labels of {data.name}, found others"
        yield from self._same("the clean rows", x, rows["prediction"])

    def _same(self, what: str, x: Tensor, prediction: Tensor) -> Problems:
        """The model's predictions, but where rounding decides."""
        oracle = Oracle(self.model, chunk=self.manifest.chunk)
        with oracle.session():
            logits = oracle.logits(x.to(oracle.device)).cpu()
        stored = logits.gather(1, prediction[:, None])[:, 0]
        wrong = logits.amax(1) - stored > EDGE * logits.abs().amax(1)
        if bool(wrong.any()):
            yield f"expected the model to say of {what} what was stored, got something else on {int(wrong.sum())} rows"

    def _examples(self) -> Problems:
        x = unpack_inputs(self._part("rows")["x"])
        threat = parse_threat(self.manifest.threat).within(*self.model.bounds)
        for name in self.manifest.test_attacks:
            self.say(f"Asking the model about what {name} made")
            made = self._part(f"examples/{name}")
            for radius, moved, prediction in zip(
                self.manifest.radii, made["adversarial"], made["prediction"], strict=True
            ):
                far = threat.norm(moved - x) > radius * (1 + SLACK) + UNIT_ROUNDOFF * threat.norm(moved)
                outside = (moved.flatten(1).amin(1) < threat.lo) | (moved.flatten(1).amax(1) > threat.hi)
                if beyond := int((far | outside).sum()):
                    yield f"expected what {name} made within {threat.name}:{radius:g}, found {beyond} rows beyond"
                yield from self._same(f"what {name} made", moved, prediction)

    def _scores(self) -> Problems:
        x, bare = unpack_inputs(self._part("rows")["x"]), self._part("examples/bare")["adversarial"]
        made = [self._part(f"examples/{name}")["adversarial"] for name in self.manifest.test_attacks]
        for record in self.verdict.detectors:
            self.say(f"Asking {record.name} again")
            stored, fitted = (
                self._part(f"scores/{record.name}"),
                _fitted(self.folder, self.file, self.model, record.name),
            )
            passing = self._part(f"pairs/{record.name}")
            found = {
                "clean": (stored["clean"], x),
                "bare": (stored["bare"], bare),
                "attacks": (stored["attacks"].flatten(), torch.stack(made).flatten(0, 2)),
                "adaptive": (passing["score"], passing["adversarial"]),
            }
            spread = float(stored["clean"].std())
            for what, (before, inputs) in found.items():
                now = scored(fitted, inputs, self.manifest.chunk)
                same = torch.isclose(now, before, rtol=_SAME_SCORES, atol=_SAME_SCORES * spread)
                if strange := int((~same).sum()):
                    yield f"expected the {what} scores of {record.name} as stored, got others on {strange} rows"

    def _evaluations(self) -> Problems:
        yield from self._evaluation("bare", self.model, self._part("examples/bare"))
        for record in self.verdict.detectors:
            pair = _guarded(self.folder, self.file, self.model, record.name)
            yield from self._evaluation(f"adaptive/{record.name}", pair, self._part(f"pairs/{record.name}"))

    def _evaluation(self, where: str, model: Model, outcome: Columns) -> Problems:
        self.say(f"Proving {where} again")
        folder = self.folder / where
        again = verify(folder, model, say=self.say)
        yield from (f"{where}: {problem}" for problem in again.problems)
        if again.ok:
            shards = [read_shard(folder, record) for record in read_run_file(folder).shards]
            for name in ("right", "won"):
                if not torch.equal(torch.cat([shard[name] for shard in shards]), outcome[name]):
                    yield f"expected the column {name} of {where} in what was concluded from it, found another"

    def _counted(self) -> Problems:
        examples = {name: self._part(f"examples/{name}") for name in self.manifest.test_attacks}
        seen = evidence(self._part("rows"), examples, self._part("examples/bare"))
        detectors = {record.name: self._of(record.name) for record in self.verdict.detectors}
        found = conclude(self.manifest, seen, detectors, self.verdict.seconds)
        yield from _differences("", self.verdict.model_dump(), found.model_dump())

    def _of(self, name: str) -> OfDetector:
        detector = self._detector(name).detector
        told = Told(detector.title, detector.paper, detector.learns_from_attacks, detector.smooth, 0.0)
        smallest = {
            "model": self._part("distortion/bare")["norm"].numpy(),
            "pair": self._part(f"distortion/{name}")["norm"].numpy(),
        }
        tested = f"batches/{name}" in {part.name for part in self.file.parts}
        return OfDetector(
            told, arrays(self._part(f"scores/{name}")), arrays(self._part(f"pairs/{name}")),
            self._part(f"batches/{name}") if tested else {}, smallest, overhead.record(self._part(f"overhead/{name}")),
        )  # fmt: skip


def _differences(path: str, stored: Any, counted: Any) -> Problems:
    """Where a verdict is not what the files come to; times apart."""
    if path.rpartition(".")[2] in _TIMED:
        return
    if isinstance(stored, dict) and isinstance(counted, dict) and stored.keys() == counted.keys():
        for key in stored:
            yield from _differences(f"{path}.{key}", stored[key], counted[key])
    elif isinstance(stored, list | tuple) and isinstance(counted, list | tuple) and len(stored) == len(counted):
        for i, (one, other) in enumerate(zip(stored, counted, strict=True)):
            yield from _differences(f"{path}.{i}", one, other)
    elif stored != counted and not _close(stored, counted):
        yield f"expected {path[1:]} to be {counted!r}, as the files have it, found {stored!r} in the verdict"


def _close(a: Any, b: Any) -> bool:
    return isinstance(a, float) and isinstance(b, float) and math.isclose(a, b, rel_tol=SAME)
