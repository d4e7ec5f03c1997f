"""What the tables of the reproduction of Szegedy et al. 2013 say, in sentences that are computed from them."""

import math
from collections.abc import Iterator, Sequence

from blindspots.experiments.reproduce.config import ReproduceConfig, Rule
from blindspots.experiments.reproduce.verdict import (
    AMPLIFIED_TO,
    TABLE_2,
    TABLE_4,
    TABLE_4_AMPLIFIED,
    Cell,
    Line,
    Network,
    ReproduceVerdict,
    Table,
)
from blindspots.records import Interval, clopper_pearson
from blindspots.report.words import count, listing, number, percent
from blindspots.runs.store import Run

Reproduced = Run[ReproduceConfig, ReproduceVerdict]
MNIST = (1, 28, 28)
_PAPER_ROWS = 256
_TINY = 1e-9  # of a ratio whose logarithm is taken
_TARGETS: dict[Rule, str] = {"random": "a random wrong class", "nearest": "the nearest wrong class"}


def headline(run: Reproduced) -> str:
    """The outcome in one sentence."""
    sizes = [n.distances[0].rms for n in run.verdict.networks]
    low, high = number(min(sizes)), number(max(sizes))
    fell = (
        "All six networks fall to 0\N{NO-BREAK SPACE}% accuracy" if not run.verdict.left() else "The six networks fall"
    )
    return f"{fell} by changes of RMS {low} to {high}, and what was made for one misleads the others"


def lede(run: Reproduced) -> str:
    """On what, and how near to the paper."""
    told = [f"{data['name']} ({count(data['rows'], 'row')})" for data in run.manifest.world.values()]
    return f"{' and '.join(told)}, inputs {_shape(run)}; the paper's are of MNIST. {_order(run.verdict)}"


def towards(rule: Rule) -> str:
    """ "a random wrong class" """
    return _TARGETS[rule]


def differences(run: Reproduced) -> list[str]:
    """Why ours are not the published figures: what is known, and what is only likely."""
    return [s for s in _differences(run) if s]


def observations(run: Reproduced) -> list[str]:
    """What the tables show, whatever the exact figures."""
    v = run.verdict
    return [s for s in (_regularised(v), _noise(v.table_2), _in_box(v.table_2), _across(v), _amplified(v)) if s]


def attacked(run: Reproduced, name: str) -> int:
    """How many rows of "data" or "test" were attacked."""
    return min(run.config.rows, int(run.manifest.world[name]["rows"]))


def _shape(run: Reproduced) -> str:
    return " × ".join(map(str, run.manifest.world["data"]["shape"]))


def _is_mnist(run: Reproduced) -> bool:
    return tuple(run.manifest.world["data"]["shape"]) == MNIST


def _differences(run: Reproduced) -> Iterator[str]:
    verdict, same_data = run.verdict, _is_mnist(run)
    if not same_data:
        yield _data(run)
    yield _sizes(verdict, same_data)
    yield _confirmed(verdict)
    yield _cells(verdict)
    yield _training(run)
    yield _counted_on(run)
    yield (
        "Distances: ours are means over the rows that were right at first. Whether the paper's count the others, which "
        "need no change, we do not know: Table 1 gives both."
    )
    yield (
        "Amplification: the formula that the paper prints gives a root mean square of 0.1 / √n, not 0.1. Here every "
        "change is scaled to 0.1, which is what the table says."
    )


def _data(run: Reproduced) -> str:
    return (
        f"Data: the published figures are of MNIST, 28 × 28 pixels. Other images, here of {_shape(run)}, need changes "
        "of other sizes, so only the pattern can be compared. Pass --data and --test to use MNIST itself."
    )


def _sizes(verdict: ReproduceVerdict, same_data: bool) -> str:
    ratios = {
        d.targets: [_distance(n, d.targets) / n.published_rms for n in (*verdict.networks, *verdict.halves)]
        for d in verdict.networks[0].distances
    }
    spans = [f"{_span(values)} times towards {_TARGETS[rule]}" for rule, values in ratios.items()]
    said = f"Sizes: our changes are {' and '.join(spans)} as large as the published ones."
    if same_data:
        nearer = min(ratios, key=lambda rule: sum(abs(math.log(max(r, _TINY))) for r in ratios[rule]))
        said += (
            " The paper's problem has a target class, its tables do not say which; its sizes agree better with "
            f"{_TARGETS[nearer]}."
        )
    return said


