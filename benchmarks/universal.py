"""Universal perturbations: fooling rates on images that no search has seen, and time beside the first algorithm."""

import argparse
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cache, cached_property, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.cases import zoo
from benchmarks.clock import clock
from benchmarks.count import Counted
from benchmarks.page import ROOT, Section, percent, store, stored, table, versions
from benchmarks.universal_peers import SEARCHES, TimeUpError, Trace
from blindspots.ball import Linf
from blindspots.data import ArrayData
from blindspots.data.splits import Rows, divide
from blindspots.experiments.universal.file import load_perturbation
from blindspots.experiments.universal.fitting import Wanted, fitted
from blindspots.experiments.universal.labels import dominant_labels
from blindspots.experiments.universal.measure import random_signs
from blindspots.experiments.universal.methods import Method, parse_method
from blindspots.experiments.universal.parametrisation import Additive
from blindspots.experiments.universal.verdict import Trial
from blindspots.models import Model
from blindspots.oracle import Oracle
from blindspots.records import Share

CELLS = "universal-cells"
KEPT = ROOT / "runs" / "benchmarks-universal"  # perturbations, for the matrix; not part of the repository
V1, V1_HALF, V2, SQUEEZE = NETS = (
    "imagenet_mobilenet_v1_0.25_128", "imagenet_mobilenet_v1_0.5_160", "imagenet_mobilenet_v2_1.0_224",
    "imagenet_squeezenet1_1",
)  # fmt: skip
CIFAR = {"cifar10_resnet20": 8 / 255, "cifar10_cnn_a_adv": 16 / 255}
IMAGES = (10, 50, 100, 500, 2000)
FIT, HELD_CIFAR = 500, 1000
TIMED = ("uap", "sgd", "sgd:passes=3", "published loop", "ART, deepfool", "ART, pgd")
HEAD = ("network", "search", "fit images", "fooled, fit", "fooled, held out", "95 % interval", "held out, unclipped",
        "CPU s", "wall s", "passes", "forwards", "backwards")  # fmt: skip
READ = """Fooled: predicted otherwise than without the perturbation, whether that was right or wrong; x + v is kept in
[0, 1] unless "unclipped" is said. linf 10/255, photographs of 224 x 224 for every network (two of them were trained on
smaller ones), the fit images by lot with seed 0, the same for all searches, 200 others held out. Intervals are exact
(Clopper-Pearson); other seeds are not in them. Forwards and backwards are rows as the network saw them, padding
included. "published loop" is the algorithm of Moosavi-Dezfooli et al. 2017 with the constants of the authors' code in
plain torch, image by image, with one forward for all ten gradients of a DeepFool step. ART's searches are its
`UniversalPerturbation`, DeepFool with the same constants, PGD with 10 steps of 2/255. A star: the search was stopped at
a limit of processor time, and what it had then is judged. torchattacks and Foolbox have no universal perturbations."""
READ_TIME = """Processor seconds until a perturbation in hand fools so many of the held-out images; empty: it never
did. Perturbations are recorded at times 1.3 times apart (1.6 for MobileNet v2), from one second on, and judged off the
clock; so times are late by up to that factor, for all searches alike. The last column compares at the highest level
that both reached. A search itself cannot know when it is there."""
LEVELS = (0.1, 0.3, 0.5, 0.8, 0.9)


@dataclass(frozen=True)
class Scene:
    """A network and the images of a search and of its judgement."""

    name: str
    radius: float
    net: nn.Module
    fit: Rows
    heldout: Rows
    chunk: int

    @property
    def x(self) -> Tensor:
        return self.fit.take(torch.arange(len(self.fit)))[0]

    @cached_property
    def clean(self) -> tuple[Tensor, Tensor]:
        """Predictions of the fit rows and of those held out."""
        return self.predictions(self.fit), self.predictions(self.heldout)

    def predictions(self, rows: Rows, v: Tensor | None = None, clip: bool = True) -> Tensor:
        found = []
        for places in torch.split(torch.arange(len(rows)), self.chunk):
            x = rows.take(places)[0]
            moved = x if v is None else x + v
            with torch.no_grad():
                found.append(self.net(moved.clamp(0, 1) if clip else moved).argmax(1))
        return torch.cat(found)

    def fooled(self, v: Tensor, *, held: bool = True, clip: bool = True) -> Share:
        now = self.predictions(self.heldout if held else self.fit, v, clip)
        return Share.of(int((now != self.clean[held]).sum()), len(now))


