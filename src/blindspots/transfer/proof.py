"""Proves a finished transfer run again, from the stored bytes: the models are asked anew, no attack has a say."""

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from blindspots.data import Dataset, reopened, same_rows
from blindspots.engine.threads import set_threads
from blindspots.errors import InputError
from blindspots.journal import Columns, read_shard
from blindspots.models.foreign import seed_everything
from blindspots.models.load import load_model
from blindspots.models.model import Model
from blindspots.oracle import Oracle
from blindspots.threat import parse_threat
from blindspots.transfer.adapt import Adapted
from blindspots.transfer.changes import rms
from blindspots.transfer.record import CLEAN, SOURCE, TransferFile, TransferVerdict, read_transfer_file
from blindspots.transfer.run import answers, clean_inputs, conclude, noise_of
from blindspots.verify import EDGE, NORM_ROUNDING, SLACK, UNIT_ROUNDOFF, Verification, norm, not_finished, tampered

Say = Callable[[str], None]
Problems = Iterator[str]


def verify_transfer(
    run: str | Path,
    models: Sequence[Model] | None = None,
    data: Dataset | None = None,
    say: Say = lambda text: None,
) -> Verification:
    """Recompute every share of a finished transfer run.

    Args:
        run: the folder.
        models: needed where the run was given networks from Python or trained them itself, in the order of the matrix;
            else they are loaded by their names in run.json.
        data: what the run was made on; else it is opened by its name, and if it is gone, the stored inputs are taken.
        say: gets a sentence on the progress now and then.

    Raises:
        InputError: no finished run is there, or its models cannot be had.
    """
    folder = Path(run)
    try:
        file = read_transfer_file(folder)
    except InputError as error:
        if not (folder / "run.json").is_file():
            raise
        return Verification(0, [], [], [str(error)])
    if file.verdict is None:
        raise not_finished(folder)
    if changed := tampered(folder, file.seal):
        return changed
    with set_threads(file.manifest.threads):
        return _Proof(folder, file, _networks(file, models, say), say).carry_out(data)


def _networks(file: TransferFile, models: Sequence[Model] | None, say: Say) -> list[Model]:
    records = file.manifest.models
    if models is not None and len(models) != len(records):
        raise InputError(f"expected {len(records)} models in the order of the matrix, got {len(models)}: pass all")
    without = [r.name for r in records if r.spec is None]
    if models is None and without:
        raise InputError(
            f"expected the models {', '.join(without)} themselves, since they have no name to load them by: pass all "
            "models, as in verify_transfer(run, models)"
        )
    plain = models or [load_model(str(r.spec), say) for r in records]
    fitted = zip(plain, file.manifest.resized, file.manifest.labels, strict=True)
    return [Adapted(m, size, labels) if size or labels else m for m, size, labels in fitted]


_TOWARDS = ("targeted", "found", "ensemble")  # what is counted of rows that have a target


