"""What the report of a universal run draws: curves with bands on linear and logarithmic axes, and graphs of labels."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from blindspots.experiments.universal.verdict import DominantLabels, Edge, Geometry, Pass, UniversalVerdict
from blindspots.records import Share
from blindspots.report.charts import Line, Mark, Plot, Point, quarters, rising, ticks
from blindspots.report.words import number, percent

_NODES, _LARGEST, _LEAST = 64, 32, 8  # labels drawn: in all, of one component; of one that is cut off at least
_NAME = 20  # letters of a class name
_UPRIGHT = 3  # letters of a name that needs not be turned
_GAP = 64.0  # px between rings at least
_LETTER = 6.2  # px, about, at the size of the drawing's text
_ALONG = 15.0  # px that a label takes along its ring
_TOP = 1.04  # of the largest value that a curve shows


Scale = Callable[[float], float]


def _linear(low: float, high: float) -> Scale:
    return lambda value: 100 * (value - low) / (high - low)


def _logarithmic(low: float, high: float) -> Scale:
    return lambda value: 100 * math.log(value / low) / math.log(high / low)


def _shares(label: str, at: Sequence[float], shares: Sequence[Share], across: Scale) -> Line:
    """A curve of shares with its band of intervals."""
    x = [across(value) for value in at]
    low, high = ([(a, 100 * s.interval[k]) for a, s in zip(x, shares, strict=True)] for k in (0, 1))
    points = [(a, 100 * s.share) for a, s in zip(x, shares, strict=True)]
    return Line(
        label, rising(points), rising([*high, *low[::-1]]) + "Z", points, [percent(s.share) for s in shares]
    )  # fmt: skip


def history(passes: Sequence[Pass]) -> Plot | None:
    """Share of fit rows fooled after every pass; None where there were fewer than two."""
    if len(passes) < 2:
        return None
    last = max(p.number for p in passes)
    across = _linear(0, last)
    points = [(across(p.number), 100 * p.fooled_fit) for p in passes]
    marks = [Mark(t.at, f"{t.value:.0f}") for t in ticks(last) if t.value == round(t.value)]
    line = Line("fit rows", rising(points), "", points, [percent(p.fooled_fit) for p in passes])
    return Plot("Fooled after every pass", "pass", marks, quarters(), [line], [], [str(p.number) for p in passes])


def against_norm(v: UniversalVerdict, norm: str, radius: float | None, text: str) -> Plot | None:
    """Fooling rate against the size of the perturbation, with random signs of the same size."""
    points = sorted(v.against_norm, key=lambda p: p.radius)
    if len(points) < 2:
        return None
    at = [p.radius for p in points]
    across = _linear(0, _TOP * at[-1])
    lines = [
        _shares("the perturbation, scaled", at, [p.fooled for p in points], across),
        _shares("random signs of the same norm", at, [p.random for p in points], across),
    ]
    marks = [] if radius is None or radius > _TOP * at[-1] else [Mark(across(radius), text)]
    x = [Mark(t.at, number(t.value)) for t in ticks(_TOP * at[-1])]
    return Plot(
        "Fooling rate against norm", f"{norm} norm", x, quarters(), lines, marks, [number(r) for r in at]
    )  # fmt: skip


def against_images(v: UniversalVerdict, fit_rows: int) -> Plot | None:
    """Fooling rate on unseen rows against the number of rows that the search saw, on a logarithmic axis."""
    known = {p.images: p.fooled for p in v.against_images}
    if not known:
        return None
    known.setdefault(fit_rows, v.heldout.fooled)
    if len(known) < 2:
        return None
    at = sorted(known)
    across = _logarithmic(at[0] / 1.1, at[-1] * 1.1)
    line = _shares("unseen rows", at, [known[n] for n in at], across)
    x = [Mark(across(n), f"{n:,}") for n in at]
    return Plot(
        "Fooling rate against fit rows", "fit rows", x, quarters(), [line], [], [f"{n:,}" for n in at]
    )  # fmt: skip


def singular_values(g: Geometry) -> Plot | None:
    """Both spectra on a logarithmic axis, three decades deep at most."""
    spectra = [[s for s in values if s > 0] for values in (g.singular_values, g.singular_values_random)]
    if min(map(len, spectra)) < 2:
        return None
    largest = max(max(s) for s in spectra)
    high = 1.15 * largest
    low = max(min(min(s) for s in spectra) / 1.15, high / 1000)
    up, across = _logarithmic(low, high), _linear(1, max(map(len, spectra)))
    kept = [[(across(i + 1), up(s)) for i, s in enumerate(values) if s >= low] for values in spectra]
    names = ("normals", "random unit vectors")
    shown = sorted({0, 1, 4, 9, 19, 49, 99, 199, 499} & set(range(min(map(len, spectra)))))
    lines = [
        Line(name, rising(points), "", [], [number(values[i]) for i in shown])
        for name, points, values in zip(names, kept, spectra, strict=True)
    ]
    x = [Mark(across(t.value), number(t.value)) for t in ticks(max(map(len, spectra))) if t.value >= 1]
    y = [Mark(up(value), number(value)) for value in _round(low, high)]
    return Plot("Singular values", "index", [Mark(0, "1"), *x], y, lines, [], [str(i + 1) for i in shown])


def _round(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten between two values."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [k * 10.0**p for p in powers for k in (1, 2, 5) if low <= k * 10.0**p <= high]


# ------------------------------------------------------------------ the graph of labels


@dataclass(frozen=True)
class Node:
    """A label as a circle around (x, y) in px; the dominant one of its component lies at the origin."""

    x: float
    y: float
    r: float
    name: str
    title: str
    turn: float | None  # degrees of a name that runs along its ray; None: below the circle

    @property
    def transform(self) -> str:
        """Of the name: along its ray and never upside down; short ones upright at the end of it."""
        if self.turn is None:
            return f"translate(0 {self.r + 13:.1f})"
        if len(self.name) <= _UPRIGHT:
            ray, far = math.radians(self.turn), self.r + 9
            return f"translate({far * math.cos(ray):.1f} {far * math.sin(ray) + 4:.1f})"
        turn, at = (self.turn + 180, -self.r - 5) if self.flips else (self.turn, self.r + 5)
        return f"rotate({turn:.1f}) translate({at:.1f} 4)"

    @property
    def anchor(self) -> str:
        if self.turn is None or len(self.name) <= _UPRIGHT:
            return "middle"
        return "end" if self.flips else "start"

    @property
    def flips(self) -> bool:
        return self.turn is not None and math.cos(math.radians(self.turn)) < -1e-9


@dataclass(frozen=True)
class Arrow:
    path: str
    width: float
    title: str


@dataclass(frozen=True)
class Component:
    """One component around its dominant label. `hidden` more labels belong to it."""

    box: tuple[float, float, float, float]  # left, top, width, height
    nodes: list[Node]  # the dominant one first
    arrows: list[Arrow]
    labels: int
    hidden: int


@dataclass(frozen=True)
class Graph:
    drawn: list[Component]
    left: int  # components that are not drawn
    left_labels: int


def graph(labels: DominantLabels, name: Callable[[int], str]) -> Graph:
    """The largest components, as far as there is room; of one that is too large itself, its commonest labels."""
    drawn: list[Component] = []
    room = _NODES
    for members in labels.components:
        if room < min(len(members), _LEAST):
            break
        drawn.append(_component(members, labels.edges, name, min(room, _LARGEST)))
        room -= len(drawn[-1].nodes)
    rest = labels.components[len(drawn) :]
    return Graph(drawn, len(rest), sum(map(len, rest)))


def _component(members: Sequence[int], edges: Sequence[Edge], name: Callable[[int], str], room: int) -> Component:
    own = [e for e in edges if e.source in set(members)]
    taken = {k: sum(e.most for e in own if e.to == k) for k in members}
    root = max(members, key=lambda k: (sum(e.to == k for e in own), taken[k], -k))
    children = _tree(root, own, room)
    most = max(taken.values())
    nodes = {
        k: Node(
            x, y, 4 + 10 * math.sqrt(taken[k] / most), _short(name(k)),
            f"{name(k)}: the commonest for {sum(e.to == k for e in own):,} classes, {taken[k]:,} of their fooled rows",
            None if k == root or (children[k] and len(name(k)) <= _UPRIGHT) else turn,
        )
        for k, (x, y, turn) in _places(root, children).items()
    }  # fmt: skip
    arrows = [
        Arrow(
            _curve(nodes[e.source], nodes[e.to], e.to in children[e.source]), 0.8 + 2.2 * e.most / e.rows,
            f"{name(e.source)} → {name(e.to)}: {e.most:,} of {e.rows:,} fooled rows",
        )
        for e in own if e.source in nodes and e.to in nodes
    ]  # fmt: skip
    return Component(_box(nodes.values()), list(nodes.values()), arrows, len(members), len(members) - len(nodes))


def _tree(root: int, edges: Sequence[Edge], room: int) -> dict[int, list[int]]:
    """The children of the first `room` labels around the root, the nearest first, then those with the most rows."""
    near: dict[int, list[int]] = {}
    for e in sorted(edges, key=lambda e: (-e.rows, e.source)):
        near.setdefault(e.to, []).append(e.source)
        near.setdefault(e.source, []).append(e.to)
    children: dict[int, list[int]] = {root: []}
    waiting = [root]
    for at in waiting:
        for k in near.get(at, []):
            if k not in children and len(children) < room:
                children[at].append(k)
                children[k] = []
                waiting.append(k)
    return children


def _places(root: int, children: dict[int, list[int]]) -> dict[int, tuple[float, float, float]]:
    """x, y and the angle in degrees of every label: leaves evenly around the root, others amid their leaves."""
    leaves = max(1, sum(not c for k, c in children.items() if k != root))
    gap = max(_GAP, leaves * _ALONG / math.tau)
    places = {root: (0.0, 0.0, 0.0)}
    free = iter(range(leaves))

    def place(at: int, depth: int) -> float:
        turns = [place(k, depth + 1) for k in children[at]]
        turn = (turns[0] + turns[-1]) / 2 if turns else 360 * next(free) / leaves
        if depth:
            ray = math.radians(turn)
            places[at] = (depth * gap * math.cos(ray), depth * gap * math.sin(ray), turn)
        return turn

    if children[root]:
        place(root, 0)
    return places


def _curve(source: Node, to: Node, bends: bool) -> str:
    """From circle to circle. What leads away from the dominant label bends, so that it hides no arrow towards it."""
    dx, dy = to.x - source.x, to.y - source.y
    length = math.hypot(dx, dy)
    ux, uy = dx / length, dy / length
    start = source.x + ux * source.r, source.y + uy * source.r
    end = to.x - ux * (to.r + 5), to.y - uy * (to.r + 5)
    bend = 0.22 * length if bends else 0.0
    middle = (start[0] + end[0]) / 2 - uy * bend, (start[1] + end[1]) / 2 + ux * bend
    return f"M{start[0]:.1f} {start[1]:.1f}Q{middle[0]:.1f} {middle[1]:.1f} {end[0]:.1f} {end[1]:.1f}"


def _box(nodes: Iterable[Node]) -> tuple[float, float, float, float]:
    """What circles and names cover: left, top, width, height."""
    corners: list[Point] = []
    for n in nodes:
        long = _LETTER * len(n.name)
        corners += [(n.x - n.r, n.y - n.r), (n.x + n.r, n.y + n.r)]
        if n.turn is None:
            corners += [(n.x - long / 2, n.y), (n.x + long / 2, n.y + n.r + _ALONG)]
        else:
            ray, far = math.radians(n.turn), n.r + 6 + long
            corners += [(n.x + far * math.cos(ray) + side, n.y + far * math.sin(ray) + side) for side in (-8, 8)]
    left, top = (min(c[axis] for c in corners) - 2 for axis in (0, 1))
    return left, top, max(c[0] for c in corners) + 2 - left, max(c[1] for c in corners) + 2 - top


def _short(name: str) -> str:
    return name if len(name) <= _NAME else name[: _NAME - 1].rstrip(" ,") + "…"