@dataclass(frozen=True)
class Job:
    """One search on one network. `search` is a method of ours as in the command line, or a name of SEARCHES."""

    network: str
    search: str
    images: int = FIT
    limit: float = float("inf")  # processor seconds

    @property
    def key(self) -> str:
        return f"{self.network} / {self.search} / {self.images}"


FIRST = [
    Job(V1, "periodic"),
    Job(V1, "uap"),
    Job(V1, "published loop", limit=300),
    Job(V1, "sgd"),
    Job(V1, "ART, deepfool", limit=80),
    Job(V1_HALF, "periodic"),
    Job(V2, "periodic"),
    *(Job(net, "sgd", n) for net in CIFAR for n in IMAGES),
    Job(SQUEEZE, "periodic"),
]
LATER = [
    Job(V1_HALF, "sgd"),
    *(Job("cifar10_cnn_a_adv", search, n) for search in ("periodic", "uap") for n in IMAGES),
    Job(V1_HALF, "published loop", limit=300),
    Job(V2, "published loop", limit=240),
    *(Job("cifar10_resnet20", "periodic", n) for n in IMAGES[:4]),
    Job(V2, "sgd:passes=3"),
    Job(V1, "sgd:passes=8", 60),
    Job(V1, "sgd:period=64,views=flip+crop,passes=8", 60),
    Job(V1, "sgd:views=flip+crop,passes=8", 60),
    Job(V1, "sgd:period=64,passes=8", 60),
    *(Job("cifar10_resnet20", "uap", n) for n in IMAGES[:4]),
    Job(V1, "data-free"),
    Job(V1, "sga:batch=100,passes=3"),
    Job(V1, "sgd:loss=cosine,passes=8", 60),
    Job(V1_HALF, "uap", limit=150),
    Job(V1, "ART, pgd", limit=60),
    Job(V2, "uap", limit=150),
    Job(V1_HALF, "data-free"),
    Job(V1_HALF, "sga:batch=100,passes=3"),
    Job(V1_HALF, "sgd:passes=3"),
    Job(V1_HALF, "sgd:period=64,passes=3"),
    Job(V1_HALF, "sgd:period=32,passes=3"),
    Job(V2, "sgd:period=64,passes=3"),
    Job(V2, "sgd:period=32,passes=3"),
    *(Job("cifar10_resnet20", search, max(IMAGES)) for search in ("periodic", "uap")),
]
JOBS = [*FIRST, *LATER]


def measure(args: argparse.Namespace) -> Section | None:
    if zoo() is None:
        return None
    cells = _Cells(not args.cached)
    _run(FIRST, cells, args)
    for net in NETS:
        cells.get(f"{net} / published", partial(_published, net))
        made = [other for other in NETS if _file(other).is_file()]
        cells.get(f"{net} / fed", partial(_fed, net, made))
    _run(LATER, cells, args)
    return Section("One perturbation for all images", _text(cells.known), cells.known)


def _run(jobs: list[Job], cells: "_Cells", args: argparse.Namespace) -> None:
    for job in jobs:
        if not args.models or any(m in job.network for m in args.models):
            cells.get(job.key, partial(_searched, job))


class _Cells:
    """Results by name, kept in benchmarks/results as soon as they are there."""

    def __init__(self, computes: bool) -> None:
        self.computes, self.known = computes, dict(stored(CELLS))

    def get(self, key: str, make: Callable[[], Any]) -> None:
        if key not in self.known and self.computes:
            self.known[key] = make()
            store(CELLS, self.known)
            print(key, {k: v for k, v in self.known[key].items() if k != "curve"}, flush=True)


# ------------------------------------------------------------------ searches


@cache
def _data(task: str) -> ArrayData:
    loader = zoo()
    assert loader is not None
    return ArrayData(*(loader.images(task) if task == "imagenet" else loader.images(task, "test", 3000)))


@cache
def _scene(network: str, images: int) -> Scene:
    """The largest fit set is drawn by lot; smaller ones are its first images, so what is held out stays the same."""
    loader = zoo()
    assert loader is not None
    small = network in CIFAR
    data = _data("cifar10" if small else "imagenet")
    division = divide(data, max(IMAGES) if small else FIT, HELD_CIFAR if small else None, seed=0)
    net = loader.load(network).eval().requires_grad_(False)
    return Scene(
        network, CIFAR.get(network, 10 / 255), net, division.fit.only(list(range(images))), division.heldout,
        16 if small else 8,
    )  # fmt: skip


