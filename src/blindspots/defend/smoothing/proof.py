"""Proves a finished certification again: radii from the stored votes, and of some rows the votes themselves."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from scipy.stats import beta, binomtest, norm
from torch import Tensor

from blindspots.data import Dataset, reopened, same_rows
from blindspots.defend.smoothing.conclude import conclude
from blindspots.defend.smoothing.folder import read_certify_file, read_rows
from blindspots.defend.smoothing.record import COLUMNS, CertifyFile, CertifyVerdict
from blindspots.defend.smoothing.smoothed import COUNTING, JUDGING, SELECTING, Smoothed
from blindspots.engine.threads import set_threads
from blindspots.errors import InputError
from blindspots.journal import Columns
from blindspots.models.load import load_model
from blindspots.models.model import Model
from blindspots.random import keys
from blindspots.verify import EDGE, SAME, SLACK, Verification, not_finished, tampered

REDRAWN = 3  # rows whose votes are taken again
Problems = Iterator[str]
Say = Callable[[str], None]


def verify_certify(
    run: str | Path, model: Model | None = None, data: Dataset | None = None, say: Say = lambda text: None
) -> Verification:
    """Compute every certificate again from the stored votes, and take the votes of some rows and of all finds again.

    Args:
        run: the folder.
        model, data: needed where the run was given them from Python; else they are opened by their names.
        say: gets a sentence on the progress now and then.

    Raises:
        InputError: no finished run is there, or its model or data cannot be had.
    """
    folder = Path(run)
    file = read_certify_file(folder)
    if file.verdict is None:
        raise not_finished(folder)
    if changed := tampered(folder, file.seal):
        return changed
    try:
        columns = read_rows(folder, file)
    except InputError as error:
        return Verification(file.verdict.rows, [], [], [str(error)])
    named = model or load_model(_name(file.manifest.model.spec, "model"), say)
    record = file.manifest.data
    _ = data is not None or _name(record.spec, "data")
    rows = reopened(record) if data is None else same_rows(data, record)
    with set_threads(file.manifest.threads):
        return _Proof(file, file.verdict, columns, named, rows, say).carry_out()


def _name(spec: str | None, what: str) -> str:
    if spec is None:
        raise InputError(f"expected the {what} itself, since it has no name to open it by: pass {what}=...")
    return spec


class _Proof:
    """One call of `verify_certify`. Bounds are computed with scipy alone, not with what the run used."""

    def __init__(
        self, file: CertifyFile, verdict: CertifyVerdict, columns: Columns, model: Model, data: Dataset, say: Say
    ) -> None:
        self.m, self.verdict, self.columns, self.model, self.data = file.manifest, verdict, columns, model, data
        self.say, self.checks, self.problems = say, list[str](), list[str]()
        self.smoothed = Smoothed(model, self.m.sigma, seed=self.m.seed, chunk=self.m.chunk)
        self.redrawn = sorted({0, verdict.rows // 2, verdict.rows - 1})[:REDRAWN]

    def carry_out(self) -> Verification:
        self._hold("run.json and rows.safetensors are, to the last byte, as they were sealed", iter(()))
        same = self._hold("model and data are those that were certified", self._digests())
        if self._hold("all rows are there, with all their columns", self._shapes()):
            self._hold("every prediction and every radius follows from its votes", self._radii())
            self._hold("every number of the verdict follows from the rows", self._verdict())
            if same:
                self._hold(f"the votes of {len(self.redrawn)} rows came out again", self._votes())
                self._hold("what attacks found lies within its radius and is taken for another class", self._found())
        rest = f"Of the other {self.verdict.rows - len(self.redrawn):,} rows the votes were taken as they are stored."
        return Verification(self.verdict.rows, self.checks, [rest], self.problems)

    def _hold(self, topic: str, problems: Problems) -> bool:
        found = list(problems)
        self.problems += found
        self.checks += [] if found else [topic]
        return not found

    def _digests(self) -> Problems:
        for name, found, expected in (
            (self.m.model.name, self.model.digest, self.m.model.digest),
            (self.m.data.name, self.data.digest, self.m.data.digest),
        ):
            if found != expected:
                yield f"expected {name} with the digest {expected}, got {found}: it is another one"

    def _shapes(self) -> Problems:
        """As many entries as rows, or as rows that fell, and those are the ones that `broken` names."""
        rows, fallen = self.verdict.rows, len(self.columns["broken"])
        for name, text in COLUMNS.items():
            expected, found = rows if text.startswith("(n") else fallen, len(self.columns[name])
            if found != expected:
                yield f"expected {expected} entries of {name}, found {found}"
        fell = self.columns["broken_at"].isfinite().nonzero()[:, 0]
        if not torch.equal(self.columns["broken"].sort().values, fell):
            yield f"expected broken to name the {len(fell)} rows with a find, found other rows"
        if rows != self.m.data.rows:
            yield f"expected {self.m.data.rows} rows, as many as the data have, found {rows}"

    # -------------------------------------------------------------- from the votes

    def _radii(self) -> Problems:
        c = {name: t.numpy() for name, t in self.columns.items()}
        top = c["selected"].argmax(1)
        hits = np.take_along_axis(c["counts"], top[:, None], 1)[:, 0]
        if (c["counts"].sum(1) > c["draws"]).any() or (c["counts"] < 0).any() or (c["draws"] > self.m.samples).any():
            yield "expected no more votes than draws, found more"
        low = np.nan_to_num(beta.ppf(self.m.alpha, hits, self.m.samples - hits + 1))  # of no hits: nan
        sure = np.where(low > 0.5, self.m.sigma * norm.ppf(low), 0.0)
        yield from _told(~np.isclose(c["radius"], sure, rtol=SAME, atol=SAME), "the radius that its votes prove")
        yield from _told(c["prediction"] != np.where(sure > 0, top, -1), "the class that its votes prove")
        left = hits + self.m.samples - c["draws"]
        hopeless = beta.ppf(self.m.alpha, left, self.m.samples - left + 1) <= 0.5
        yield from _told((left > hits) & ~hopeless, f"{self.m.samples:,} draws, since they could have certified it")

    def _verdict(self) -> Problems:
        v = self.verdict
        cost = (v.forwards, v.backwards, v.seconds, v.seconds_per_certificate * v.rows)
        counted = conclude(self.columns, self.m, cost).model_dump(exclude={"findings"})
        for name, value in v.model_dump(exclude={"findings"}).items():
            if value != counted[name]:
                yield f"expected {name} to be {counted[name]}, as the rows have it, found {value} in the verdict"

    # -------------------------------------------------------------- from the model

    def _votes(self) -> Problems:
        with self.smoothed.asked(tuple(self.m.data.shape)) as oracle:
            for i in self.redrawn:
                self.say(f"taking the votes of row {i:,} again")
                x, y = self.data.rows(i, i + 1)
                if int(y[0]) != int(self.columns["y"][i]):
                    yield f"expected the label {int(y[0])} of the data, found {int(self.columns['y'][i])} in row {i}"
                for column, purpose, n in (
                    ("selected", SELECTING, self.m.n0), ("counts", COUNTING, int(self.columns["draws"][i])),
                ):  # fmt: skip
                    key = keys(self.m.seed, torch.tensor([i]), purpose)[0]
                    logits = torch.cat(list(self.smoothed.answers(oracle, x[0], key, n)))
                    yield from self._same(logits, self.columns[column][i], f"{column} of row {i}")

    def _same(self, logits: Tensor, stored: Tensor, what: str) -> Problems:
        """The stored votes, but for draws where rounding decides between the two best scores."""
        finite = logits.isfinite().all(1)
        two = logits.topk(2, 1)
        edge = int(((two.values[:, 0] - two.values[:, 1]) <= EDGE * logits.abs().amax(1)).sum())
        votes = two.indices[finite, 0].bincount(minlength=logits.shape[1]).cpu()
        if len(votes) != len(stored) or int((votes - stored).abs().sum()) > 2 * edge:
            yield f"expected the votes {votes.tolist()}, found {stored.tolist()} as {what}"

    def _found(self) -> Problems:
        c, (lo, hi) = self.columns, self.model.bounds
        with self.smoothed.asked(tuple(self.m.data.shape)) as oracle:
            for i, moved, stored in zip(c["broken"].tolist(), c["adversarial"], c["votes"], strict=True):
                x, radius = self.data.rows(i, i + 1)[0][0], float(c["broken_at"][i])
                size = float((moved - x).double().norm())
                if not size <= radius * (1 + SLACK) or moved.min() < lo or moved.max() > hi:
                    yield f"expected a find within L2 {radius:g} and the bounds for row {i}, found {size:g}"
                key = keys(self.m.seed, torch.tensor([i]), JUDGING)[0]
                logits = torch.cat(list(self.smoothed.answers(oracle, moved, key, self.m.judged)))
                yield from self._same(logits, stored, f"votes on the find of row {i}")
                if not _other_class(stored, int(c["y"][i]), self.m.alpha):
                    yield f"expected votes for another class on the find of row {i}, found {stored.tolist()}"


def _other_class(votes: Tensor, y: int, alpha: float) -> bool:
    (first, second), (top, _) = (t.tolist() for t in votes.topk(2))
    return bool(top != y and binomtest(first, first + second, 0.5).pvalue <= alpha)


def _told(bad: np.ndarray, expected: str) -> Problems:
    """One sentence on the rows that are `bad`."""
    if bad.any():
        yield f"expected {expected}, found another in {int(bad.sum())} rows, the first of them row {int(bad.argmax())}"
