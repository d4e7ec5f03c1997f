"""Tables 1 to 4 of Szegedy et al. 2013, "Intriguing properties of neural networks" (arXiv 1312.6199), made again.

Where the paper leaves something open, this is what is done here:

- Targets: the paper's problem names a target class but not which. By default every row gets one wrong class at random;
  the distance to the nearest wrong class is given beside it.
- Rows: the first ones of the training data for Tables 1 and 2, of the test data for Table 4. All of them count in the
  errors, also those that a network got wrong before anything was changed: they are fed as they are.
- Distances are means over the rows that were right at first; the mean over all rows is in run.json, too.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

from blindspots.arguments import checked
from blindspots.data import Data, Dataset, as_data, notes_of
from blindspots.data.splits import halves, refuse_overlap
from blindspots.errors import InputError
from blindspots.experiments.reproduce import verdict as paper
from blindspots.experiments.reproduce.config import ReproduceConfig, Rule
from blindspots.experiments.reproduce.smallest import ATTACKS, smallest
from blindspots.experiments.reproduce.tables import ALL, DIVIDED, NETWORKS, Fed, Network, fed_in, numbers_in
from blindspots.experiments.reproduce.verdict import Cell, Distance, Line, ReproduceVerdict, Table
from blindspots.experiments.transfer.changes import rms
from blindspots.experiments.transfer.models import HALVES, weights_of
from blindspots.experiments.transfer.trained import class_count
from blindspots.experiments.transfer.training import answers, arrays, recipe_words, train
from blindspots.findings import Finding
from blindspots.models.model import Model
from blindspots.records import Share
from blindspots.runs.entry import begin
from blindspots.runs.experiment import Columns, Experiment, Part
from blindspots.runs.run import Watch
from blindspots.runs.store import Parts, Run
from blindspots.runs.world import Progress, World

RULES: tuple[Rule, ...] = get_args(Rule)


class Reproduced(Run[ReproduceConfig, ReproduceVerdict]):
    """A finished reproduction."""

    def __repr__(self) -> str:
        return f"Reproduced({self.config.experiment!r}, rank_correlation={self.verdict.rank_correlation():.3f})"


@checked(data=as_data, test=as_data)
def reproduce(
    experiment: str,
    data: Data | None = None,
    test: Data | None = None,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    engine: str | None = None,
    watch: Watch | None = None,
    command: str | None = None,
    **settings: Any,
) -> Reproduced:
    """Train the paper's networks, make the smallest changes that fool each of them, feed them to all others.

    Args:
        experiment: "szegedy-2013".
        data, test: labelled rows in [0, 1] of the same shape, to train on and to judge by; the paper's are MNIST. None:
            scikit-learn's digits.
        out: run folder to write; None: keep everything in memory.
        resume: go on with the run in `out`, or begin it. A resumed run has the bits of one that was never stopped.
        engine: "serial", "processes" or "processes:N"; None: serial.
        watch: is told how far the run has come.
        command: what to put in the report as the way to repeat the run.
        settings: those of `ReproduceConfig`, such as rows, targets, decay, training_steps, seed, threads.

    Raises:
        InputError: the shapes differ, training and test share rows, or a setting does not fit.
    """
    given = {"experiment": experiment, "data": data, "test": test}
    done = begin("reproduce", given, settings, out=out, resume=resume, engine=engine, watch=watch, command=command)
    return Reproduced(**vars(done))


class Reproduce(Experiment[ReproduceConfig, ReproduceVerdict]):
    name = "reproduce"
    Config, Verdict = ReproduceConfig, ReproduceVerdict

    def fitted(self, config: ReproduceConfig, world: World) -> ReproduceConfig:
        training, test = world.rows["data"], world.rows["test"]
        refuse_overlap(training, test)
        x, y = arrays(training)
        for rows, name in ((x, training.name), (arrays(test)[0], test.name)):
            _refuse_outside(rows, name)
        classes = class_count(y, training.name)
        words = {n.title(classes): recipe_words(n.architecture(config.decay), config.training_steps) for n in ALL}
        recipes = {title: said for title, said in words.items() if not title.endswith("'")}
        return config.model_copy(
            update={"class_count": classes, "attacks": tuple(map(repr, ATTACKS)), "recipes": recipes}
        )

    def parts(self, config: ReproduceConfig, world: World) -> list[Part]:
        listed = [Part("rows")]
        for i in range(1, len(ALL) + 1):
            said, need = {"number": i}, (f"trained/{i}",)
            listed += [
                Part(need[0], settings=said),
                Part(f"errors/{i}", need, settings=said),
                *(Part(f"smallest/{i}/{rule}", need, settings={**said, "rule": rule}) for rule in RULES),
            ]
        return [*listed, *(_table_part(number, config) for number in (2, 4))]

    def make(self, config: ReproduceConfig, world: World, part: Part, needs: Parts, kept: Columns | None) -> Columns:
        return _Making(config, world, part, needs).made()

    def conclude(self, config: ReproduceConfig, world: World, parts: Parts) -> ReproduceVerdict:
        count = _Counting(config, parts)
        return ReproduceVerdict(
            networks=[count.network(i, n) for i, n in enumerate(NETWORKS, 1)],
            table_2=count.table(2),
            halves=[count.network(i, n) for i, n in enumerate(DIVIDED, 1 + len(NETWORKS))],
            table_4=count.table(4),
        )

    def findings(self, config: ReproduceConfig, world: World, verdict: ReproduceVerdict, parts: Parts) -> list[Finding]:
        return notes_of(world.rows["data"], world.rows["test"])


def _refuse_outside(x: Tensor, name: str) -> None:
    low, high = float(x.min()), float(x.max())
    if low < 0 or high > 1:
        raise InputError(f"expected inputs in [0, 1] in {name}, got {low:g} to {high:g}: scale them to the box")


def _table_part(number: int, config: ReproduceConfig) -> Part:
    fed_to = numbers_in(number)
    needs = [f"trained/{i}" for i in fed_to] + [f"smallest/{i}/{config.targets}" for i in fed_to]
    return Part(f"tables/{number}", ("rows", *needs), settings={"number": number})


# ------------------------------------------------------------------ one part of it


class _Making:
    """One part of a run."""

    def __init__(self, config: ReproduceConfig, world: World, part: Part, needs: Parts) -> None:
        self.config, self.world, self.part, self.needs = config, world, part, needs
        self.training: Dataset = world.rows["data"]
        self.test: Dataset = world.rows["test"]

    def made(self) -> Columns:
        making = {
            "rows": self.rows, "trained": self.trained, "errors": self.errors, "smallest": self.smallest,
            "tables": self.table,
        }  # fmt: skip
        return making[self.part.name.partition("/")[0]]()

    def _tell(self, said: str) -> None:
        self.world.tell(Progress(self.part.name, said, 0, 1))

    @property
    def number(self) -> int:
        return int(self.part.settings["number"])

    @property
    def network(self) -> Network:
        return ALL[self.number - 1]

    @property
    def title(self) -> str:
        return self.network.title(self.config.class_count)

    def _model(self, number: int) -> Model:
        return ALL[number - 1].restored(self.config, self.training.shape, self.needs[f"trained/{number}"])

    def _attacked(self) -> tuple[Tensor, Tensor]:
        data = self.training if self.network.on == "all" else self.test
        return data.rows(0, min(self.config.rows, len(data)))

    def _known(self) -> dict[str, tuple[Tensor, Tensor]]:
        """All rows by their names in Tables 1 and 3."""
        x, y = arrays(self.training)
        parts = zip(HALVES, self.world.once("halves", lambda: halves(x, self.config.seed)), strict=True)
        return {
            "all": (x, y), "train": (x, y), **{name: (x[at], y[at]) for name, at in parts}, "test": arrays(self.test)
        }  # fmt: skip

    def rows(self) -> Columns:
        (x, y), (held_x, held_y) = arrays(self.training), arrays(self.test)
        half = torch.zeros_like(y)
        half[halves(x, self.config.seed)[1]] = 1
        count = self.config.rows
        return {"x": x[:count], "y": y, "half": half, "held_x": held_x[:count], "held_y": held_y}

    def trained(self) -> Columns:
        c, network = self.config, self.network
        x, y = self._known()[network.on]
        return weights_of(train(
            network.architecture(c.decay), x, y, classes=c.class_count, seed=c.seed + self.number - 1,
            steps=c.training_steps, say=self._tell,
        ))  # fmt: skip

    def errors(self) -> Columns:
        model, known = self._model(self.number), self._known()
        return {name: answers(model, known[name][0]) for name in self.network.judged_on}

    def smallest(self) -> Columns:
        c, rule, (x, y) = self.config, self.part.settings["rule"], self._attacked()
        self._tell(f"{self.title}: looking for the smallest changes of {len(y):,} rows")
        model = self._model(self.number)
        moved = smallest(model, x, y, rule, c.class_count, c.seed, c.threads or 1)
        return {
            "moved": moved, "clean": answers(model, x), "prediction": answers(model, moved), "rms": rms(x, moved)
        }  # fmt: skip

    def table(self) -> Columns:
        lines, models = fed_in(self.number, self.config, self.needs), list(map(self._model, numbers_in(self.number)))
        clean = lines[0].rows
        return {
            "prediction": torch.stack([torch.stack([answers(m, line.rows) for m in models]) for line in lines]),
            "rms": torch.stack([rms(clean, line.rows) for line in lines]),
        }


# ------------------------------------------------------------------ counting


class _Counting:
    """From what the networks said to the tables."""

    def __init__(self, config: ReproduceConfig, parts: Parts) -> None:
        self.config, self.parts, self.rows = config, parts, parts["rows"]
        y, half = self.rows["y"], self.rows["half"]
        self.labels = {"train": y, "P1": y[half == 0], "P2": y[half == 1], "test": self.rows["held_y"]}

    def network(self, number: int, network: Network) -> paper.Network:
        said, shape = self.parts[f"errors/{number}"], tuple(self.rows["x"].shape[1:])
        model = network.restored(self.config, shape, self.parts[f"trained/{number}"])
        errors = {
            name: _cell(said[name], self.labels[name], published)
            for name, published in zip(network.judged_on, network.figures[:-1], strict=True)
        }
        rules = sorted(RULES, key=lambda rule: rule != self.config.targets)  # what is fed to others first
        return paper.Network(
            name=network.title(self.config.class_count), spec=str(model.spec), trained_on=network.on,
            parameters=model.parameters, digest=model.digest, errors=errors,
            distances=[self._distance(number, network, rule) for rule in rules], published_rms=network.figures[-1],
        )  # fmt: skip

    def _distance(self, number: int, network: Network, rule: Rule) -> Distance:
        made = self.parts[f"smallest/{number}/{rule}"]
        y = self.labels["train" if network.on == "all" else "test"][: len(made["rms"])]
        left = Share.of(int((made["prediction"] == y).sum()), len(y))
        right = made["clean"] == y
        return Distance(targets=rule, rms=_mean(made["rms"][right]), rms_of_all=_mean(made["rms"]), left=left)

    def table(self, number: int) -> Table:
        lines, said = fed_in(number, self.config, self.parts), self.parts[f"tables/{number}"]
        y = self.labels["train" if number == 2 else "test"][: said["rms"].shape[1]]
        titles = [ALL[i - 1].title(self.config.class_count) for i in numbers_in(number)]
        told = zip(lines, said["prediction"], said["rms"], strict=True)
        return Table(fed_to=titles, lines=[_line(line, answered, size, y) for line, answered, size in told])


def _line(line: Fed, said: Tensor, size: Tensor, y: Tensor) -> Line:
    published: Sequence[float | None] = line.published or [None] * len(said)
    cells = [_cell(one, y, figure) for one, figure in zip(said, published, strict=True)]
    return Line(
        name=line.name, group=line.group, rms=_mean(size[size > 0]), published_rms=line.rms_published,
        in_box=line.in_box, cells=cells,
    )  # fmt: skip


def _cell(said: Tensor, y: Tensor, published: float | None) -> Cell:
    """`published` in percent."""
    share = Share.of(int((said != y).sum()), len(y))
    return Cell(share=share, published=None if published is None else round(published / 100, 6))


def _mean(values: Tensor) -> float:
    return float(values.double().mean()) if len(values) else 0.0
