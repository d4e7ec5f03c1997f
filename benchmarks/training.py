"""What a step of adversarial training costs: against plain steps, and beside the training loops of other libraries.

As a program (`python -m benchmarks.training MODEL LIBRARY`) it is one of the processes whose memory is measured.
"""

import argparse
import contextlib
import copy
import io
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Tensor, nn

from benchmarks.cases import NO_ZOO, Case, available, zoo
from benchmarks.clock import Took, interleaved, middle, ratio
from benchmarks.page import ROOT, Section, table, versions
from blindspots.data import ArrayData
from blindspots.experiments.harden.batches import Material, Split
from blindspots.experiments.harden.prepare import trainable
from blindspots.experiments.harden.recipe import Objective, Optimizer, Recipe, Search, read_recipe
from blindspots.experiments.harden.trainer import Trainer
from blindspots.models import Model
from blindspots.threat import Threat

STEPS, PEER_STEPS = (1, 7, 10), 7  # of PGD
WARM, RATE = 3, 1e-3  # epochs before the clock runs; of the optimiser
GOAL, FAST_GOAL = 1.1, 1.8
REACH = 2.5  # all steps of PGD together, in radii
MEMORY_BATCH, MEMORY_BATCHES = 64, 4


@dataclass(frozen=True)
class Size:
    batch: int  # rows
    batches: int  # per epoch
    rounds: int


CASES = {
    Case("digits", "linf", "0.15"): Size(64, 7, 15),
    Case("mnist_trades_smallcnn", "linf", "0.3"): Size(64, 4, 5),
    Case("cifar10_resnet20", "linf", "8/255"): Size(32, 4, 3),
}
OURS_HEAD = (
    "network", "rows per step", "step", "forwards", "backwards", "CPU ms", "over plain steps", "are", "goal",
)  # fmt: skip
PEERS_HEAD = (
    "network", "loop", "forwards", "backwards", "CPU ms", "/ ours", "loss before", "after",
)  # fmt: skip
MEMORY_HEAD = ("network", "rows per step", "loop", "more than before, MB")
READ = """Each contender trains its own copy of the network from the same fresh weights, by AdamW (rate {rate}), in
epochs of a few batches; a time is that of an epoch over its batches: everything that the loop does is in it, drawing
and slicing batches included. Medians of interleaved rounds ({rounds}), and of
the rounds' own ratios. Forwards and backwards are per row and step, counted inside the network. "over plain steps": a
PGD-k step over k + 1 steps of the same loop without an adversary, the `fast` recipe's over one. It can be below 1,
since the adversary asks for the gradient of the inputs alone, not of the weights."""
READ_PEERS = """All take {steps} steps of PGD, {reach} / {steps} radii each, from a random point, the network in
evaluation mode, and then one step of the weights on what was found, in training mode. "bare" is that as one would write
it by hand; torchattacks' `PGD` stands in the same loop; ART is its `AdversarialTrainer` with
`ProjectedGradientDescentPyTorch`, which is what `AdversarialTrainerMadryPGD` builds, but with the whole batch at once.
Above 1, ours is faster. Before the clock runs every contender has to lower its loss over {warm} epochs, and what it
trains on has to lie in the ball and reach its edge. "Loss" is the cross entropy on the clean rows in training mode,
before the first step and after the last."""
READ_MEMORY = """How far the peak resident memory of a fresh process rises above what it held before the first step,
once it took {batches} steps against PGD-1."""


