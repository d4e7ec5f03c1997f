"""The experiment: a universal perturbation is made on some rows and judged on others, in memory or in a run folder."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from blindspots.arguments import checked
from blindspots.data import Data, Dataset, as_data, notes_of, one_of
from blindspots.data.splits import Division, divide
from blindspots.engine.threads import set_threads
from blindspots.errors import InputError
from blindspots.journal import provenance, threads_of
from blindspots.models.binding import bind, bound
from blindspots.models.first_look import as_model, first_look
from blindspots.models.foreign import own_state
from blindspots.models.model import Model
from blindspots.oracle import Oracle
from blindspots.preflight import examine
from blindspots.records import DataRecord, ModelRecord
from blindspots.sizes import check_radius
from blindspots.threat import Threat, as_threat
from blindspots.universal.asked import Asked, Studies, UniversalOptions
from blindspots.universal.file import Perturbation
from blindspots.universal.fitting import Found, Memory, Stage
from blindspots.universal.fitting import fit as search
from blindspots.universal.folder import Folder
from blindspots.universal.judge import Judge
from blindspots.universal.methods import Method, Periodic, parse_method
from blindspots.universal.record import UniversalFile, UniversalManifest, UniversalVerdict

_FIT = 500
_EXAMINED = 16  # rows that the checks beforehand look at


class Universal:
    """A finished run.

    Attributes:
        perturbation: (groups, *shape) float32, one group unless there is one perturbation per class.
        verdict: what run.json says.
        folder: the run folder, None for a run in memory.
    """

    def __init__(self, file: UniversalFile, perturbation: Tensor, folder: Path | None) -> None:
        assert file.verdict is not None
        self.file, self.perturbation, self.folder = file, perturbation, folder
        self.verdict: UniversalVerdict = file.verdict

    def __repr__(self) -> str:
        v = self.verdict
        return (
            f"Universal(fooling_rate_heldout={v.fooling_rate_heldout:.4f}, interval=({v.interval[0]:.4f}, "
            f"{v.interval[1]:.4f}), fooling_rate_fit={v.fooling_rate_fit:.4f}, norm={v.norm:.4g})"
        )


@own_state()
@checked(threat=as_threat, model=as_model)
def universal(
    model: Model | nn.Module | Callable[[Tensor], Any],
    x: Any = None,
    y: Any = None,
    *,
    threat: Threat,
    method: Method | str | None = None,
    data: Data | None = None,
    fit: int | None = None,
    heldout: int | Data | None = None,
    target: int | None = None,
    per_class: bool = False,
    clip: bool = True,
    perturbation: Perturbation | None = None,
    studies: Studies | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    options: UniversalOptions | None = None,
    watch: Callable[[Stage], None] | None = None,
    command: str | None = None,
) -> Universal:
    """Search for one change that fools a model on most inputs, and say on how many unseen ones it does.

    Args:
        model: a `Model`, or a network whose inputs lie in [0, 1] and which returns logits (B, C).
        x, y: inputs (N, ...) within the model's bounds, and labels (N,). Instead: `data` (see `as_data`).
        threat: linf or l2 with a radius, e.g. `Linf(10 / 255)`.
        method: such as `Periodic()`, `UAP(delta=0.2)` or words; None: `Periodic()`.
        fit: how many rows the search sees, drawn by lot; None: 500, but at most two thirds of them.
        heldout: how many of the other rows judge it, or other data; None: all others.
        target: the class that every input is to be taken for; None: any but its own.
        per_class: a perturbation for each predicted class.
        clip: search with x + v kept in the box. What is reported says both.
        perturbation: only measure this one, made within the threat and the model's bounds; the method is not run, so
            the model may be one that only answers. One per class is measured as such.
        studies: what else is found out.
        out: run folder to write; None: keep everything in memory.
        resume: go on with the run in `out`, or begin it. The search goes on after its last whole pass.
        watch: is told how far the search has come.
        command: what to put in the report as the way to repeat the run.

    Raises:
        InputError: something that was given cannot be used; the sentence says what to do.
    """
    model = as_model(model)
    given, other = bind(model, one_of(x, y, data), None if isinstance(heldout, int | None) else as_data(heldout))
    heldout = heldout if other is None else other
    model = first_look(model, given)
    method = parse_method(method) if isinstance(method, str) else method or Periodic()
    rows = _usual(len(given), heldout) if fit is None else fit
    per_class = per_class or (perturbation is not None and perturbation.per_class)
    asked = Asked(
        model, given, threat.within(*model.bounds), method, rows, heldout, target, per_class, clip, perturbation,
        _looked_at(studies or Studies(), given), options or UniversalOptions(), watch or (lambda stage: None),
    )  # fmt: skip
    return _carry_out(asked, None if out is None else Path(out), resume, command)


def _looked_at(studies: Studies, data: Dataset) -> Studies:
    others = [as_model(m) for m in studies.others]
    for other in others:
        bound(other, data)  # the same classes in the same order, as far as they have names
    return replace(studies, others=tuple(_seen(m, data) for m in others))


def _seen(other: Model, data: Dataset) -> Model:
    try:
        return first_look(other, data)
    except InputError as error:
        raise InputError(
            f"expected networks that take inputs of shape {data.shape}, got {other.name}, which says: {error}"
        ) from error


def _usual(rows: int, heldout: int | Dataset | None) -> int:
    return min(_FIT, rows if heldout is not None and not isinstance(heldout, int) else max(2 * rows // 3, 1))


def _carry_out(asked: Asked, path: Path | None, resume: bool, command: str | None) -> Universal:
    asked.check()
    division = divide(asked.data, asked.fit_rows, asked.heldout, asked.options.seed)
    asked.check_fit(division.fit)
    with set_threads(asked.options.threads or threads_of(path, resume)) as threads:
        started = datetime.now(UTC).isoformat(timespec="seconds")
        file = UniversalFile(
            manifest=_manifest(asked, threads, division), command=command, started=started,
            perturbation_sha256=None, verdict=None, seal=None,
        )  # fmt: skip
        folder = Folder(path, file, resume) if path else None
        if folder and folder.finished:
            return Universal(folder.finished, folder.perturbation(), path)
        return _found_out(asked, division, folder, file)


def _found_out(asked: Asked, division: Division, folder: Folder | None, file: UniversalFile) -> Universal:
    oracle = Oracle(asked.model, chunk=asked.chunk)
    with oracle.session():
        first = division.fit.take(torch.arange(min(_EXAMINED, len(division.fit))))
        examined = examine(asked.model, *first, seed=asked.options.seed).findings
        doubts = check_radius(asked.threat, asked.data.shape)
        findings = [
            *examined,
            *doubts,
            *asked.notes,
            *asked.model.notes,
            *notes_of(asked.data, asked.heldout),
            *division.findings,
        ]
        found = _found(asked, oracle, division, asked.groups(oracle, first[0]), folder.memory() if folder else Memory())
        verdict, shown = Judge(asked, oracle, division, found).verdict(findings)
    if folder:
        return Universal(folder.conclude(found.v, asked.threat, shown, verdict), found.v, folder.path)
    return Universal(file.model_copy(update={"verdict": verdict}), found.v, None)


def _found(asked: Asked, oracle: Oracle, division: Division, groups: int, memory: Memory) -> Found:
    if asked.given is not None:
        return Found.given(asked.given.v)
    return search(oracle, asked.method, division.fit, asked.wanted(groups), asked.watch, memory)


def _manifest(asked: Asked, threads: int, division: Division) -> UniversalManifest:
    other = asked.heldout if asked.heldout is not None and not isinstance(asked.heldout, int) else None
    return UniversalManifest(
        **provenance(str(asked.model.device), threads, asked.options.seed),
        model=ModelRecord.of(asked.model),
        data=DataRecord.of(asked.data),
        heldout=None if other is None else DataRecord.of(other),
        fit_rows=len(division.fit),
        heldout_rows=len(division.heldout),
        threat=asked.threat.spec,
        method=repr(asked.method) if asked.given is None else f"measured: {asked.given.sha}",
        target=asked.target,
        per_class=asked.per_class,
        clip=asked.clip,
        chunk=asked.chunk,
        extras=asked.studies.words(),
    )
