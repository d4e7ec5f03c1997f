"""Proves a finished run again, from the stored bytes alone: none of the code that searched has a say in it."""

import math
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from blindspots.arguments import checked
from blindspots.data import Dataset, reopened, same_rows
from blindspots.errors import InputError
from blindspots.journal import SHARD, Columns, read_run_file, read_shard, seal, shard_path
from blindspots.models.first_look import as_model
from blindspots.models.foreign import own_state
from blindspots.models.load import load_model
from blindspots.models.model import Model
from blindspots.packing import unpack_inputs
from blindspots.records import NO_TARGET, REJECTED
from blindspots.threat import parse_threat, to_8bit
from blindspots.verdict import Manifest, RunFile, ShardRecord, Verdict, conclude

Array = NDArray[Any]
Problems = Iterable[str]
Say = Callable[[str], None]

OUTCOMES = {
    0: "stood",
    1: "won",
    2: "already_wrong",
    3: "budget",
    4: "nonfinite",
    5: "no_start",
    6: "already_target",
    7: "unsearched",
    8: "unconfirmed",
    9: "no_answer",
}
STOOD, WON, ALREADY_WRONG, NONFINITE, ALREADY_TARGET = 0, 1, 2, 4, 6
# Another batch size, memory layout or machine moves scores by rounding: on 39 networks by at most 1.5e-6 of the row's
# largest score. Where that much decides, the row is on the edge and either answer is accepted.
EDGE = 1e-5
# A radius may be exceeded by 1e-5 of it, as in threat.py, and by a tenth of that for the float32 norm it takes.
SLACK = 1.1e-5
UNIT_ROUNDOFF = 2.0**-24  # storing x0 + d in float32 moves every component by that share of it
NORM_ROUNDING = 1e-5  # between a norm in float32 and the same in float64
SAME = 1e-9  # two float64 numbers that came about in the same way, maybe in other versions of numpy and scipy


@dataclass(frozen=True)
class Verification:
    """What `verify` found, in sentences: what holds, what is good to know, and what does not hold."""

    rows: int
    checks: list[str]
    notes: list[str]
    problems: list[str]

    @property
    def ok(self) -> bool:
        return not self.problems


@own_state()
@checked(model=as_model)
def verify(
    run: str | Path, model: Model | None = None, data: Dataset | None = None, say: Say = lambda text: None
) -> Verification:
    """Recompute every claim of a finished run from its folder.

    Args:
        run: the folder.
        model: needed where the run was given a network from Python; else it is loaded by its name in run.json.
        data: what the run was made on; else it is opened by its name, and if it is gone, the stored inputs are taken.
        say: gets a sentence on the progress now and then.

    Returns:
        The outcome; `ok` is False as soon as one byte is not what it was.

    Raises:
        InputError: no finished run is there, or its model cannot be had.
    """
    folder = Path(run)
    try:
        file = read_run_file(folder)
    except InputError as error:
        if not (folder / "run.json").is_file():
            raise
        return Verification(0, [], [], [str(error)])
    if file.verdict is None:
        raise not_finished(folder)
    if changed := tampered(folder, file.seal):
        return changed
    with _threads(file.manifest.threads):
        proof = _Proof(folder, file, file.verdict, _network(file.manifest, model, say), say)
        return proof.carry_out(data)


def not_finished(folder: Path) -> InputError:
    """What is said where there is no verdict to be proved."""
    return InputError(f"expected a finished run in {folder}, found one without a verdict: finish it with --resume")


def tampered(folder: Path, recorded: str | None) -> Verification | None:
    """What comes of a run.json that is not as it was sealed: of what it says, nothing is worth a look."""
    found = seal((folder / "run.json").read_bytes())
    if found == recorded:
        return None
    said = f"expected run.json with the digest {recorded} that it is sealed with, found {found}: it was changed"
    return Verification(0, [], [], [said])


def _network(manifest: Manifest, model: Model | None, say: Say) -> Model:
    if model is None and manifest.model.spec is None:
        raise InputError(
            f"expected the network {manifest.model.name!r} itself, since the run was given it from Python: "
            "pass it, as in bs.verify(run, model)"
        )
    return model or load_model(str(manifest.model.spec), say)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