class Counting(nn.Module):
    """A network that counts the rows it evaluates and those whose gradient it works out, and knows its last inputs."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = copy.deepcopy(net)
        self.forwards = self.backwards = 0
        self.last = torch.zeros(0)

    def forward(self, x: Tensor) -> Tensor:
        self.forwards += len(x)
        self.last = x.detach()
        scores: Tensor = self.net(x)
        if scores.requires_grad:
            scores.register_hook(self._passed)
        return scores

    def _passed(self, gradient: Tensor) -> None:
        self.backwards += len(gradient)


@dataclass(frozen=True)
class Scene:
    """A network with fresh weights, rows that are whole batches, and what is trained against."""

    net: nn.Module
    x: Tensor
    y: Tensor
    batch: int
    threat: Threat

    @classmethod
    def of(cls, case: Case, batch: int, batches: int) -> "Scene":
        net, x, y = case.open(batches * batch)
        fresh = trainable(Model(net), from_scratch=True, seed=0).net
        return cls(fresh, x, y, batch, case.threat)

    @property
    def batches(self) -> int:
        return len(self.y) // self.batch

    @property
    def radius(self) -> float:
        assert self.threat.radius is not None
        return self.threat.radius


Epoch = Callable[[], Any]
Library = Callable[[Counting, Scene, int], Epoch]  # network, scene, steps of PGD -> an epoch of training


def _recipe(scene: Scene, **settings: Any) -> Recipe:
    optimizer = Optimizer(name="adam", rate=RATE, schedule="constant")
    return Recipe(batch=scene.batch, optimizer=optimizer, **settings)


def by_recipe(net: Counting, scene: Scene, recipe: Recipe) -> Epoch:
    parts = Split(*(Material.of(ArrayData(scene.x, scene.y)) for _ in range(2)))
    return Trainer(Fabric(accelerator="cpu", devices=1), Model(net), parts, scene.threat, recipe, seed=0).run_epoch


def plain(net: Counting, scene: Scene, steps: int) -> Epoch:
    return by_recipe(net, scene, _recipe(scene, objective=Objective(clean=1.0)))


def fast(net: Counting, scene: Scene, steps: int) -> Epoch:
    """The recipe that comes with blindspots, with the optimiser of the others."""
    own = _recipe(scene)
    recipe = read_recipe("fast").model_copy(update={"batch": own.batch, "optimizer": own.optimizer})
    return by_recipe(net, scene, recipe)


def blindspots(net: Counting, scene: Scene, steps: int) -> Epoch:
    search = Search(attack=f"pgd:steps={steps},stride={REACH / steps}")
    return by_recipe(net, scene, _recipe(scene, adversary=search))


def _loop(net: Counting, scene: Scene, perturb: Callable[[Tensor, Tensor], Tensor]) -> Epoch:
    """Adversarial training as one would write it."""
    optimizer = _optimizer(net)

    def epoch() -> None:
        net.train()
        for at in torch.randperm(len(scene.y)).split(scene.batch):
            x, y = scene.x[at], scene.y[at]
            moved = perturb(x, y)
            optimizer.zero_grad()
            F.cross_entropy(net(moved), y).backward()
            optimizer.step()

    return epoch


def _optimizer(net: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(net.parameters(), RATE, weight_decay=0.0, fused=True)


def bare(net: Counting, scene: Scene, steps: int) -> Epoch:
    r = scene.radius

    def perturb(x: Tensor, y: Tensor) -> Tensor:
        net.eval()
        lo, hi = (x - r).clamp_min(0), (x + r).clamp_max(1)
        z = lo + (hi - lo) * torch.rand_like(x)
        for _ in range(steps):
            z.requires_grad_()
            (gradient,) = torch.autograd.grad(F.cross_entropy(net(z), y, reduction="sum"), z)
            z = (z.detach() + REACH / steps * r * gradient.sign()).clamp(lo, hi)
        net.train()
        return z

    return _loop(net, scene, perturb)


def torchattacks(net: Counting, scene: Scene, steps: int) -> Epoch:
    pgd = import_module("torchattacks").PGD
    return _loop(net, scene, pgd(net, eps=scene.radius, alpha=REACH / steps * scene.radius, steps=steps))


def art(net: Counting, scene: Scene, steps: int) -> Epoch:
    from art.attacks.evasion import ProjectedGradientDescentPyTorch
    from art.defences.trainer import AdversarialTrainer
    from art.estimators.classification import PyTorchClassifier

    classifier = PyTorchClassifier(
        net, nn.CrossEntropyLoss(), tuple(scene.x.shape[1:]), 10, _optimizer(net), clip_values=(0, 1),
        device_type="cpu",
    )  # fmt: skip
    r = scene.radius
    attack = ProjectedGradientDescentPyTorch(
        classifier, eps=r, eps_step=REACH / steps * r, max_iter=steps, num_random_init=1, batch_size=scene.batch,
        verbose=False,
    )  # fmt: skip
    trainer, x, y = AdversarialTrainer(classifier, attack, ratio=1.0), scene.x.numpy(), scene.y.numpy()

    def epoch() -> None:
        with contextlib.redirect_stderr(io.StringIO()):  # progress bars
            trainer.fit(x, y, batch_size=scene.batch, nb_epochs=1)

    return epoch


PEERS: dict[str, Library] = {"blindspots": blindspots, "bare": bare, "torchattacks": torchattacks, "ART": art}


class Contender:
    """A loop with a network of its own, which has shown that it trains."""

    def __init__(self, name: str, steps: int, library: Library, scene: Scene) -> None:
        self.name, self.steps, self.scene = name, steps, scene
        self.net = Counting(scene.net)
        self.epoch, self.epochs = library(self.net, scene, steps), 0
        self.before = self.loss()
        for _ in range(WARM):
            self.epoch()
        self.reach = self._reach()
        self._check()
        self.net.forwards = self.net.backwards = 0

    def run(self) -> None:
        self.epoch()
        self.epochs += 1

    def loss(self) -> float:
        """On the clean rows, in training mode: running statistics lag behind after a few steps."""
        net = copy.deepcopy(self.net.net).train()
        with torch.no_grad():
            return float(F.cross_entropy(net(self.scene.x), self.scene.y))

    def _reach(self) -> float:
        """The distance of the rows last trained on, each from the nearest clean row, in radii."""
        apart = [(row - self.scene.x).flatten(1).abs().amax(1).min() for row in self.net.last]
        return float(torch.stack(apart).max()) / self.scene.radius

    def _check(self) -> None:
        if not self.loss() < self.before:
            raise RuntimeError(f"{self.name}, PGD-{self.steps}: the loss has not fallen in {WARM} epochs")
        if self.steps and not 0.99 < self.reach < 1.0001:
            raise RuntimeError(f"{self.name}, PGD-{self.steps}: trains on rows {self.reach:.3f} radii away")

    def numbers(self, took: list[Took]) -> dict[str, Any]:
        rows, seconds = self.epochs * len(self.scene.y), middle(took)
        return {
            "loop": self.name, "k": self.steps,
            "forwards": self.net.forwards / rows, "backwards": self.net.backwards / rows,
            "cpu": seconds.cpu / self.scene.batches, "wall": seconds.wall / self.scene.batches,
            "reach": round(self.reach, 4), "loss_before": self.before, "loss_after": self.loss(),
        }  # fmt: skip


def measure(args: argparse.Namespace) -> Section:
    cases = available(CASES, args)
    numbers = [n for case in cases for n in _compare(case, args.rows or CASES[case].batch, _rounds(case, args))]
    memory = _memory(cases[-1])
    rounds = ", ".join(f"{case.model}: {_rounds(case, args)} rounds of {CASES[case].batches} batches" for case in cases)
    text = "\n\n".join([
        versions("torchattacks", "adversarial-robustness-toolbox") + ".",
        "### Against plain steps",
        table(OURS_HEAD, [_own_row(n) for n in numbers if n["goal"] or n["loop"] == "plain"]),
        READ.format(rounds=rounds, rate=RATE),
        "### Beside other loops",
        table(PEERS_HEAD, [_peer_row(n) for n in numbers if n["k"] == PEER_STEPS]),
        READ_PEERS.format(steps=PEER_STEPS, reach=REACH, warm=WARM),
        "### Memory",
        table(MEMORY_HEAD, [[n["model"], n["batch"], n["loop"], n["more"]] for n in memory]),
        READ_MEMORY.format(batches=MEMORY_BATCHES) + ("" if zoo() else f" {NO_ZOO}"),
    ])  # fmt: skip
    return Section("Steps of adversarial training", text, {"steps": numbers, "memory": memory})


def _rounds(case: Case, args: argparse.Namespace) -> int:
    return args.repeats or CASES[case].rounds


def _own_row(n: dict[str, Any]) -> list[Any]:
    step = f"PGD-{n['k']}" if n["k"] else n["loop"]
    return [n["model"], n["batch"], step, n["forwards"], n["backwards"], 1000 * n["cpu"], n["plain_steps"],
            n["over_plain"], n["goal"]]  # fmt: skip


def _peer_row(n: dict[str, Any]) -> list[Any]:
    return [n["model"], n["loop"], n["forwards"], n["backwards"], 1000 * n["cpu"], n["over_ours"],
            n["loss_before"], n["loss_after"]]  # fmt: skip


def _compare(case: Case, batch: int, rounds: int) -> list[dict[str, Any]]:
    torch.manual_seed(0)
    scene = Scene.of(case, batch, CASES[case].batches)
    wanted: dict[tuple[str, int], Library] = {("plain", 0): plain, ("fast", 0): fast}
    wanted |= {("blindspots", k): blindspots for k in STEPS}
    wanted |= {(name, PEER_STEPS): library for name, library in PEERS.items()}
    contenders = {key: Contender(*key, library, scene) for key, library in wanted.items()}
    took = interleaved({f"{name} {k}": c.run for (name, k), c in contenders.items()}, rounds)
    return [{"model": case.model, "batch": scene.batch, "rounds": rounds, **c.numbers(took[f"{name} {k}"]),
             **_ratios(name, k, took)} for (name, k), c in contenders.items()]  # fmt: skip


def _ratios(name: str, k: int, took: dict[str, list[Took]]) -> dict[str, Any]:
    """Of CPU time, to plain steps and, where others do the same, to blindspots."""
    mine, own = took[f"{name} {k}"], name in ("fast", "blindspots")
    return {
        "plain_steps": k + 1,
        "over_plain": ratio(mine, took["plain 0"]).cpu / (k + 1),
        "goal": None if not own else GOAL if k else FAST_GOAL,
        "over_ours": ratio(mine, took[f"blindspots {k}"]).cpu if k == PEER_STEPS else None,
    }


def _memory(case: Case) -> list[dict[str, Any]]:
    return [{"model": case.model, "batch": MEMORY_BATCH, "loop": name, "more": _fresh(case, name)}
            for name in ("plain", *PEERS)]  # fmt: skip


def _fresh(case: Case, name: str) -> float:
    """MB, from a process of its own."""
    command = [sys.executable, "-m", "benchmarks.training", case.model, name]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def _rise(model: str, name: str) -> float:
    """MB that a few steps add to the resident memory of this process, at their peak."""
    torch.set_num_threads(1)
    scene = Scene.of(next(case for case in CASES if case.model == model), MEMORY_BATCH, MEMORY_BATCHES)
    epoch = {"plain": plain, **PEERS}[name](Counting(scene.net), scene, 1)
    before = _resident("VmRSS")
    epoch()
    return (_resident("VmHWM") - before) / 1000


def _resident(which: str) -> int:
    """VmRSS: now, VmHWM: at the peak, in kB."""
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith(which)))


if __name__ == "__main__":
    print(_rise(sys.argv[1], sys.argv[2]))