def _confirmed(verdict: ReproduceVerdict) -> str:
    left = verdict.left()
    fed = "Every example was fed to its network once more and is misread"
    if left:
        fed = f"{count(left, 'example')} of all could not be made; every other one is misread by its network"
    return (
        f"Search: a smaller change is no mistake. {fed}. The paper minimises a penalty for one weight c after the "
        "other; a coarser choice of c, or an earlier stop, ends farther behind the boundary, where examples are larger "
        "and carry over better. How finely it searched we do not know."
    )


def _cells(verdict: ReproduceVerdict) -> str:
    pairs = list(verdict.foreign())
    apart = [abs(ours.share - theirs) for ours, theirs in pairs]
    inside = sum(ours.interval[0] <= theirs <= ours.interval[1] for ours, theirs in pairs)
    overlap = sum(_overlap(ours.interval, _counted(theirs)) for ours, theirs in pairs)
    return (
        f"Errors of networks that an example was not made for: the {len(pairs)} cells of Tables 2 and 4 differ from "
        f"the published ones by {_points(sum(apart) / len(apart))} on average. {inside} of the latter lie inside our "
        f"95 % interval, {overlap} if they are given intervals of their own, as counts on {_PAPER_ROWS} rows."
    )


def _counted(published: float) -> Interval:
    return clopper_pearson(round(published * _PAPER_ROWS), _PAPER_ROWS)


def _overlap(one: Interval, other: Interval) -> bool:
    return one[0] <= other[1] and other[0] <= one[1]


def _training(run: Reproduced) -> str:
    said = (
        "Training: architectures and weight decay are the paper's; optimiser and length of training are ours, and so "
        "is the recipe of the sparse autoencoder."
    )
    if run.config.decay != 1:
        return f"{said} Weight decay is {number(run.config.decay)} times what the paper prints."
    off = [n.name for n in run.verdict.networks[1:3] if not _within(n.errors["train"])]
    if off and _is_mnist(run):
        said += (
            f" The training {'errors' if len(off) > 1 else 'error'} of {listing(off)} need another reason: softmax "
            "regression with weight decay has one minimum only, so two trainings that reach it on the same data end "
            "with the same error. Data, objective or stopping must have differed."
        )
    return said


