"""Named cascades of attacks. A protocol is data: a tuple of stages."""

from collections.abc import Callable

from blindspots.attacks import DDN, FMN, PGD, Bisect, Square
from blindspots.engine.cascade import Stage
from blindspots.engine.targets import Closest, Malt
from blindspots.errors import InputError
from blindspots.goal import Goal
from blindspots.threat import Threat

Protocol = tuple[Stage, ...]

_TO_TARGET = Goal(directed=True, loss="margin")


def _descent(steps: int, *, anywhere: bool = False) -> PGD:
    """Descent with momentum and a stride of twice the radius that a cosine takes to nothing, from clean or anywhere."""
    return PGD(steps=steps, stride=2.0, schedule="cosine", momentum=0.75, random_start=anywhere, blocks=anywhere)


def fast(threat: Threat) -> Protocol:
    """AutoAttack's verdict, or nearly so, at a small fraction of its cost. See docs/fast.md for what it rests on.

    Two short descents towards the two likeliest wrong classes settle almost every row of an ordinary model: what
    they leave stands under AutoAttack too, unless the margin is small against what was gained (its reach), or still
    moves when the search is made longer or starts elsewhere. Only those rows are searched on.
    """
    if threat.p == 0:
        return _counts()
    scores = _scores() if threat.p != 1 else ()
    afar = _from_afar(threat) if threat.p == 2 else ()
    return (*_gradients(), *scores, *afar, _SHORTEN)


def _gradients() -> Protocol:
    return (
        Stage(
            "first class",
            _descent(6),
            "every row: a short descent towards the likeliest wrong class",
            _TO_TARGET,
            Closest(1),
        ),
        Stage(
            "second class",
            _descent(6),
            "what stands: the same towards the second likeliest",
            _TO_TARGET,
            Closest(1, skip=1),
        ),
        Stage(
            "nearest boundaries",
            _descent(10, anywhere=True),
            "margins within 0.75 of what was gained so far: three classes in the order of their linear boundaries",
            _TO_TARGET,
            Malt(3, among=4),
            reach=0.75,
        ),
        Stage(
            "restarts",
            _descent(20, anywhere=True),
            "margins within 0.35 of what was gained, or still moving: six longer descents from random patterns",
            restarts=6,
            reach=0.35,
            moved=0.1,
            wide_reach=0.5,
        ),
        Stage(
            "more restarts",
            _descent(20, anywhere=True),
            "margins within 0.06 of what was gained, or restarts that moved them or of which no two agree: 16 more",
            restarts=16,
            reach=0.06,
            moved=0.15,
            disagree=0.1,
            wide_reach=0.35,
        ),
    )


def _scores() -> Protocol:
    return (
        Stage(
            "local square 1",
            Square(500, area=0.2, stripes=False),
            "margins within 0.03, or unsettled by the restarts: a random search from the best point so far",
            start="near",
            reach=0.03,
            moved=0.05,
            disagree=0.05,
            wide_reach=0.35,
        ),
        *(_local_square(i) for i in range(2, 6)),
        Stage(
            "square",
            Square(1500),
            "margins within 0.03 of what was gained: a random search from stripes, which no gradient misleads",
            reach=0.03,
        ),
        Stage(
            "long square",
            Square(5000),
            "margins that only the random search moved: more of it",
            reach=0.0,
            moved=0.02,
            wide_reach=0.25,
        ),
    )


def _from_afar(threat: Threat) -> Protocol:
    """Searches that begin far outside an l2 ball, for networks whose gradients inside it lead nowhere.

    So behave networks trained against linf: a change that is small everywhere dies in their first layer. One row in
    eight is tried; only if one of these falls, the rest follows.
    """
    assert threat.radius is not None
    near, far = (DDN(100, gamma=0.1, norm=radii * threat.radius) for radii in (8, 16))
    return (
        Stage(
            "sentinels",
            near,
            "one row in eight: a search that comes in from eight times the radius",
            Goal(loss="ce"),
            share=1 / 8,
            stop_early=True,
        ),
        Stage(
            "from afar",
            near,
            "the same for all rows, towards three classes, because a sentinel fell",
            _TO_TARGET,
            Closest(3),
            after="sentinels",
            stop_early=True,
        ),
        Stage(
            "from further afar",
            far,
            "the same from sixteen times the radius, towards four classes",
            _TO_TARGET,
            Closest(4),
            after="from afar",
            stop_early=True,
        ),
    )


_LOCAL = Square(1500, area=0.2, stripes=False)


def _local_square(round: int) -> Stage:
    return Stage(
        f"local square {round}",
        _LOCAL,
        "margins that the last random search took 3 % of: a longer one, from the best point so far",
        start="near",
        reach=0.0,
        moved=0.03,
        wide_reach=0.35,
    )


def _counts() -> Protocol:
    return (
        Stage("fewest components", FMN(100), "every row: the smallest l0 distance"),
        Stage("longer", FMN(400), "what stands: four times as many steps"),
    )


_SHORTEN = Stage(
    "shorten",
    Bisect(6),
    "broken rows: the nearest adversarial point on the line to the clean input",
    start="found",
    who="broken",
)

PROTOCOLS: dict[str, Callable[[Threat], Protocol]] = {"fast": fast}


def protocol(name: str, threat: Threat) -> Protocol:
    """The stages of a named protocol for a threat."""
    if name not in PROTOCOLS:
        raise InputError(f"expected a protocol among {', '.join(PROTOCOLS)}, got {name!r}: choose one of these")
    if threat.radius is None:
        raise InputError(
            f"expected a threat with a radius for protocol {name!r}, got {threat.spec!r}: write {threat.name}:RADIUS"
        )
    return PROTOCOLS[name](threat)
