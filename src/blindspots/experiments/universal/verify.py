"""Proves a finished universal run again: the stored perturbation is put on the rows anew, no search has a say."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from blindspots.data import Dataset, reopened, same_rows
from blindspots.data.splits import Rows, divide
from blindspots.engine.threads import set_threads
from blindspots.errors import InputError
from blindspots.models.load import load_model
from blindspots.models.model import Model
from blindspots.oracle import Oracle
from blindspots.records import DataRecord, ModelRecord, Share
from blindspots.threat import parse_threat
from blindspots.experiments.universal.file import load_perturbation
from blindspots.experiments.universal.folder import read_universal_file
from blindspots.experiments.universal.measure import fooled
from blindspots.experiments.universal.verdict import Effect, UniversalFile, UniversalVerdict
from blindspots.verify import EDGE, SLACK, Verification, norm, not_finished, tampered

Say = Callable[[str], None]
Problems = Iterator[str]
T = TypeVar("T")


def verify_universal(
    run: str | Path,
    model: Model | None = None,
    data: Dataset | None = None,
    heldout: Dataset | None = None,
    say: Say = lambda text: None,
) -> Verification:
    """Put the stored perturbation on the fit and the held-out rows again, and compare what comes of it.

    Controls, curves and what else was found out are not made again.

    Args:
        run: the folder.
        model, data, heldout: needed where the run was given them from Python; else they are opened by their names.
        say: gets a sentence on the progress now and then.

    Raises:
        InputError: no finished run is there, or its model or data cannot be had.
    """
    folder = Path(run)
    file = read_universal_file(folder)
    if file.verdict is None:
        raise not_finished(folder)
    if changed := tampered(folder, file.seal):
        return changed
    named = model or _named(file.manifest.model.spec, "model", lambda spec: load_model(spec, say))
    rows, others = _rows(data, file.manifest.data, "data"), _rows(heldout, file.manifest.heldout, "heldout")
    assert rows is not None
    with set_threads(file.manifest.threads):
        return _Proof(folder, file, file.verdict, named, rows, others, say).carry_out()


def _named(spec: str | None, what: str, load: Callable[[str], T]) -> T:
    if spec is None:
        raise InputError(f"expected the {what} itself, since it has no name to open it by: pass {what}=...")
    return load(spec)


def _rows(given: Dataset | None, record: DataRecord | None, what: str) -> Dataset | None:
    """As many rows as the run took, given or opened by their name."""
    if record is None:
        return None
    data = None if given is None else same_rows(given, record)
    if data is None or (len(data) > record.rows and record.spec is not None):
        return _named(record.spec, what, lambda spec: reopened(record))
    return data


class _Proof:
    """One call of `verify_universal`."""

    def __init__(
        self,
        folder: Path,
        file: UniversalFile,
        verdict: UniversalVerdict,
        model: Model,
        data: Dataset,
        heldout: Dataset | None,
        say: Say,
    ) -> None:
        self.folder, self.file, self.verdict, self.say = folder, file, verdict, say
        self.model, self.heldout = model, heldout
        self.data = data
        self.checks: list[str] = []
        self.problems: list[str] = []

    def carry_out(self) -> Verification:
        rows = self.file.manifest.fit_rows + self.file.manifest.heldout_rows
        self._hold("model and data are those that were recorded", self._digests())
        if self._hold("the perturbation is the one that was recorded, and no larger than the threat", self._size()):
            self._hold("on the fit and the held-out rows it does what was recorded, clipped and not", self._effects())
        self._hold("the rates of the verdict are what was counted", self._rates())
        notes = ["Controls, curves, labels and geometry were not made again."]
        return Verification(rows, self.checks, notes, self.problems)

    def _hold(self, topic: str, problems: Problems) -> bool:
        found = list(problems)
        self.problems += found
        if not found:
            self.checks.append(topic)
        return not found

    def _digests(self) -> Problems:
        m = self.file.manifest
        known: list[tuple[Model | Dataset, ModelRecord | DataRecord]]
        known = [(self.model, m.model), (self.data, m.data)]
        known += [(self.heldout, m.heldout)] if self.heldout is not None and m.heldout is not None else []
        for thing, record in known:
            if thing.digest != record.digest:
                yield f"expected {record.name} with the digest {record.digest}, got {thing.digest}: it is another one"

    def _size(self) -> Problems:
        read = load_perturbation(self.folder / "perturbation.safetensors")
        if read.sha != self.file.perturbation_sha256:
            yield f"expected perturbation.safetensors with the digest {self.file.perturbation_sha256}, got {read.sha}"
            return
        threat = parse_threat(self.file.manifest.threat)
        sizes = norm(threat.name, read.v.numpy(), np.zeros_like(read.v.numpy()))
        if bool((sizes > float(threat.radius or 0) * (1 + SLACK)).any()):
            yield f"expected a perturbation of at most {threat.radius}, found {float(sizes.max())}"
        self.v = read.v

    def _effects(self) -> Problems:
        m = self.file.manifest
        held = self.heldout if self.heldout is not None else m.heldout_rows
        division = divide(self.data, m.fit_rows, held, m.seed)
        stored = {
            (0, True): self.verdict.fit,
            (0, False): self.verdict.fit_unclipped,
            (1, True): self.verdict.heldout,
            (1, False): self.verdict.heldout_unclipped,
        }
        oracle = Oracle(self.model, chunk=m.chunk)
        with oracle.session():
            for (which, clip), before in stored.items():
                rows, name = ((division.fit, "fit"), (division.heldout, "held-out"))[which]
                self.say(f"Asking {self.model.name} about the {name} rows{'' if clip else ', not clipped'}")
                yield from self._effect(oracle, rows, name, clip, before)

    def _effect(self, oracle: Oracle, rows: Rows, name: str, clip: bool, before: Effect) -> Problems:
        """The same counts, but for rows where rounding decides between the two best scores."""
        if len(rows) != before.clean_accuracy.rows:
            yield f"expected {before.clean_accuracy.rows} {name} rows, got {len(rows)}: the division differs"
            return
        hits, edge = 0, 0
        for places in rows.blocks():
            x = rows.take(places)[0].to(oracle.device)
            clean, unsure = _answers(oracle.logits(x))
            now, unsure_now = _answers(oracle.logits(self._painted(x, clean, clip)))
            hits += int(fooled(clean, now, self.file.manifest.target).sum())
            edge += int((unsure | unsure_now).sum())
        if abs(hits - before.fooled.hits) > edge:
            yield f"expected {before.fooled.hits} of the {name} rows to be fooled, got {hits}"

    def _painted(self, x: Tensor, clean: Tensor, clip: bool) -> Tensor:
        moved = x + self.v.to(x.device)[clean if self.file.manifest.per_class else torch.zeros_like(clean)]
        return moved.clamp(*self.model.bounds) if clip else moved

    def _rates(self) -> Problems:
        v = self.verdict
        for effect in (v.fit, v.heldout, v.fit_unclipped, v.heldout_unclipped):
            for share in (effect.fooled, effect.accuracy, effect.clean_accuracy):
                if share != Share.of(share.hits, share.rows):
                    yield f"expected the share and interval of {share.hits} of {share.rows}, found {share}"
        told = (v.fooling_rate_fit, v.fooling_rate_heldout, v.interval, v.fooling_rate_heldout_unclipped)
        counted = (
            v.fit.fooled.share,
            v.heldout.fooled.share,
            v.heldout.fooled.interval,
            v.heldout_unclipped.fooled.share,
        )
        if told != counted:
            yield f"expected the rates {counted} in the verdict, found {told}"


def _answers(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Predictions (B,), and where rounding may have decided them (B,) bool."""
    two = logits.topk(2, dim=1)
    return two.indices[:, 0], two.values[:, 0] - two.values[:, 1] <= EDGE * logits.abs().amax(1)