class _Proof:
    """One call of `verify_transfer`."""

    def __init__(self, folder: Path, file: TransferFile, models: list[Model], say: Say) -> None:
        assert file.verdict is not None
        self.folder, self.file, self.say = folder, file, say
        self.verdict: TransferVerdict = file.verdict
        self.models, self.oracles = models, [Oracle(m, chunk=file.manifest.chunk) for m in models]
        self.checks: list[str] = []
        self.notes: list[str] = []
        self.problems: list[str] = []

    def carry_out(self, data: Dataset | None) -> Verification:
        rows = self.verdict.rows
        if self._hold("every shard has the digest that was recorded, and all its columns", self._files()):
            self._hold("every model is the one that was recorded", self._digests())
            self._hold("the clean rows are those of the data, and the models say of them what was stored",
                       self._clean(self._open(data)))  # fmt: skip
            self._hold("every example lies where it may, and the models say of it, and of the noise, what was stored",
                       self._sources())  # fmt: skip
            self._hold("the verdict is what the shards come to", self._counted())
        return Verification(rows, self.checks, self.notes, self.problems)

    def _hold(self, topic: str, problems: Problems) -> bool:
        found = list(problems)
        self.problems += found
        if not found:
            self.checks.append(topic)
        return not found

    def _shard(self, index: int) -> Columns:
        return read_shard(self.folder, self.file.shards[index])

    def _files(self) -> Problems:
        wanted = 1 + len(self.file.manifest.sources)
        if len(self.file.shards) != wanted:
            yield f"expected {wanted} shards, found {len(self.file.shards)}: the folder is not whole"
            return
        for i, record in enumerate(self.file.shards):
            try:
                columns = self._shard(i)
            except InputError as error:
                yield str(error)
                continue
            if columns.keys() != (SOURCE if i else CLEAN).keys():
                yield f"expected other columns in {record.name}, found {', '.join(sorted(columns))}"

    def _digests(self) -> Problems:
        for model, record in zip(self.models, self.file.manifest.models, strict=True):
            if model.digest != record.digest:
                yield f"expected {record.name} with the digest {record.digest}, got {model.digest}: it is another model"

    def _open(self, data: Dataset | None) -> Dataset | None:
        record = self.file.manifest.data
        if data is not None:
            return same_rows(data, record)
        if record.spec is not None:
            try:
                data = reopened(record)
            except InputError as error:
                self.notes.append(f"The data cannot be opened again, so the stored rows were taken: {error}")
        return data

    def _clean(self, data: Dataset | None) -> Problems:
        columns = self._shard(0)
        x = clean_inputs(columns)
        if data is not None:
            if len(data) != len(x) or data.digest != self.file.manifest.data.digest:
                yield f"expected {data.name} with the digest {self.file.manifest.data.digest}, got other rows"
            else:
                wanted, labels = data.rows(0, len(x))
                if not (torch.equal(wanted, x) and torch.equal(labels, columns["y"])):
                    yield f"expected the rows and labels of {data.name} in the shard of clean rows, found others"
        yield from self._same(x, columns["prediction"], "clean rows")

    def _sources(self) -> Problems:
        count = len(self.file.manifest.sources)
        for i in range(count):
            self.say(f"Asking all models about source {i + 1} of {count}")
            yield from self._source(i, self._shard(1 + i))

    def _source(self, index: int, columns: Columns) -> Problems:
        manifest = self.file.manifest
        name = manifest.sources[index].name
        x, moved = clean_inputs(self._shard(0)), columns["adversarial"]
        threat = parse_threat(manifest.threat).within(*manifest.models[0].bounds)
        yield from self._inside(name, x, moved, columns)
        yield from self._same(moved, columns["prediction"], f"what was made for {name}")
        noisy = noise_of(x, moved, manifest.seed, index + 1, threat, manifest.part_rows)
        if not torch.allclose(rms(x, noisy), columns["noise_rms"], rtol=1e-4, atol=1e-7):
            yield f"expected other noise beside {name} than its seed gives"
        yield from self._same(noisy, columns["noise_prediction"], f"the noise beside {name}")
        if index < len(self.models):
            yield from self._own(index, name, columns)

    def _own(self, index: int, name: str, columns: Columns) -> Problems:
        """What is stored of the source itself follows from what is stored of it as one of the models."""
        clean = self._shard(0)
        own, target, y = columns["own"], columns["target"], clean["y"]
        same = torch.equal(own, columns["prediction"][index])
        if not (same and torch.equal(columns["own_clean"], clean["prediction"][index])):
            yield f"expected {name} to say the same of its own examples in both places"
        if self.file.manifest.amplify is None and not torch.equal(
            columns["found"], torch.where(target >= 0, own == target, own != y)
        ):
            yield f"expected examples for {name} to be counted as found where it is fooled"

    def _inside(self, name: str, x: Tensor, moved: Tensor, columns: Columns) -> Problems:
        """In the box, in the ball if there is one, and of the size that was stored, all taken again in float64."""
        lo, hi = self.file.manifest.models[0].bounds
        threat = parse_threat(self.file.manifest.threat)
        if not bool(((moved >= lo) & (moved <= hi)).all()):
            yield f"expected what was made for {name} in the box from {lo} to {hi}, found values outside"
        sizes = norm(threat.name, moved.numpy(), x.numpy())
        stored = torch.allclose(rms(x, moved), columns["rms"], rtol=NORM_ROUNDING, atol=1e-7)
        if not (stored and np.allclose(sizes, columns["norm"].numpy(), rtol=NORM_ROUNDING, atol=1e-6)):
            yield f"expected changes for {name} of the sizes that were stored, found others"
        if threat.radius is not None:
            room = threat.radius * (1 + SLACK) + UNIT_ROUNDOFF * norm(threat.name, moved.numpy(), 0 * x.numpy())
            if bool((sizes > (threat.radius if threat.name == "l0" else room)).any()):
                yield f"expected changes for {name} of at most {threat.radius}, found {float(sizes.max())}"

    def _same(self, x: Tensor, stored: Tensor, what: str) -> Problems:
        """The models' answers, but where rounding decides between the two best scores."""
        for oracle, record, before in zip(self.oracles, self.file.manifest.models, stored, strict=True):
            with oracle.session():
                seed_everything(self.file.manifest.seed)
                logits = oracle.logits(x).cpu()
            two = logits.topk(2, dim=1).values
            edge = two[:, 0] - two[:, 1] <= EDGE * logits.abs().amax(1)
            differ = int(((answers(logits) != before) & ~edge).sum())
            if differ:
                yield f"expected {record.name} to say of {what} what was stored, but of {differ:,} rows it says other"

    def _counted(self) -> Problems:
        counted = conclude(self.file, self._shard)
        older = self._of_all_rows(self.verdict) and not self._of_all_rows(counted)
        if older:
            self.notes.append("How often targets were reached is counted otherwise since then, and was not proved.")
        for field in TransferVerdict.model_fields:
            before, now = getattr(self.verdict, field), getattr(counted, field)
            if field == "findings" or (older and field in _TOWARDS):
                continue
            if before != now and not _close(before, now):
                yield f"expected {field} of {before} in the verdict, the shards come to {now}"

    def _of_all_rows(self, verdict: TransferVerdict) -> bool:
        """Whether sources are fooled on shares of all rows, as before those that have their target were left out."""
        return all(found.rows == verdict.rows for found in verdict.found)


def _close(a: object, b: object) -> bool:
    return isinstance(a, float) and isinstance(b, float) and math.isclose(a, b, rel_tol=1e-9)
