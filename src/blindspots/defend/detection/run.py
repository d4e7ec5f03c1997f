"""The experiment: detectors are fitted, tested on attacks that they never saw, and attacked by those who know them."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from blindspots.arguments import checked
from blindspots.attacks import Attack
from blindspots.batching import rows_per_call
from blindspots.data import Data, as_data, one_of
from blindspots.defend.detection.asked import (
    TEST,
    TRAIN,
    Asked,
    check,
    chosen_attacks,
    chosen_detectors,
)
from blindspots.defend.detection.detectors.detector import Detector
from blindspots.defend.detection.detectors.file import load
from blindspots.defend.detection.experiment import Experiment, Say
from blindspots.defend.detection.folder import Folder, Memory
from blindspots.defend.detection.guarded import Guarded
from blindspots.defend.detection.record import DetectFile, DetectManifest, DetectVerdict
from blindspots.defend.detection.rows import Split, split
from blindspots.engine.threads import set_threads
from blindspots.errors import InputError
from blindspots.findings import Finding
from blindspots.journal import provenance, threads_of
from blindspots.models.binding import bind
from blindspots.models.first_look import as_model, first_look
from blindspots.models.foreign import own_state
from blindspots.models.model import Model
from blindspots.records import DataRecord, ModelRecord
from blindspots.sizes import check_radius
from blindspots.threat import Threat, as_threat


class Detection:
    """A finished run.

    Attributes:
        verdict: everything that run.json says.
        folder: the run folder, None for a run in memory.
    """

    def __init__(self, file: DetectFile, model: Model, store: Memory) -> None:
        assert file.verdict is not None
        self.file, self.folder, self._model, self._store = file, store.path, model, store
        self.verdict: DetectVerdict = file.verdict

    def __repr__(self) -> str:
        v = self.verdict
        return (
            f"Detection(detector={v.detector!r}, auc={v.auc:.4f}, adaptive_accuracy={v.adaptive_accuracy:.4f}, "
            f"clean={v.clean.share:.4f}, robust={v.robust.share:.4f}, rows={v.rows})"
        )

    @property
    def findings(self) -> list[Finding]:
        return self.verdict.findings

    def guarded(self, name: str | None = None) -> Guarded:
        """The model with a detector, by default the one that the verdict speaks of: the same, plus "reject"."""
        wanted = name or self.verdict.detector
        record = next((d for d in self.verdict.detectors if d.name == wanted), None)
        if record is None:
            known = ", ".join(d.name for d in self.verdict.detectors)
            raise InputError(f"expected a detector among {known}, got {wanted!r}: use one of these")
        fitted = load(self._store.content(f"detectors/{wanted}", _absent), self._model)
        return Guarded(self._model, fitted, record.threshold, record.scale)


def _absent() -> bytes:
    raise InputError("expected the detectors of the run beside it, found them gone: run again")


@own_state()
@checked(threat=as_threat, model=as_model)
def detect(
    model: Model | nn.Module | Callable[[Tensor], Any],
    x: Any = None,
    y: Any = None,
    *,
    threat: Threat,
    detector: str | Detector | Sequence[str | Detector] | None = None,
    data: Data | None = None,
    test: Data | None = None,
    train_attacks: Sequence[str | Attack] | None = None,
    test_attacks: Sequence[str | Attack] | None = None,
    fpr: float = 0.05,
    fit: int | None = None,
    rows: int | None = None,
    protocol: str = "adaptive",
    bare_protocol: str = "fast",
    out: str | Path | None = None,
    resume: bool = False,
    seed: int = 0,
    threads: int | None = None,
    chunk: int | None = None,
    say: Say | None = None,
    command: str | None = None,
) -> Detection:
    """Fit detectors of adversarial examples, and say what they are worth to an adversary who knows them.

    A detector is fitted on clean rows and on what `train_attacks` make of them, its threshold is set on clean rows of
    their own, and it is measured on rows that it never saw, on what `test_attacks` make of them within half, all and
    twice the radius. Only examples that fool the model count, of rows that it gets right. Then model and detector are
    attacked as one: an adversary wins only with a wrong class that is not rejected, and a clean row that is rejected
    counts as wrong (Carlini and Wagner 2017, arXiv 1705.07263).

    Args:
        model: a `Model`, or a network whose inputs lie in [0, 1] and which returns logits (B, C).
        x, y: inputs (N, ...) within the model's bounds, and labels (N,). Instead: `data` (see `as_data`).
        threat: with a radius, e.g. `Linf(8 / 255)`.
        detector: one or several, objects or words such as "density:bandwidth=0.5"; None: all that can be fitted.
        test: the rows to measure on; None: two fifths of `data`, by lot.
        train_attacks, test_attacks: objects or words such as "pgd:steps=40"; None: `asked.TRAIN` and `asked.TEST`.
        fpr: the share of the threshold rows that a detector may reject.
        fit: rows for fitting and threshold, a quarter of them for the latter; None: at most 2000.
        rows: measured rows of `data` where there is no `test`.
        protocol: of the attacks that know the detector.
        bare_protocol: of the attacks on the model alone.
        out: run folder to write; None: keep everything in memory.
        resume: go on with the run in `out`, or begin it. What is finished is not done again.
        seed: decides all randomness.
        threads: CPU threads; None: what is free, or what the run that is resumed was begun with.
        chunk: rows per call of the network, the same in every call; None: by the size of an input.
        say: gets a sentence on the progress now and then.
        command: what to put in the report as the way to repeat the run.

    Raises:
        InputError: something that was given cannot be used, or nothing fools the model; the sentence says what to do.
    """
    model = as_model(model)
    given, measured = bind(model, one_of(x, y, data), None if test is None else as_data(test))
    model = first_look(model, given)
    check(model, threat, fpr)
    check_radius(threat.within(*model.bounds), given.shape)
    named = [detector] if isinstance(detector, str | Detector) else detector
    asked = Asked(
        model, given, measured, threat.within(*model.bounds), chosen_detectors(named), bool(named),
        chosen_attacks(train_attacks, TRAIN, threat), chosen_attacks(test_attacks, TEST, threat), fit, rows, fpr,
        protocol, bare_protocol, seed, rows_per_call("cascade", given.shape, model.device, chunk),
    )  # fmt: skip
    folder = None if out is None else Path(out)
    with set_threads(threads or threads_of(folder, resume)) as used:
        return _begin(asked, used, folder, resume, say or (lambda text: None), command)


def _begin(asked: Asked, threads: int, path: Path | None, resume: bool, say: Say, command: str | None) -> Detection:
    parts = split(asked.data, asked.test, asked.fit, asked.rows, asked.seed)
    fresh = DetectFile(
        manifest=_manifest(asked, threads, parts), command=command,
        started=datetime.now(UTC).isoformat(timespec="seconds"), parts=[], verdict=None, seal=None,
    )  # fmt: skip
    store = Memory(fresh) if path is None else Folder(path, fresh, resume)
    return Detection(Experiment(asked, store, parts, threads, say).carry_out(), asked.model, store)


def _manifest(asked: Asked, threads: int, parts: Split) -> DetectManifest:
    return DetectManifest(
        **provenance(str(asked.model.device), threads, asked.seed),
        model=ModelRecord.of(asked.model),
        data=DataRecord.of(asked.data),
        test=None if asked.test is None else DataRecord.of(asked.test),
        fit_rows=len(parts.fit[1]),
        threshold_rows=len(parts.threshold[1]),
        test_rows=len(parts.test[1]),
        threat=asked.threat.spec,
        radii=asked.radii,
        detectors={name: repr(d) for name, d in asked.detectors.items()},
        train_attacks={name: repr(a) for name, a in asked.train.items()},
        test_attacks={name: repr(a) for name, a in asked.tests.items()},
        fpr=asked.fpr,
        protocol=asked.protocol,
        bare_protocol=asked.bare_protocol,
        chunk=asked.chunk,
    )
