"""Tables 1 to 4 of Szegedy et al. 2013, "Intriguing properties of neural networks" (arXiv 1312.6199), made again.

Where the paper leaves something open, this is what is done here:

- Targets: the paper's problem names a target class but not which. By default every row gets one wrong class at random;
  the distance to the nearest wrong class is given beside it.
- Rows: the first ones of the training data for Tables 1 and 2, of the test data for Table 4. All of them count in the
  errors, also those that a network got wrong before anything was changed: they are fed as they are.
- Distances are means over the rows that were right at first; the mean over all rows is in run.json, too.
- Noise and amplified changes leave the box [0, 1], so that their size is what the tables say. Lines of their own give
  the errors inside the box.
"""

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import torch
from torch import Tensor

from blindspots.attacks import LBFGS
from blindspots.data import Dataset
from blindspots.data.splits import halves, refuse_overlap
from blindspots.engine.targets import EveryClass, Given, Targets
from blindspots.engine.threads import free_threads
from blindspots.errors import InputError
from blindspots.evaluate import Options
from blindspots.evaluate import attack as run_attack
from blindspots.journal import Columns, provenance
from blindspots.models.binding import like
from blindspots.models.digits import Say
from blindspots.models.model import Model
from blindspots.random import keys, normal, randint
from blindspots.records import DataRecord, Share
from blindspots.threat import L2
from blindspots.transfer import szegedy_record as paper
from blindspots.transfer.changes import amplified, noise, rms
from blindspots.transfer.disjoint import HALVES, class_count
from blindspots.transfer.networks import Builtin, Custom, parse_architecture
from blindspots.transfer.szegedy_record import (
    AMPLIFIED_TO,
    Cell,
    Distance,
    Group,
    Line,
    Manifest,
    Network,
    Reproduction,
    Rule,
    Table,
    Verdict,
    free_folder,
    write_reproduction,
)
from blindspots.transfer.training import Recipe, answers, arrays, error, recipe_words, train, wrong

NETWORKS = ("softmax:1e-4", "softmax:1e-2", "softmax:1", "fc:100-100", "fc:200-200", "autoencoder:400")
ON_HALVES = (("fc:100-100", "P1"), ("fc:123-456", "P1"), ("fc:100-100", "P2"))
ATTACKS = (LBFGS(), LBFGS(steps=400, tries=40), LBFGS(steps=1000, tries=100, inner=100))
_OTHER: dict[Rule, Rule] = {"random": "nearest", "nearest": "random"}


@dataclass(frozen=True)
class _Rows:
    """Rows that are attacked, (N, ...) and (N,)."""

    x: Tensor
    y: Tensor


@dataclass(frozen=True)
class _Bench:
    """What all experiments share."""

    classes: int
    seed: int
    threads: int
    targets: Rule
    decay: float
    recipe: Recipe | None
    say: Say

    def architecture(self, word: str) -> Builtin:
        """The network that `word` names, with its weight decay multiplied."""
        architecture = parse_architecture(word)
        assert not isinstance(architecture, Custom)
        return replace(architecture, decays=tuple(self.decay * decay for decay in architecture.decays))


@dataclass(frozen=True)
class _Trained:
    """A network, and what was made for it from the attacked rows (N, ...)."""

    title: str
    model: Model
    seconds: float
    on: str
    moved: Tensor
    distances: list[Distance]


