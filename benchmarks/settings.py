"""Where the settings of the recipes come from: a search on held-out training rows of digits. No test row is seen."""

import argparse
import copy
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from statistics import mean
from typing import Any

import torch
from lightning_fabric import Fabric

import blindspots as bs
from benchmarks.clock import clock
from benchmarks.page import Section, percent, store, stored, table
from blindspots.data import ArrayData, digits_arrays
from blindspots.experiments.harden.batches import split
from blindspots.experiments.harden.checks import PROTOCOL
from blindspots.experiments.harden.recipe import Recipe
from blindspots.experiments.harden.trainer import Trainer
from blindspots.experiments.harden.training import weights_of
from blindspots.models.digits import network
from blindspots.models.training import alone
from blindspots.threats import parse_threat

RADIUS = "linf:0.15"
UNION = ("linf:0.1", "l2:0.5")  # of recipe multi-norm
TRIALS = "settings-trials"
PARTS, JUDGED = 5, (0, 1)  # of the training rows, by lot; those that are held out, one after the other

Table = dict[str, Any]

USUAL: Table = {"epochs": 40, "batch": 64, "optimizer": {"rate": 8e-3}}
METHODS: dict[str, Table] = {
    "fast": {"adversary": {"kind": "step", "noise": 1.25, "stride": 1.0, "project": False}},
    "pgd": {"adversary": {"kind": "attack", "attack": "pgd:steps=7,stride=0.25"}},
    "trades": {
        "objective": {"name": "trades", "weight": 6.0},
        "adversary": {"kind": "attack", "attack": "pgd:steps=10,stride=0.25"},
    },
    "mart": {
        "objective": {"name": "mart", "weight": 5.0},
        "adversary": {"kind": "attack", "attack": "pgd:steps=10,stride=0.25"},
    },
    "awp": {
        "objective": {"name": "trades", "weight": 6.0},
        "weights": {"perturbation": 0.005, "average": "ema", "decay": 0.995},
        "adversary": {"kind": "attack", "attack": "pgd:steps=10,stride=0.25"},
    },
    "free": {"epochs": 12, "adversary": {"kind": "free", "replays": 4, "stride": 1.0}},
    "fgsm": {"objective": {"clean": 0.5}, "adversary": {"kind": "attack", "attack": "fgsm"}},
    "curriculum": {
        "curriculum": {"start": 0.0, "share": 0.5},
        "adversary": {"kind": "attack", "attack": "pgd:steps=7,stride=0.25"},
    },
    "multi-norm": {
        "adversary": {
            "kind": "attack", "attack": "pgd:steps=7,stride=0.25", "threats": list(UNION), "combine": "max",
        },
    },
}  # fmt: skip


@dataclass(frozen=True)
class Candidate:
    """A method of the literature with settings of ours."""

    recipe: str
    settings: Table = field(default_factory=dict)

    def built(self) -> Recipe:
        return Recipe.model_validate(_merged(_merged(USUAL, METHODS[self.recipe]), self.settings))


@dataclass(frozen=True)
class Trial:
    clean: float
    robust: float
    union: float
    seconds: float  # of a processor, in training


FEW = {"adversary": {"attack": "pgd:steps=5,stride=0.35"}}  # steps
BEYOND = FEW | {"curriculum": {"start": 1.0, "end": 1.3}}  # the threat's radius
CANDIDATES = (
    Candidate("fast"),
    Candidate("pgd", BEYOND),
    Candidate("pgd", {"batch": 32, **BEYOND}),
    Candidate("trades", BEYOND),
    Candidate("trades", BEYOND | {"objective": {"weight": 2.0}}),
    Candidate("trades", {"batch": 32, **BEYOND, "objective": {"weight": 3.0}}),
    Candidate("mart", BEYOND),
    Candidate("fgsm", {"curriculum": {"start": 1.0, "end": 1.3}}),
    Candidate("free", {"epochs": 16, "curriculum": {"start": 1.0, "end": 1.5}}),
)


def _words(settings: Mapping[str, Any]) -> str:
    """{"optimizer": {"rate": 0.01}} as "rate 0.01"."""
    parts = [_words(v) if isinstance(v, dict) else f"{k} {v}" for k, v in settings.items()]
    return ", ".join(part for part in parts if part)