_RANDOMISED = "the model is randomised: it draws anew when it is asked, so its answers were taken as they are stored"
_WHOLE = "every shard has the digest that was recorded, and all its columns"


class _Proof:
    """One call of `verify`: topics, each a sentence that holds unless problems were found."""

    def __init__(self, folder: Path, file: RunFile, verdict: Verdict, model: Model, say: Say) -> None:
        self.folder, self.file, self.verdict, self.model, self.say = folder, file, verdict, model, say
        self.manifest = file.manifest
        self.topics: dict[str, list[str]] = {"run.json is, to the last byte, as it was sealed": []}
        self.notes: list[str] = []
        self.on_edge, self.older = 0, False

    def hold(self, topic: str, problems: Problems) -> bool:
        found = list(problems)
        self.topics.setdefault(topic, []).extend(found)
        return not found

    def carry_out(self, data: Dataset | None) -> Verification:
        self.hold("the shards that run.json lists are there, and no others", self._files())
        self.hold(_WHOLE, ())
        same_model = self.hold(f"the model {self.manifest.model.name!r} is the one that was attacked", self._digest())
        data = self._open(data)
        if self.hold("the protocol of the verdict is that of the manifest", self._protocol()):
            self._rows(data, same_model)
        if self.older:
            self.notes.append(
                "the run is of an earlier version, which kept no targets: which rows were searched, and which had "
                "their target from the start, was taken as it says"
            )
        if self.on_edge:
            self.notes.append(
                f"{self.on_edge:,} predictions are on the edge: rounding, up to {EDGE:g} of the largest score, decides "
                "them, and here it decided otherwise than when the run was made"
            )
        problems = [p for found in self.topics.values() for p in found]
        return Verification(
            self.verdict.rows, [t for t, found in self.topics.items() if not found], self.notes, problems
        )

    # -------------------------------------------------------------- run.json

    def _files(self) -> Problems:
        listed = {shard_path(self.folder, record).name for record in self.file.shards}
        there = {path.name for path in (self.folder / "shards").glob("*")}
        needed = -(-self.manifest.data.rows // self.manifest.shard_rows)
        if not len(listed) == len(self.file.shards) == needed:
            entries = f"{len(self.file.shards)} entries with {len(listed)} names"
            yield f"expected {needed} shards in run.json, each once, found {entries}"
        if there != listed:
            missing, more = sorted(listed - there), sorted(there - listed)
            yield f"expected the {len(listed)} shards that run.json lists, found {missing} missing and {more} besides"

    def _digest(self) -> Problems:
        expected, found = self.manifest.model.digest, self.model.digest
        if found != expected:
            yield f"expected the model with the digest {expected}, found {found}: its weights or its structure differ"
        if self.model.rejects != self.manifest.model.rejects:
            kind = "a model that may reject" if self.manifest.model.rejects else "a model that never rejects"
            yield f"expected {kind}, found the opposite: pass it with what was around it in the run"

    def _open(self, data: Dataset | None) -> Dataset | None:
        """The data, if they are at hand and the same."""
        spec = self.manifest.data.spec
        if data is None and spec is None:
            self.notes.append("the data came from Python: the inputs and labels were taken as they are stored")
            return None
        try:
            data = reopened(self.manifest.data) if data is None else same_rows(data, self.manifest.data)
        except InputError as error:
            self.notes.append(f"the data could not be opened, so the stored inputs and labels were taken ({error})")
            return None
        return data if self.hold("the data are those that were attacked", self._same_data(data)) else None

    def _same_data(self, data: Dataset) -> Problems:
        expected, found = self.manifest.data, data
        if (found.digest, len(found)) != (expected.digest, expected.rows):
            yield (
                f"expected {expected.rows:,} rows of data with the digest {expected.digest}, "
                f"found {len(found):,} with {found.digest}"
            )

    def _protocol(self) -> Problems:
        stages, reprs = self.verdict.stages, self.manifest.stages
        if len(stages) != len(reprs):
            yield f"expected the {len(reprs)} stages of the manifest, found {len(stages)} in the verdict"
        for stage, text in zip(stages, reprs, strict=False):
            said = f"name={stage.name!r}, attack={stage.attack}, why={stage.why!r}"
            if said not in text:
                yield f"expected the stage {text}, found {said} in the verdict"

    # -------------------------------------------------------------- rows

    def _rows(self, data: Dataset | None, same_model: bool) -> None:
        with self.model.borrowed(), torch.no_grad():
            found = conclude(
                self._shards(data, same_model),
                self.verdict.stages,
                [record.seconds for record in self.file.shards],
                OUTCOMES,
                (0, 0),
                _targeted(self.manifest),
            )
        if self.older:
            found = found.model_copy(update={"reached": None})
        if not self.topics[_WHOLE]:
            self.hold("every number of the verdict follows from the shards", _differences(self.verdict, found))

    def _shards(self, data: Dataset | None, same_model: bool) -> Iterator[dict[str, Array]]:
        """The columns of all shards, one after the other, each once it was examined."""
        start = 0
        for i, record in enumerate(self.file.shards):
            self.say(f"shard {i + 1} of {len(self.file.shards)}")
            columns = self._read(record, i)
            if columns is not None:
                shard = Shard(record.name, start, columns, self.manifest, self.model, data)
                for topic, checks in _topics(same_model and not self._randomised(shard), data is not None, self.older):
                    self.hold(topic, (problem for check in checks for problem in check(shard)))
                self.on_edge += shard.on_edge
                yield {name: t.numpy() for name, t in columns.items()}
            start += record.rows

    def _randomised(self, shard: "Shard") -> bool:
        """Whether the model answers the same question in two ways; then its answers cannot be found again."""
        one, other = (self.model.logits(shard.x[: self.manifest.chunk]) for _ in range(2))
        randomised = bool((one - other).abs().max() > EDGE * one.abs().max())
        if randomised and _RANDOMISED not in self.notes:
            self.notes.append(_RANDOMISED)
        return randomised

    def _read(self, record: ShardRecord, index: int) -> Columns | None:
        """The columns of a shard, None where they are not what was written."""
        try:
            columns = read_shard(self.folder, record)
        except InputError as error:
            self.hold(_WHOLE, [str(error)])
            return None
        if "target" not in columns:
            columns["target"] = torch.full_like(columns.get("id", torch.zeros(0, dtype=torch.int64)), NO_TARGET)
            self.older = True
        whole = self.manifest.shard_rows
        rows = min(whole, self.manifest.data.rows - index * whole)
        fits = self.hold(_WHOLE, _shape(record, rows, columns, self.manifest))
        return columns if fits else None


def _targeted(manifest: Manifest) -> bool:
    """Whether every stage of the manifest counts nothing but its target classes."""
    return bool(manifest.stages) and all("goal=Goal(targeted=True" in stage for stage in manifest.stages)


def _one_class(manifest: Manifest) -> int | None:
    """The class that the manifest names as the target of all rows, if it names one."""
    named = {found[1] for stage in manifest.stages if (found := re.search(r"targets=OneClass\(number=(\d+)\)", stage))}
    return int(named.pop()) if len(named) == 1 and _targeted(manifest) else None


def _shape(record: ShardRecord, rows: int, columns: Columns, manifest: Manifest) -> Problems:
    if set(columns) != set(SHARD):
        yield f"expected the columns {sorted(SHARD)} in {record.name}, found {sorted(columns)}"
        return
    if not len(columns["id"]) == record.rows == rows:
        yield f"expected {rows} rows in {record.name}, found {len(columns['id'])}, and {record.rows} in run.json"
        return
    sizes = {"n": rows, "k": len(columns["broken"]), "stages": len(manifest.stages)}
    for name, text in SHARD.items():
        expected, dtype = _declared(text, sizes, manifest.data.shape)
        found, kind = tuple(columns[name].shape), str(columns[name].dtype).removeprefix("torch.")
        if found != expected or kind not in dtype:
            yield f"expected {name} in {record.name} as {' or '.join(dtype)} {expected}, found {kind} {found}"
            return
    if not np.isin(columns["result"].numpy(), list(OUTCOMES)).all():
        yield f"expected results from 0 to {max(OUTCOMES)} in {record.name}, found others"
        return
    broken = columns["won"].nonzero()[:, 0]
    if not torch.equal(columns["broken"], broken):
        yield f"expected broken in {record.name} to name the {len(broken)} rows that won is true of, found other rows"


def _declared(text: str, sizes: dict[str, int], shape: tuple[int, ...]) -> tuple[tuple[int, ...], list[str]]:
    """Shape and possible dtypes out of a line of `journal.SHARD`, e.g. "(n,) int64 label"."""
    inside, _, after = text.removeprefix("(").partition(")")
    axes = [axis.strip() for axis in inside.split(",") if axis.strip()]
    found = [
        shape if axis == "..." else (sizes.get(axis) or int(axis) if axis.isdigit() else sizes[axis],) for axis in axes
    ]
    return tuple(n for part in found for n in part), re.findall(r"\b(?:u?int\d+|float\d+|bool)\b", after)


def _differences(expected: Verdict, found: Verdict) -> Problems:
    """Where the verdict is not what the shards come to; what preflight looked at before is not in them."""
    for path, stored, counted in _pairs("", expected.model_dump(), found.model_dump()):
        if path == ".findings" or stored == counted:
            continue
        if path in (".forwards_unbilled", ".backwards_unbilled") and stored > counted:
            continue
        if isinstance(stored, float) and isinstance(counted, float) and math.isclose(stored, counted, rel_tol=SAME):
            continue
        yield f"expected {path[1:]} to be {counted!r}, as the shards have it, found {stored!r} in the verdict"


def _pairs(path: str, a: Any, b: Any) -> Iterator[tuple[str, Any, Any]]:
    """The leaves of two like structures; two unlike ones are a leaf."""
    if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
        for key in a:
            yield from _pairs(f"{path}.{key}", a[key], b[key])
    elif isinstance(a, list | tuple) and isinstance(b, list | tuple) and len(a) == len(b) and path != ".findings":
        for i, (one, other) in enumerate(zip(a, b, strict=True)):
            yield from _pairs(f"{path}.{i}", one, other)
    else:
        yield path, a, b


# ------------------------------------------------------------------ what is checked of a shard


class Shard:
    """A shard whose columns have the right shapes, and what the model says of its rows today."""

    def __init__(
        self, name: str, start: int, columns: Columns, manifest: Manifest, model: Model, data: Dataset | None
    ) -> None:
        self.name, self.start, self.columns, self.manifest = name, start, columns, manifest
        self.model, self.data = model, data
        self.threat = parse_threat(manifest.threat)
        self.on_edge = 0

    def __getitem__(self, name: str) -> Array:
        column: Array = self.columns[name].numpy()
        return column

    def __len__(self) -> int:
        return len(self["id"])

    @cached_property
    def x(self) -> Tensor:
        return unpack_inputs(self.columns["x"])

    @cached_property
    def id(self) -> Array:
        return np.arange(self.start, self.start + len(self))

    def of_broken(self, values: Array) -> Array:
        at: Array = values[self["broken"]]
        return at

    @cached_property
    def scores(self) -> "Scores":
        return self._look(self.x, self["y"])

    @cached_property
    def adversarial_scores(self) -> "Scores":
        return self._look(self.columns["adversarial"], self.of_broken(self["y"]))

    @cached_property
    def nearest_scores(self) -> "Scores":
        return self._look(self.columns["nearest"], self.of_broken(self["y"]))

    @cached_property
    def rounded_scores(self) -> "Scores":
        bounds = self.manifest.model.bounds
        return self._look(to_8bit(self.columns["adversarial"], bounds), self.of_broken(self["y"]))

    def _look(self, x: Tensor, y: Array) -> "Scores":
        """In calls of as many rows as when the run was made, the last one filled up, so that the bits agree."""
        size, parts = self.manifest.chunk, []
        for part in (x[i : i + size] for i in range(0, len(x), size)):
            filled = torch.cat([part, part[-1:].expand(size - len(part), *part.shape[1:])])
            if self.manifest.channels_last and x.ndim == 4:
                filled = filled.contiguous(memory_format=torch.channels_last)
            parts.append(self.model.logits(filled)[: len(part)].cpu())
        empty = np.zeros((0, 2 + self.model.rejects), np.float32)
        return Scores(torch.cat(parts).numpy() if parts else empty, y, self.model.rejects)

    def told(self, bad: Any, id: Array, expected: str, found: str) -> Iterator[str]:
        """One sentence on the rows `id` that are `bad`."""
        if bad.any():
            count, first = int(bad.sum()), int(id[int(bad.argmax())])
            rows = f"row {first}" if count == 1 else f"{count:,} rows, the first of them row {first}"
            yield f"expected {expected}, found {found} in {rows} ({self.name})"


@dataclass(frozen=True)
class Scores:
    """What the model says today: logits (m, C) of rows with labels y (m,); (m, C + 1) where the last one rejects."""

    logits: Array
    y: Array
    rejects: bool = False

    @cached_property
    def edge(self) -> Array:
        """How much rounding may move a difference of two scores: (m,)."""
        edge: Array = EDGE * np.abs(self.logits).max(1, initial=0, where=np.isfinite(self.logits))
        return edge

    @property
    def classes(self) -> int:
        return int(self.logits.shape[1]) - self.rejects

    @cached_property
    def fits(self) -> Array:
        """(m,) whether the label is a class of the model."""
        fits: Array = (self.y >= 0) & (self.y < self.classes)
        return fits

    @cached_property
    def margin(self) -> Array:
        """(m,) score of the label, or of rejection if that is larger, minus the largest one of another class."""
        label = np.where(self.fits, self.y, 0)[:, None]
        held = np.take_along_axis(self.logits, label, 1)[:, 0]
        held = np.maximum(held, self.logits[:, -1]) if self.rejects else held
        others = self.logits[:, : self.classes].copy()
        np.put_along_axis(others, label, -np.inf, 1)
        margin: Array = held - others.max(1)
        return margin

    @cached_property
    def confidence(self) -> Array:
        """(m,) the largest probability."""
        confidence: Array = torch.from_numpy(self.logits).softmax(1).amax(1).numpy()
        return confidence

    def predicts(self, classes: Array) -> tuple[Array, Array]:
        """(m,) rows of which these classes are the prediction, and rows of which they may be, but for rounding."""
        first, rejected = self.logits.argmax(1), (classes == REJECTED) & self.rejects
        column = np.where(rejected, self.classes, classes)
        inside = rejected | ((classes >= 0) & (classes < self.classes))
        score = np.take_along_axis(self.logits, np.where(inside, column, 0)[:, None], 1)[:, 0]
        close = inside & (self.logits.max(1, initial=-np.inf) - score <= self.edge)
        same = inside & (first == column)
        return same, close & ~same


Check = Callable[[Shard], Problems]


def _topics(same_model: bool, data: bool, older: bool) -> Iterator[tuple[str, tuple[Check, ...]]]:
    yield "outcomes, stages and costs of all rows fit together", (_outcomes, _stages, _costs)
    if not older:
        yield "rows that stand were searched", (_searches,)
        yield "rows that had their target from the start, and no others, are left out", (_targets,)
    yield "every adversarial example lies in the box and, measured anew, within the threat", (_inside, _sizes)
    if data:
        yield "the stored inputs and labels are those of the data", (_inputs,)
    if same_model:
        yield "what the model says of every input was found again", (_clean,)
        yield (
            "every adversarial example is misclassified, also after rounding where that is claimed",
            (_adversarial, _rounded),
        )


def _outcomes(s: Shard) -> Problems:
    right, won, result = s["right"], s["won"], s["result"]
    right_first = result != ALREADY_WRONG
    says = ~right_first | (result == NONFINITE) | (result == ALREADY_TARGET)
    yield from s.told(s["id"] != s.id, s.id, "rows in the order of the data", "another number")
    yield from s.told(won & ~right, s.id, "only rows that were right at first to be broken", "a wrong one")
    yield from s.told(
        right & (s["prediction"] != s["y"]), s.id, "right rows to be predicted as labelled", "another class"
    )
    yield from s.told(won != (result == WON), s.id, "won where the result says so", "a contradiction")
    yield from s.told(~right & ~says, s.id, "rows that were wrong at first to say so", "another result")
    yield from s.told(right & ~right_first, s.id, "right rows not to count as wrong at first", "a contradiction")
    margin = s["margin"]
    yield from s.told(won & ~(margin < 0), s.id, "the margin of a broken row below 0", "another one")
    yield from s.told(right & ~won & ~(margin >= 0), s.id, "the margin of a row that stands at least 0", "another one")


def _searches(s: Shard) -> Problems:
    """A row that stands after a search has cost one: a look at it and two more, and there was room to look in."""
    stood, draws = s["result"] == STOOD, s.manifest.draws
    unpaid = s["forwards"] < 3 * draws
    yield from s.told(stood & unpaid, s.id, "a search of the rows that stand", "no look of an attack")
    if s.threat.radius == 0:
        yield from s.told(stood, s.id, "no search where nothing may change", "one")
    entered = int(s["stage_counts"][:, 0].sum())
    if entered < stood.sum():
        yield f"expected the {stood.sum()} rows that stand to have entered a stage, found {entered} ({s.name})"


def _targets(s: Shard) -> Problems:
    target, result = s["target"], s["result"]
    left_out = result == ALREADY_TARGET
    if not _targeted(s.manifest):
        yield from s.told(left_out | (target != NO_TARGET), s.id, "no targets in a run without them", "one")
        return
    had = (target == s["prediction"]) | (target == s["y"])
    had &= (target != NO_TARGET) & (result != NONFINITE)
    yield from s.told(left_out != had, s.id, "rows left out where they had their target", "a contradiction")
    other = s["adversarial_prediction"] != s.of_broken(target)
    yield from s.told(other, s.of_broken(s.id), "adversarial examples that are taken for their target", "another class")
    if (named := _one_class(s.manifest)) is not None:
        yield from s.told(target != named, s.id, f"the target {named} that the manifest names", "another class")


def _stages(s: Shard) -> Problems:
    stage, counts = s["stage"], s["stage_counts"]
    known = (stage >= 0) & (stage < len(counts))
    yield from s.told(s["won"] & ~known, s.id, "the stage that broke the row", "none")
    yield from s.told(~s["won"] & (stage != -1), s.id, "no stage where nothing was broken", "one")
    for i, (entered, won, *_) in enumerate(counts.tolist()):
        broken = int((stage == i).sum())
        if won != broken:
            yield f"expected {broken} rows of stage {i}, as their column says, found {won} in its counts ({s.name})"
        if not won <= entered <= s["right"].sum():
            yield f"expected {won} to {s['right'].sum()} rows to enter stage {i}, found {entered} ({s.name})"


def _costs(s: Shard) -> Problems:
    """One look at every clean input, of as many answers as are averaged, and what the stages cost."""
    yield from s.told(s["forwards"] < 1, s.id, "at least one forward", "less")
    yield from s.told(s["backwards"] < 0, s.id, "no less than 0 backwards", "less")
    stages = s["stage_counts"].sum(0)
    for name, expected in (("forwards", len(s) * s.manifest.draws + int(stages[2])), ("backwards", int(stages[3]))):
        found = int(s[name].sum())
        if found != expected:
            yield f"expected {expected:,} {name} of all rows, as the stages count them, found {found:,} ({s.name})"
    if (s["unbilled"] < 0).any() or (s["stage_counts"] < 0).any():
        yield f"expected counts of at least 0, found a negative one ({s.name})"


def _inside(s: Shard) -> Problems:
    lo, hi = map(np.float32, s.manifest.model.bounds)
    clean, id = s.of_broken(s.x.numpy()), s.of_broken(s.id)
    for name in ("adversarial", "nearest"):
        x = _flat(s[name])
        yield from s.told(~np.isfinite(x).all(1), id, f"finite numbers in {name}", "others")
        out = ~((x >= lo) & (x <= hi)).all(1)
        yield from s.told(out, id, f"{name} within [{lo:g}, {hi:g}]", "values outside")
        if s.threat.radius is not None:
            size = norm(s.threat.name, s[name], clean)
            far = ~(size <= _reach(s.threat.name, s.threat.radius, x))
            furthest = f"a distance of up to {size.max(initial=0):.9g}"
            yield from s.told(far, id, f"{name} within {s.manifest.threat}", furthest)


def _reach(name: str, radius: float, x: Array) -> Array:
    """How far float32 may be away: (m,). A count needs no slack."""
    slack = 0.0 if name == "l0" else radius * SLACK + UNIT_ROUNDOFF * norm(name, x, np.zeros_like(x))
    reach: Array = np.broadcast_to(np.asarray(radius + slack), len(x))
    return reach


def _flat(x: Array) -> Array:
    return x.reshape(len(x), math.prod(x.shape[1:]))  # -1 would not do for no rows


def norm(name: str, x: Array, x0: Array) -> Array:
    """|x - x0| of each row in float64: (m,)."""
    d = _flat(np.abs(x.astype(np.float64) - x0))
    measures: dict[str, Callable[[Array], Any]] = {
        "linf": lambda d: d.max(1, initial=0),
        "l2": lambda d: np.sqrt(np.square(d).sum(1)),
        "l1": lambda d: d.sum(1),
        "l0": lambda d: np.count_nonzero(d, axis=1),
    }
    size: Array = measures[name](d)
    return size


def _sizes(s: Shard) -> Problems:
    clean, id, stored = s.of_broken(s.x.numpy()), s.of_broken(s.id), s.of_broken(s["norm"])
    size = norm(s.threat.name, s["nearest"], clean)
    yield from s.told(~s["won"] & ~np.isposinf(s["norm"]), s.id, "no distance where nothing was broken", "one")
    wrong = ~(np.abs(stored - size) <= NORM_ROUNDING * size)
    yield from s.told(wrong, id, "the stored distance to be that of the nearest example", "another one")
    if s.threat.radius is None:
        other = _flat(s["nearest"] != s["adversarial"]).any(1)
        yield from s.told(other, id, "the nearest example alone in an unbounded threat", "two")
    further = ~(size <= norm(s.threat.name, s["adversarial"], clean) * (1 + NORM_ROUNDING))
    yield from s.told(further, id, "no adversarial example nearer than the nearest", "one")


def _inputs(s: Shard) -> Problems:
    assert s.data is not None
    x, y = s.data.rows(s.start, s.start + len(s))
    other = (x != s.x).flatten(1).any(1).numpy()
    yield from s.told(other, s.id, "the inputs of the data", "others")
    yield from s.told(y.numpy() != s["y"], s.id, "the labels of the data", "others")


def _clean(s: Shard) -> Problems:
    scores = s.scores
    yield from s.told(~scores.fits, s.id, f"labels from 0 to {scores.classes - 1}", "others")
    yield from _same_predictions(s, scores, s.id, "prediction", "confidence")
    counts = np.isfinite(scores.margin)
    wrong = s["right"] != ((s["prediction"] == s["y"]) & counts)
    yield from s.told(wrong, s.id, "rows to be right where the model is", "a contradiction")
    nan = (s["result"] == NONFINITE) & ~s["right"] & counts
    yield from s.told(nan, s.id, "scores that are not finite, as the result says", "finite ones")
    rises = s["right"] & ~(s["margin"] <= scores.margin + scores.edge)
    yield from s.told(rises, s.id, "a lowest margin no higher than on the clean input", "a higher one")


def _same_predictions(s: Shard, scores: Scores, id: Array, prediction: str, confidence: str | None) -> Problems:
    same, close = scores.predicts(s[prediction])
    s.on_edge += int(close.sum())
    yield from s.told(~(same | close), id, f"the stored {prediction}", "another class")
    if confidence is not None:
        off = ~(np.abs(scores.confidence - s[confidence]) <= scores.edge + EDGE)
        finite = np.isfinite(scores.confidence) | np.isfinite(s[confidence])
        yield from s.told(off & finite, id, f"the stored {confidence}", "another number")


def _adversarial(s: Shard) -> Problems:
    id = s.of_broken(s.id)
    yield from _same_predictions(s, s.adversarial_scores, id, "adversarial_prediction", "adversarial_confidence")
    for name, scores in (("adversarial", s.adversarial_scores), ("nearest", s.nearest_scores)):
        fooled, close = scores.margin < 0, np.abs(scores.margin) <= scores.edge
        s.on_edge += int((~fooled & close).sum())
        yield from s.told(~(fooled | close), id, f"{name} to be misclassified", "the label")


def _rounded(s: Shard) -> Problems:
    yield from _same_predictions(s, s.rounded_scores, s.of_broken(s.id), "prediction_8bit", None)