def reproduce(
    training: Dataset,
    test: Dataset,
    out: Path,
    *,
    rows: int = 1000,
    seed: int = 0,
    targets: Rule = "random",
    decay: float = 1.0,
    recipe: Recipe | None = None,
    threads: int | None = None,
    command: str | None = None,
    say: Say = lambda _: None,
) -> Reproduction:
    """Train the paper's networks, make the smallest changes that fool each of them, feed them to all others.

    Args:
        training, test: labelled rows in [0, 1] of the same shape; the paper's are MNIST.
        out: a new folder for run.json and pictures.safetensors.
        rows: how many rows of each are attacked; all of them if there are fewer.
        seed: decides the first weights, the order of training, the split into halves, the targets and the noise.
        targets: towards which class the examples go that are fed to others.
        decay: by what every network's weight decay is multiplied; the tables keep the paper's names.
        recipe: how every network is trained; None: as suits its architecture (see `training`).
        threads: CPU threads of the searches; None: all that are free.
        say: gets a sentence on the progress now and then.

    Raises:
        InputError: the folder holds a run, the shapes differ, training and test share rows, or `decay` is negative.
    """
    if not 0 <= decay < math.inf:
        raise InputError(f"expected a factor of at least 0 for weight decay, got {decay}: 1 is the paper's")
    began, started = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
    free_folder(out)
    test = like(training, test)
    refuse_overlap(training, test)
    (x, y), (held_x, held_y) = arrays(training), arrays(test)
    _refuse_outside(x, training.name)
    _refuse_outside(held_x, test.name)
    bench = _Bench(class_count(y, training.name), seed, threads or free_threads(), targets, decay, recipe, say)
    seen, held = _Rows(x[:rows], y[:rows]), _Rows(held_x[:rows], held_y[:rows])

    networks = [_trained(bench, word, "all", x, y, seen, i) for i, word in enumerate(NETWORKS)]
    parts = dict(zip(HALVES, halves(x, seed), strict=True))
    divided = [
        _trained(bench, word, on, x[parts[on]], y[parts[on]], held, len(NETWORKS) + i)
        for i, (word, on) in enumerate(ON_HALVES)
    ]
    known = {"train": (x, y), "test": (held_x, held_y)}
    known_halves = {**{name: (x[at], y[at]) for name, at in parts.items()}, "test": (held_x, held_y)}
    verdict = Verdict(
        networks=[_network(n, known, figures) for n, figures in zip(networks, paper.TABLE_1, strict=True)],
        table_2=_table_2(bench, networks, seen),
        halves=[_network(n, known_halves, figures) for n, figures in zip(divided, paper.TABLE_3, strict=True)],
        table_4=_table_4(bench, divided, held),
        seconds_training=round(sum(n.seconds for n in [*networks, *divided]), 1),
        seconds=round(time.monotonic() - began, 1),
    )
    manifest = _manifest(bench, training, test, len(seen.y), len(held.y))
    made = Reproduction(manifest=manifest, command=command, started=started, verdict=verdict, seal=None)
    return write_reproduction(out, made, _pictures(networks, seen, divided, held))


def smallest(model: Model, x: Tensor, y: Tensor, targets: Rule, classes: int, seed: int, threads: int) -> Tensor:
    """The nearest example of each row (N, ...) that box-constrained L-BFGS finds; a row that is wrong stays as it is.

    What the usual number of steps does not solve is tried again with more, at last towards every wrong class on its own
    if none is given; what nothing solves stays as it is, too.
    """
    moved, left = x.clone(), torch.arange(len(x))
    chosen = _random_targets(y, classes, seed)
    for attack in ATTACKS:
        run = run_attack(
            model, x[left], y[left], attack, threat=L2(), targeted=targets == "random",
            targets=_rule(targets, chosen[left], attack), options=Options(seed=seed, threads=threads),
        )  # fmt: skip
        moved[left] = run.adversarial
        left = left[run.norms.isinf()]
        if not len(left):
            break
    return moved


def _rule(targets: Rule, chosen: Tensor, attack: LBFGS) -> Targets | None:
    if targets == "random":
        return Given(tuple(chosen.tolist()))
    return EveryClass() if attack is ATTACKS[-1] else None


def _random_targets(y: Tensor, classes: int, seed: int) -> Tensor:
    """A wrong class for each row, the same for every network: (N,)."""
    key = keys(seed, torch.arange(len(y)))
    return (y + 1 + randint(key, torch.zeros_like(key), 0, classes - 1, (1,))[:, 0]) % classes