def _searched(job: Job) -> dict[str, Any]:
    scene = _scene(job.network, job.images)
    net, trace = Counted(scene.net), Trace(job.limit, 1.6 if job.network == V2 else 1.3)
    scene.fit.take(torch.arange(len(scene.fit)))  # reading is not on the clock
    took = clock(lambda: _stopped(job, scene, net, trace))
    stopped, details = took.result
    assert trace.v is not None
    seconds = {"cpu": round(took.cpu, 1), "wall": round(took.wall, 1), "stopped": stopped, **details}
    spent = {"forwards": net.forwards, "backwards": net.backwards}
    if job.search == "periodic" and job.network in NETS:
        KEPT.mkdir(parents=True, exist_ok=True)
        np.save(_file(job.network), trace.v.numpy())
    timed = job.network in NETS and job.images == FIT and job.search in TIMED
    curve = [(round(t, 1), scene.fooled(v).share) for t, v in trace.kept] if timed else []
    return {**_judged(scene, trace.v), **seconds, **spent, "curve": curve}


def _stopped(job: Job, scene: Scene, net: Counted, trace: Trace) -> tuple[bool, dict[str, Any]]:
    """Whether time was up, and what a search of ours says of itself."""
    try:
        if job.search in SEARCHES:
            torch.manual_seed(0)
            SEARCHES[job.search](net, scene.x, scene.radius, trace)
            return False, {}
        return False, _ours(job, scene, net, trace)
    except TimeUpError:
        return True, {}


def _ours(job: Job, scene: Scene, net: Counted, trace: Trace) -> dict[str, Any]:
    method = parse_method(job.search)
    method = replace(_traced(method, trace), batch=min(method.batch, job.images))  # type: ignore[type-var]
    oracle = Oracle(Model(net), chunk=scene.chunk)
    wanted = Wanted(Linf(scene.radius), scene.fit.data.shape, 1, None, True, 0)
    with oracle.session():
        found = fitted(oracle, method, scene.fit, wanted)
    trace.v = found.v
    return {
        "passes": len(found.history), "period": found.period, "trials": [_trial(t) for t in found.trials],
        "history": [round(p.fooled_fit, 4) for p in found.history],
    }  # fmt: skip


def _trial(t: Trial) -> list[Any]:
    return [t.period, t.start, t.passes, t.fooled]


def _traced(method: Method, trace: Trace) -> Method:
    """The same method, which hands every new perturbation to the trace."""

    class Traced(type(method)):  # type: ignore[misc]
        def step(self, task: Any, state: Any, batch: Any) -> Any:
            state, fooled = super().step(task, state, batch)
            trace(task.space.perturbation(state.p))
            return state, fooled

    made: Method = Traced(**asdict(method))  # type: ignore[call-overload]
    return made


def _judged(scene: Scene, v: Tensor) -> dict[str, Any]:
    assert float(v.abs().max()) <= scene.radius * (1 + 1e-5)
    fit, held, free = scene.fooled(v, held=False), scene.fooled(v), scene.fooled(v, clip=False)
    clean = torch.cat(scene.clean)
    now = torch.cat([scene.predictions(scene.fit, v), scene.predictions(scene.heldout, v)])
    labels = dominant_labels(clean, now, int(torch.cat([clean, now]).max()) + 1)
    return {
        "fit": [fit.hits, fit.rows], "held": [held.hits, held.rows], "unclipped": [free.hits, free.rows],
        "top": labels.top_share, "dominant": labels.dominant[:5], "components": [len(c) for c in labels.components][:8],
    }  # fmt: skip


# ------------------------------------------------------------------ perturbations made for other networks


def _file(network: str) -> Any:
    return KEPT / f"{network}.npy"


def _published(network: str) -> dict[str, Any]:
    """Fooling rates of perturbations that others have published, and of random signs."""
    scene, loader = _scene(network, FIT), zoo()
    assert loader is not None
    archive = str(loader.__file__).replace("zoo.py", "data/images/imagenet_uaps_224.npz")
    made = {name: load_perturbation(f"{archive}:{name}").v for name in np.load(archive).files}
    noise = random_signs(Additive(Linf(scene.radius), scene.fit.data.shape), 0)
    return {name: scene.fooled(v).share for name, v in {"random signs": noise, **made}.items()}


def _fed(network: str, made: list[str]) -> dict[str, Any]:
    """Fooling rates of our perturbations that were made for others."""
    scene = _scene(network, FIT)
    return {other: scene.fooled(torch.from_numpy(np.load(_file(other)))).share for other in made}


# ------------------------------------------------------------------ tables


