"""Szegedy's pools on MNIST with the 100-100-10 network, against weight decay and dropout."""

import argparse
import statistics
from functools import partial
from typing import Any

import torch
from lightning_fabric import Fabric
from scipy.stats import t as student
from torch import Tensor, nn

import blindspots as bs
from benchmarks.cases import zoo
from benchmarks.clock import clock
from benchmarks.page import Section, table
from blindspots.data import ArrayData
from blindspots.experiments.harden.batches import Material, Split
from blindspots.experiments.harden.recipe import Objective, Optimizer, Pool, Recipe
from blindspots.experiments.harden.trainer import Trainer

Rows = tuple[Tensor, Tensor]  # inputs and labels
SEEDS = 5
THREAT = bs.L2(1.0)
DROPPED = (0.2, 0.3)  # of the inputs, of hidden units
LONG = Recipe(
    epochs=30, batch=256, guard=False, objective=Objective(clean=1.0), optimizer=Optimizer(rate=4e-3, weight_decay=0.1)
)
SHORT = LONG.model_copy(update={"epochs": 20})  # takes longer all the same
WAYS = {
    "weight decay": (LONG, None, "1.6"),
    "dropout": (LONG, DROPPED, "about 1.3"),
    "pools of all layers": (SHORT.model_copy(update={"adversary": Pool()}), None, "below 1.2"),
    "a pool of inputs": (SHORT.model_copy(update={"adversary": Pool(layers="inputs")}), None, ""),
}
HEAD = ("trained with", "test error, each seed (%)", "mean (%)", "95 % interval", "published (%)", "CPU s per run")
READ = """The 100-100-10 network with rectifiers on all 60,000 training rows, {long} epochs without pools and
{short} with; error of the last weights on {rows} test rows. Changes of inputs have an l2 norm of at most
{radius}, those of a layer's output {hidden} of its own. Intervals are Student's over {seeds} seeds: they cover
what the seed decides, not the rows. Optimiser and batches are the same; settings were chosen with seed 0 on
these rows."""


def measure(args: argparse.Namespace) -> Section | None:
    z = zoo()
    if z is None:
        return None
    train, test = z.images("mnist", "train"), z.images("mnist", "test")
    numbers = [_way(name, train, test, args.repeats or SEEDS) for name in WAYS]
    read = READ.format(
        long=LONG.epochs, short=SHORT.epochs, rows=len(test[1]), radius=THREAT.radius, hidden=Pool().hidden,
        seeds=args.repeats or SEEDS,
    )  # fmt: skip
    return Section(
        "Szegedy's pools against weight decay and dropout",
        f"{table(HEAD, [_row(n) for n in numbers])}\n\n{read}",
        numbers,
    )


def _way(name: str, train: Rows, test: Rows, seeds: int) -> dict[str, Any]:
    (x, y), (test_x, test_y) = train, test
    recipe, dropped, published = WAYS[name]
    material = Material.of(ArrayData(x, y))
    errors, took = [], []
    for seed in range(seeds):
        done = clock(partial(_trained, recipe, dropped, material, seed))
        errors.append(100 * float((done.result.logits(test_x).argmax(1) != test_y).float().mean()))
        took.append(done.cpu)
        print(name, seed, f"{errors[-1]:.2f}", f"{took[-1]:.0f} s", flush=True)
    return {"name": name, "errors": errors, "published": published, "cpu": statistics.median(took)}


def _trained(recipe: Recipe, dropped: tuple[float, float] | None, material: Material, seed: int) -> bs.Model:
    torch.manual_seed(seed)
    model = bs.Model(_network(dropped))
    parts = Split(material, material[:1])  # nothing is held out: the last weights are judged
    trainer = Trainer(Fabric(accelerator="cpu", devices=1), model, parts, THREAT, recipe, seed)
    for _ in range(recipe.epochs):
        trainer.run_epoch()
    model.net.eval().requires_grad_(False)
    return model


def _network(dropped: tuple[float, float] | None) -> nn.Sequential:
    def drop(which: int) -> list[nn.Module]:
        return [] if dropped is None else [nn.Dropout(dropped[which])]

    return nn.Sequential(
        nn.Flatten(), *drop(0), nn.Linear(784, 100), nn.ReLU(), *drop(1), nn.Linear(100, 100), nn.ReLU(), *drop(1),
        nn.Linear(100, 10),
    )  # fmt: skip


def _row(n: dict[str, Any]) -> list[Any]:
    errors = n["errors"]
    mean = statistics.mean(errors)
    half = student.ppf(0.975, len(errors) - 1) * statistics.stdev(errors) / len(errors) ** 0.5
    each = " ".join(f"{e:.2f}" for e in errors)
    return [n["name"], each, f"{mean:.2f}", f"{mean - half:.2f} to {mean + half:.2f}", n["published"], round(n["cpu"])]
