"""The sentences on a transfer matrix, on a terminal and in the report."""

import re
from collections.abc import Sequence
from itertools import takewhile

from blindspots.experiments.transfer.config import TransferConfig
from blindspots.experiments.transfer.verdict import TransferVerdict, off_diagonal
from blindspots.report.words import count, number, percent
from blindspots.texts.threats import TextThreat
from blindspots.threats import parse_threat


def shortened(names: Sequence[str]) -> list[str]:
    """The names without the words that all of them begin with: a table has little room."""
    words = [re.findall(r"[^_\-/. ]*[_\-/. ]|[^_\-/. ]+", name) for name in names]
    common = "".join(w[0] for w in takewhile(lambda w: len(set(w)) == 1, zip(*words, strict=False)))
    return [name[len(common) :] or name for name in names]


def headline(verdict: TransferVerdict) -> str:
    """The matrix in one sentence, without a full stop."""
    error, noise = percent(off_diagonal(verdict.error)), percent(off_diagonal(verdict.noise))
    rest = "the other one" if len(verdict.models) == 2 else "the others"
    return (
        f"Examples made for one of {count(len(verdict.models), 'model')} make {rest} err on "
        f"{error} of the rows; noise of their size does on {noise}"
    )


def reach(verdict: TransferVerdict) -> str:
    """From whom to whom most transfers, and least."""
    cells = [
        (verdict.error[i][j], a, b)
        for i, a in enumerate(verdict.models)
        for j, b in enumerate(verdict.models)
        if i != j
    ]
    (most, a, b), (least, c, d) = max(cells, key=lambda cell: cell[0]), min(cells, key=lambda cell: cell[0])
    clean = sum(e.share for e in verdict.clean_error) / len(verdict.models)
    return (
        f"Most transfers from {a} to {b}, {percent(most)}; least from {c} to {d}, {percent(least)}. "
        f"Unchanged rows are wrong for {percent(clean)} on average."
    )


def alike(verdict: TransferVerdict) -> str:
    """How often two models that are both fooled say the same; "" where no two are."""
    pairs = [s for i, row in enumerate(verdict.agreement_of_errors) for j, s in enumerate(row) if i != j]
    hits, rows = sum(s.hits for s in pairs), sum(s.rows for s in pairs)
    if not rows:
        return ""
    return (
        f"Where source and target both err, they give the same wrong class in {percent(hits / rows)} of "
        f"{count(rows, 'case')}."
    )


def sizes(config: TransferConfig, verdict: TransferVerdict) -> str:
    """How large the changes are."""
    low, high = min(verdict.distortion), max(verdict.distortion)
    size = number(low) if number(low) == number(high) else f"{number(low)} to {number(high)}"
    if isinstance(threat := parse_threat(config.threat), TextThreat):
        return f"On average {size} {threat.unit}s of a text are changed."
    brought = "" if config.amplify is None else f", brought to {number(config.amplify)} before the box cuts them off"
    return f"The changes have a mean root mean square per value of {size}{brought}."