def _counted_on(run: Reproduced) -> str:
    printed = [p for p in (*_flat(TABLE_2), *_flat(TABLE_4), *_flat(TABLE_4_AMPLIFIED)) if p != round(p)]
    fitting = sum(any(round(100 * k / _PAPER_ROWS, _decimals(p)) == p for k in range(_PAPER_ROWS)) for p in printed)
    low, high = clopper_pearson(_PAPER_ROWS // 4, _PAPER_ROWS)
    return (
        f"Rows: of the {len(printed)} errors under adversarial examples that the paper prints with decimals, {fitting} "
        f"are whole multiples of 1/{_PAPER_ROWS}, rounded; by chance a quarter would be. So they were probably counted "
        f"on {_PAPER_ROWS} rows, and an error of 25 % of them is known to lie between "
        f"{percent(low)} and {percent(high)} only. Ours are counted on {count(attacked(run, 'data'), 'training row')} "
        f"and {count(attacked(run, 'test'), 'test row')}."
    )


# ------------------------------------------------------------------ what the tables show


def _order(verdict: ReproduceVerdict) -> str:
    return (
        f"Ordered by the error, the {len(list(verdict.foreign()))} cells off the diagonals stand as in the paper with "
        f"a rank correlation of {verdict.rank_correlation():.2f} (1: the same order)."
    )


def _regularised(verdict: ReproduceVerdict) -> str:
    sizes = [n.distances[0].rms for n in verdict.networks[:3]]
    listed = ", ".join(map(number, sizes))
    if sizes == sorted(sizes):
        return f"The more weight decay, the larger the change that softmax regression needs: {listed}, as in the paper."
    return f"Unlike in the paper, more weight decay does not always ask for larger changes: {listed}."


def _noise(table: Table) -> str:
    clean = table.lines[0].cells
    as_large = [line.cells for line in table.lines if line.name.startswith("noise as large")]
    made = [line.cells for line in table.lines if line.group == "adversarial"]
    others = [[c for k, c in enumerate(cells) if k != i] for i, cells in enumerate(made)]
    before = [[c for k, c in enumerate(clean) if k != i] for i in range(len(made))]
    noise = max(_rise(cells, clean) for cells in as_large)
    examples = max(_rise(cells, unchanged) for cells, unchanged in zip(others, before, strict=True))
    return (
        "Noise as large as the changes, row by row, before the box cuts some of it off, raises no network's error by "
        f"more than {_points(noise)}; the changes raise that of networks that they were not made for by up to "
        f"{_points(examples)}."
    )


def _in_box(table: Table) -> str:
    """The Gaussian line and network whose error the box changes most, if it does."""
    inside = {line.name: line for line in table.lines if line.group == "control"}
    pairs = [
        (line.name, network, line.cells[k].share, inside[line.name].cells[k].share)
        for line in table.lines
        if line.group == "noise"
        for k, network in enumerate(table.fed_to)
    ]
    name, network, free, boxed = max(pairs, key=lambda pair: abs(pair[2].share - pair[3].share))
    if _overlap(free.interval, boxed.interval):
        return ""
    return (
        f"{name} misleads {network} on {percent(free.share)} as it is and on {percent(boxed.share)} inside the box, "
        "although the box makes it smaller: what is cut off at the edges no longer averages out. The published lines "
        "of noise have the size of noise that leaves the box."
    )


def _rise(cells: Sequence[Cell], before: Sequence[Cell]) -> float:
    return max(c.share.share - b.share.share for c, b in zip(cells, before, strict=True))


def _across(verdict: ReproduceVerdict) -> str:
    first, _, other = (line for line in verdict.table_4.lines[1:4])
    clean = verdict.table_4.lines[0].cells
    pairs = ((first.cells[2].share, clean[2].share), (other.cells[0].share, clean[0].share))
    forth, back = (f"{percent(fed.share)} (unchanged: {percent(before.share)})" for fed, before in pairs)
    apart = all(fed.interval[0] > before.interval[1] for fed, before in pairs)
    return (
        f"What was made for {first.name} from one half of the data misleads the network that learned from the other "
        f"half on {forth}, and the other way round on {back}. "
        + (
            "So examples are no accident of the rows that were learned from."
            if apart
            else "The intervals overlap: on so few rows chance could explain it."
        )
    )


def _amplified(verdict: ReproduceVerdict) -> str:
    lines = [line for line in verdict.table_4.lines if _is_amplified(line) and not line.in_box]
    own = min(line.cells[i].share.share for i, line in enumerate(lines))
    if own >= 0.95:
        return ""
    return (
        f"A root mean square of {AMPLIFIED_TO} is less than the smallest change of many rows here: those changes were "
        f"shrunk, not amplified, and mislead their own network on {percent(own)} only."
    )


def _is_amplified(line: Line) -> bool:
    return line.published_rms == AMPLIFIED_TO and line.group == "adversarial" and not line.in_box


def _distance(network: Network, rule: Rule) -> float:
    return next(d.rms for d in network.distances if d.targets == rule)


def _within(cell: Cell) -> bool:
    """Whether ours rounds to what is published, within half a point."""
    return cell.published is not None and abs(cell.share.share - cell.published) < 0.005


def _span(values: Sequence[float]) -> str:
    return f"{min(values):.2f} to {max(values):.2f}"


def _points(share: float) -> str:
    return f"{100 * share:.1f} points"


def _flat(table: Sequence[Sequence[float]]) -> Iterator[float]:
    return (value for row in table for value in row)


def _decimals(value: float) -> int:
    return len(f"{value:g}".partition(".")[2])