def _trained(bench: _Bench, word: str, on: str, x: Tensor, y: Tensor, rows: _Rows, number: int) -> _Trained:
    """Train the network that `word` names on x and y, then attack the rows."""
    architecture, began = bench.architecture(word), time.monotonic()
    model = train(
        architecture, x, y, classes=bench.classes, seed=bench.seed + number, recipe=bench.recipe, say=bench.say
    )
    seconds, title = round(time.monotonic() - began, 1), parse_architecture(word).title(bench.classes)
    title += "'" if on == HALVES[1] else ""
    bench.say(f"{title}: looking for the smallest changes of {len(rows.y):,} rows")
    moved = {rule: _smallest(bench, model, rows, rule) for rule in (bench.targets, _OTHER[bench.targets])}
    distances = [_distance(model, rows, m, rule) for rule, m in moved.items()]
    return _Trained(title, model, seconds, on, moved[bench.targets], distances)


def _smallest(bench: _Bench, model: Model, rows: _Rows, rule: Rule) -> Tensor:
    return smallest(model, rows.x, rows.y, rule, bench.classes, bench.seed, bench.threads)


def _distance(model: Model, rows: _Rows, moved: Tensor, rule: Rule) -> Distance:
    size, right = rms(rows.x, moved), ~wrong(model, rows.x, rows.y)
    left = Share.of(int((~wrong(model, moved, rows.y)).sum()), len(rows.y))
    return Distance(targets=rule, rms=_mean(size[right]), rms_of_all=_mean(size), left=left)


def _mean(values: Tensor) -> float:
    return float(values.double().mean()) if len(values) else 0.0


def _network(trained: _Trained, data: dict[str, tuple[Tensor, Tensor]], figures: Sequence[float]) -> Network:
    model = trained.model
    errors = {
        name: Cell(share=error(model, x, y), published=round(published / 100, 6))
        for (name, (x, y)), published in zip(data.items(), figures[:-1], strict=True)
    }
    return Network(
        name=trained.title, spec=str(model.spec), trained_on=trained.on, parameters=model.parameters,
        digest=model.digest, errors=errors, distances=trained.distances, published_rms=figures[-1],
        seconds=trained.seconds,
    )  # fmt: skip


# ------------------------------------------------------------------ tables 2 and 4


@dataclass(frozen=True)
class _Feeder:
    """Feeds changed rows to the networks of one table."""

    networks: Sequence[_Trained]
    rows: _Rows
    seed: int

    def line(
        self,
        name: str,
        group: Group,
        moved: Tensor,
        published: Sequence[float] | None = None,
        rms_published: float | None = None,
        *,
        in_box: bool = True,
    ) -> Line:
        size = rms(self.rows.x, moved)
        figures: Sequence[float | None] = published or [None] * len(self.networks)
        cells = [
            Cell(share=error(n.model, moved, self.rows.y), published=None if p is None else round(p / 100, 6))
            for n, p in zip(self.networks, figures, strict=True)
        ]
        return Line(
            name=name, group=group, rms=_mean(size[size > 0]), published_rms=rms_published, in_box=in_box, cells=cells
        )

    def made_for(self, table: Sequence[Sequence[float]], sizes: Iterable[float]) -> list[Line]:
        """The unchanged rows, then the examples of every network."""
        lines = [self.line("unchanged", "clean", self.rows.x)]
        for n, published, size in zip(self.networks, table, sizes, strict=True):
            lines.append(self.line(n.title, "adversarial", n.moved, published, size))
        return lines

    def gaussian(self, deviation: float, published: Sequence[float]) -> tuple[Line, Line]:
        """Noise of that standard deviation, as it is and inside the box."""
        key = keys(self.seed, torch.arange(len(self.rows.y)), round(1000 * deviation))
        moved = self.rows.x + deviation * normal(key, torch.zeros_like(key), 0, self.rows.x.shape[1:])
        name = f"Gaussian noise, {deviation:g}"
        return (
            self.line(name, "noise", moved, published, deviation, in_box=False),
            self.line(name, "control", moved.clamp(0, 1)),
        )

    def as_large(self) -> list[Line]:
        """Noise as large, row by row, as the changes that were made for each network."""
        key = keys(self.seed, torch.arange(len(self.rows.y)))
        return [
            self.line(f"noise as large as for {n.title}", "control", noise(self.rows.x, n.moved, key, L2()))
            for n in self.networks
        ]