HEAD = ("recipe", "changes", "clean", "robust", "union", "CPU s")
READ = f"""The 1,297 training rows of digits in {PARTS} parts by lot; each line is the mean over {len(JUDGED)} of
them, held out in turn, {{rows}} rows in all. The network begins as the embedded one would have if it had never seen
them. "robust": within {RADIUS}, "union": in {" and in ".join(UNION)}, both by `held-out.toml`, which chooses epochs;
"CPU s": of training, to the last epoch. Every line changes the usual settings, {_words(USUAL)}, and those of the
paper."""


def measure(args: argparse.Namespace) -> Section:
    """Trials that were made once are not made again."""
    chosen = [c for c in CANDIDATES if not args.models or c.recipe in args.models]
    lines = [_line(candidate, trials(candidate)) for candidate in chosen]
    rows = sum(len(_rows(part, True)) for part in JUDGED)
    return Section("Settings of the recipes", f"{table(HEAD, lines)}\n\n{READ.format(rows=rows)}", lines)


def trials(candidate: Candidate) -> list[Table]:
    """One for every part; what is new is stored at once."""
    known, made = stored(TRIALS) or [], []
    for part in JUDGED:
        key = {
            "recipe": candidate.recipe,
            "settings": candidate.built().model_dump_json(exclude_defaults=True),
            "part": part,
        }
        trial = next((t for t in known if key.items() <= t.items()), None)
        if trial is None:
            trial = key | asdict(try_out(candidate, part))
            known.append(trial)
            store(TRIALS, known)
        made.append(trial)
    print(*_line(candidate, made), flush=True)
    return made


def _line(candidate: Candidate, made: list[Table]) -> list[Any]:
    def middle(name: str) -> float:
        return float(mean(trial[name] for trial in made))

    shares = [percent(middle(name)) for name in ("clean", "robust", "union")]
    return [candidate.recipe, _words(candidate.settings) or "none", *shares, middle("seconds")]


@cache
def _rows(part: int, held_out: bool) -> ArrayData:
    x, y = digits_arrays("train")
    at = (torch.randperm(len(y), generator=torch.Generator().manual_seed(7)) % PARTS == part) == held_out
    return ArrayData(x[at], y[at])


@cache
def _beginning(part: int) -> bs.Model:
    """The embedded network, had it never seen the held-out rows."""
    with alone(0):
        model = bs.Model(network())
    _train(model, Recipe(epochs=6, batch=64), part)
    return model


def _train(model: bs.Model, recipe: Recipe, part: int) -> None:
    """To the last epoch: which one is best is a question of its own."""
    trainer = Trainer(
        Fabric(accelerator="cpu", devices=1), model, split(_rows(part, False), 0),
        parse_threat(RADIUS).within(*model.bounds), recipe, 0,
    )  # fmt: skip
    for _ in range(recipe.epochs):
        trainer.run_epoch()
    model.net.load_state_dict(weights_of({k: v.clone() for k, v in trainer.average.module.state_dict().items()}))


def try_out(candidate: Candidate, part: int) -> Trial:
    model = copy.deepcopy(_beginning(part))
    took = clock(lambda: _train(model, candidate.built(), part))
    judged = {threat: _standing(model, part, threat) for threat in (RADIUS, *UNION)}
    clean = judged[RADIUS][0]
    union = torch.stack([judged[threat][1] for threat in UNION]).all(0)
    return Trial(clean, _share(judged[RADIUS][1]), _share(union), round(took.cpu, 1))


def _standing(model: bs.Model, part: int, threat: str) -> tuple[float, torch.Tensor]:
    """Clean accuracy, and which held-out rows (N,) stand."""
    run = bs.evaluate(model, data=_rows(part, True), threat=parse_threat(threat), protocol=str(PROTOCOL))
    right = torch.cat([columns["right"] for columns in run.shards()])
    return run.clean_accuracy, right & ~run.success


def _share(hit: torch.Tensor) -> float:
    return hit.float().mean().item()


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> Table:
    both = {k: _merged(base[k], v) for k, v in changes.items() if isinstance(v, dict) and isinstance(base.get(k), dict)}
    return {**base, **changes, **both}