def _text(cells: dict[str, Any]) -> str:
    jobs = sorted((j for j in JOBS if j.key in cells), key=lambda j: (*NETS, *CIFAR).index(j.network))
    photos = [j for j in jobs if j.network in NETS]
    parts = [
        versions("adversarial-robustness-toolbox") + ".",
        "### Photographs", table(HEAD, [_row(j, cells[j.key]) for j in photos]), READ,
        "### Time to the same rate on held-out images", _times(photos, cells), READ_TIME,
        "### Made for one network, fed to another", _matrix(cells),
        "### CIFAR-10: rate against number of fit images", _cifar(jobs, cells),
        "### Dominant labels", _labels(jobs, cells),
    ]  # fmt: skip
    return "\n\n".join(parts)


def _row(job: Job, c: dict[str, Any]) -> list[Any]:
    held = Share.of(*c["held"])
    lo, hi = held.interval
    return [
        _short(job.network), job.search + "*" * c["stopped"], job.images, _rate(c["fit"]), _rate(c["held"]),
        f"{100 * lo:.0f} to {100 * hi:.0f} %", _rate(c["unclipped"]), c["cpu"], c["wall"], c.get("passes"),
        c["forwards"], c["backwards"],
    ]  # fmt: skip


def _rate(hits: list[int]) -> str:
    return percent(hits[0] / hits[1])


def _short(network: str) -> str:
    return network.removeprefix("imagenet_").removeprefix("cifar10_")


def _curve(c: dict[str, Any]) -> list[tuple[float, float]]:
    return [(t, r) for t, r in c["curve"]] + [(c["cpu"], c["held"][0] / c["held"][1])]


def _first(c: dict[str, Any], rate: float) -> float | None:
    """When a search had a perturbation that fools so many."""
    return next((t for t, r in _curve(c) if r >= rate), None)


def _times(jobs: list[Job], cells: dict[str, Any]) -> str:
    """A line per search, with its time to each level, and the published loop's time over it where both are known."""
    rows = []
    for job in (j for j in jobs if j.search in TIMED and j.images == FIT):
        c, loop = cells[job.key], cells.get(Job(job.network, "published loop").key)
        times = [_first(c, level) for level in LEVELS]
        base = [_first(loop, level) if loop else None for level in LEVELS]
        both = [(b / t, level) for b, t, level in zip(base, times, LEVELS, strict=True) if b and t]
        less = "" if job.search == "published loop" or not both else f"{both[-1][0]:.1f} at {percent(both[-1][1])}"
        rows.append([
            _short(job.network), job.search + "*" * c["stopped"],
            *("" if t is None else f"{t:.1f}" for t in times), less,
        ])  # fmt: skip
    return table(
        ("network", "search", *(f"to {100 * level:.0f} %" for level in LEVELS), "times less than the loop"), rows
    )


def _matrix(cells: dict[str, Any]) -> str:
    fed = {net: {**cells.get(f"{net} / fed", {}), **cells.get(f"{net} / published", {})} for net in NETS}
    names = list(dict.fromkeys(name for known in fed.values() for name in known))
    rows = [[_short(name), *(percent(fed[n][name]) if name in fed[n] else "" for n in NETS)] for name in names]
    return table(("made for", *(f"fed to {_short(n)}" for n in NETS)), rows)


def _cifar(jobs: list[Job], cells: dict[str, Any]) -> str:
    rows: dict[tuple[str, str], dict[int, str]] = {}
    for job in (j for j in jobs if j.network in CIFAR):
        c = cells[job.key]
        rows.setdefault((job.network, job.search), {})[job.images] = f"{_rate(c['held'])} ({c['cpu']:.0f} s)"
    lines = [
        [_short(net), f"{255 * CIFAR[net]:.0f}/255", search, *(found.get(n, "") for n in IMAGES)]
        for (net, search), found in rows.items()
    ]
    return table(("network", "linf", "search", *(f"{n:,} images" for n in IMAGES)), lines)


def _largest(job: Job) -> int:
    return FIT if job.network in NETS else max(IMAGES)


def _labels(jobs: list[Job], cells: dict[str, Any]) -> str:
    shown = [j for j in jobs if j.search == "periodic" and j.images == _largest(j)]
    rows = []
    for job in shown:
        c = cells[job.key]
        top = c["top"]
        label, count = c["dominant"][0]
        rows.append([
            _short(job.network), percent(top["1"]), percent(top["5"]), f"{label} ({count})",
            ", ".join(map(str, c["components"])), "none" if c["period"] is None else str(c["period"]),
        ])  # fmt: skip
    return table(
        ("network", "first label takes", "first five take", "first label (images)", "components", "period"), rows
    )