def _table_2(bench: _Bench, networks: Sequence[_Trained], rows: _Rows) -> Table:
    feed = _Feeder(networks, rows, bench.seed)
    noises = [feed.gaussian(deviation, figures) for deviation, figures in paper.TABLE_2_NOISE.items()]
    lines = feed.made_for(paper.TABLE_2, (figures[-1] for figures in paper.TABLE_1))
    lines += [free for free, _ in noises] + [boxed for _, boxed in noises] + feed.as_large()
    return Table(fed_to=[n.title for n in networks], lines=lines)


def _table_4(bench: _Bench, networks: Sequence[_Trained], rows: _Rows) -> Table:
    feed = _Feeder(networks, rows, bench.seed)
    small, large = (feed.gaussian(deviation, figures) for deviation, figures in paper.TABLE_4_NOISE.items())
    lines = [*feed.made_for(paper.TABLE_4, (figures[-1] for figures in paper.TABLE_3)), small[0]]
    boxed = []
    for n, published in zip(networks, paper.TABLE_4_AMPLIFIED, strict=True):
        moved, name = amplified(rows.x, n.moved, AMPLIFIED_TO), f"{n.title}, amplified to {AMPLIFIED_TO}"
        lines.append(feed.line(name, "adversarial", moved, published, AMPLIFIED_TO, in_box=False))
        boxed.append(feed.line(name, "control", moved.clamp(0, 1)))
    lines += [large[0], *boxed, small[1], large[1], *feed.as_large()]
    return Table(fed_to=[n.title for n in networks], lines=lines)


# ------------------------------------------------------------------ what surrounds them


def _refuse_outside(x: Tensor, name: str) -> None:
    low, high = float(x.min()), float(x.max())
    if low < 0 or high > 1:
        raise InputError(f"expected inputs in [0, 1] in {name}, got {low:g} to {high:g}: scale them to the box")


def _manifest(bench: _Bench, training: Dataset, test: Dataset, rows: int, test_rows: int) -> Manifest:
    words = dict.fromkeys([*NETWORKS, *(word for word, _ in ON_HALVES)])
    return Manifest(
        **provenance("cpu", bench.threads, bench.seed),
        train=DataRecord.of(training),
        test=DataRecord.of(test),
        rows=rows,
        test_rows=test_rows,
        targets=bench.targets,
        decay=bench.decay,
        attacks=[repr(attack) for attack in ATTACKS],
        recipes={
            parse_architecture(word).title(bench.classes): recipe_words(bench.architecture(word), bench.recipe)
            for word in words
        },
    )


def _pictures(networks: Sequence[_Trained], rows: _Rows, divided: Sequence[_Trained], held: _Rows) -> Columns:
    at, held_at = _first_of_each_class(rows.y), _first_of_each_class(held.y)
    moved, held_moved = torch.stack([n.moved[at] for n in networks]), torch.stack([n.moved[held_at] for n in divided])
    large = torch.stack([amplified(held.x[held_at], part, AMPLIFIED_TO) for part in held_moved])
    return {
        "x": rows.x[at],
        "y": rows.y[at],
        "moved": moved,
        "prediction": _answers(networks, moved),
        "held_x": held.x[held_at],
        "held_y": held.y[held_at],
        "held_moved": held_moved,
        "held_prediction": _answers(divided, held_moved),
        "amplified": large,
        "amplified_prediction": _answers(divided, large),
    }


def _first_of_each_class(y: Tensor) -> Tensor:
    return torch.tensor([int((y == label).nonzero()[0, 0]) for label in sorted(set(y.tolist()))])


def _answers(networks: Sequence[_Trained], moved: Tensor) -> Tensor:
    return torch.stack([answers(n.model, part) for n, part in zip(networks, moved, strict=True)])
