"""Protocols are files: what they may say, and what is said of those that cannot be run."""

from pathlib import Path

import pytest

import blindspots as bs
from blindspots.attacks import APGD, PGD, Attack
from blindspots.ball import BALLS, Ball, parse_ball
from blindspots.engine.targets import Closest, EveryClass, LeastLikely, Malt, OneClass, RandomClass, parse_targets
from blindspots.errors import InputError
from blindspots.fit import check_fit
from blindspots.objective import Objective
from blindspots.problem import Need
from blindspots.protocols import NAMES, about, protocol
from blindspots.tables.features import Column, Features
from blindspots.tables.threat import TableThreat, ball_of
from blindspots.texts.threats import TEXTS
from blindspots.threats import THREATS, parse_threat
from small_run import inputs, network

FILE = """
about = "two stages"
draws = 2

[[stage]]
name = "descent"
why = "every row"
attack = "pgd:steps=3,random_start=false"
targets = "closest:count=2"
restarts = 2
threats = ["linf", "l2"]

[[stage]]
name = "sparse"
attack = "fmn:steps=4"
threats = ["l0"]
"""


def written(folder: Path, text: str) -> str:
    path = folder / "mine.toml"
    path.write_text(text)
    return str(path)


FOR = {
    "autoattack": ("linf", "l2", "l1"),
    "autoattack-plus": ("linf", "l2"),
    "autoattack-rand": ("linf", "l2", "l1"),
    "blackbox-scores": ("linf", "l2", "l1"),
    "blackbox-labels": ("linf", "l2", "l1"),
    "text-fast": TEXTS,
    "text-scores": TEXTS,
    "text-labels": TEXTS,
    **dict.fromkeys(("exact", "tables", "tables-scores", "tables-labels", "tables-cost"), (*BALLS, "cost")),
}
ACCESS = {
    "blackbox-scores": Need.VALUE,
    "blackbox-labels": Need.LABEL,
    "text-fast": Need.SLOPES,
    "text-scores": Need.VALUE,
    "text-labels": Need.LABEL,
    "tables-scores": Need.VALUE,
    "tables-labels": Need.LABEL,
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("norm", THREATS)
def test_every_protocol_fits_every_threat_that_it_has_stages_for(name: str, norm: str) -> None:
    minimal = name in ("curve", "tables-cost")
    threat = parse_threat(norm if minimal and norm != "trigger" else f"{norm}:0.5")
    if name.startswith("tables"):
        with pytest.raises(InputError, match="expected a table"):
            protocol(name, threat)
        if norm not in (*BALLS, "cost"):
            return
    if name.startswith("tables") or (name, norm) == ("exact", "cost"):
        assert isinstance(threat, Ball)
        table = Features(columns={"a": Column(range=(0, 1), cost=1)})
        threat = TableThreat(ball_of(threat, table), table)
    if getattr(threat, "family", norm) not in FOR.get(name, BALLS) and norm not in FOR.get(name, BALLS):
        with pytest.raises(InputError, match="it has no stages for that one"):
            protocol(name, threat)
        return
    found = protocol(name, threat)
    assert found.stages
    assert about(name)
    access = ACCESS.get(name, Need.GRAD)
    for stage in found.stages:
        assert stage.why
        check_fit(stage.attack, threat, access, stage.objective, solved=name == "exact")


def test_a_file_says_what_is_run(tmp_path: Path) -> None:
    found = protocol(written(tmp_path, FILE), bs.Linf(0.1))
    (stage,) = found.stages
    assert found.draws == 2
    assert stage.attack == PGD(3, random_start=False)
    assert stage.objective == Objective(directed=True, loss="ce")
    assert (stage.targets, stage.restarts, stage.why) == (Closest(2), 2, "every row")
    assert len(protocol(written(tmp_path, FILE), bs.L0(3)).stages) == 1


def test_a_file_is_run_like_any_other_protocol(tmp_path: Path) -> None:
    x, y = inputs(24)
    done = bs.evaluate(network(), x, y, threat=bs.Linf(0.02), protocol=written(tmp_path, FILE))
    assert done.config.protocol.endswith("mine.toml")
    assert done.config.draws == 2
    assert [s.name for s in done.verdict.stages] == ["descent"]


STAGE = '[[stage]]\nname = "a"\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stage = [", "expected TOML in"),
        ('about = "nothing"', "'stage' in"),
        (STAGE, "'stage.1.attack' in"),
        (STAGE + 'attack = "pgd"\nstart = "nowhere"', "'clean', 'near', 'found' or 'other' for 'stage.1.start'"),
        (STAGE + 'attack = "pgd"\nbudget = 3', "expected keys among name, attack"),
        (STAGE + 'attack = "pgd"\nrestarts = 0', "greater than or equal to 1 for 'stage.1.restarts'"),
        (STAGE + 'attack = "bgd"', "expected an attack among"),
        (STAGE + 'attack = "pgd:stepz=3"', "did you mean 'steps'?"),
        (STAGE + 'attack = "pgd"\ntargets = "closest:skip=x"', "closest:skip"),
        (STAGE + 'attack = "ddn"\nthreats = ["l2"]', "expected a threat among l2"),
        ('radius = false\n' + STAGE + 'attack = "ddn"', "expected a threat without a radius"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_run_is_refused_with_the_place(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InputError) as error:
        protocol(written(tmp_path, text), bs.Linf(0.1))
    assert said in str(error.value)


def test_a_file_that_is_not_there_and_a_name_that_is_none() -> None:
    with pytest.raises(InputError, match=r"expected a protocol in .*No such file"):
        protocol("nowhere.toml", bs.Linf(0.1))
    with pytest.raises(InputError, match="did you mean 'autoattack'"):
        protocol("autoatack", bs.Linf(0.1))
    with pytest.raises(InputError, match="a threat with a radius"):
        protocol("fast", bs.Linf())


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("runner-up", Closest()),
        ("closest:count=9", Closest(9)),
        ("closest:skip=1", Closest(1, 1)),
        ("malt:count=3,among=4", Malt(3, 4)),
        ("least-likely", LeastLikely()),
        ("random", RandomClass()),
        ("class:number=3", OneClass(3)),
        ("all", EveryClass()),
    ],
)
def test_rules_for_targets_have_names(text: str, rule: object) -> None:
    assert parse_targets(text) == rule


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_autoattack_is_the_published_one(norm: str) -> None:
    """Croce and Hein 2020, section 6; for l1 their paper of 2021."""
    ce, targeted, _, square = protocol("autoattack", parse_ball(f"{norm}:1")).stages
    count, restarts = (5, 5) if norm == "l1" else (9, 1)
    assert (ce.attack, ce.objective, ce.targets, ce.restarts) == (APGD(100), Objective(loss="ce"), None, restarts)
    assert (targeted.attack, targeted.objective) == (APGD(100), Objective(directed=True, loss="dlr"))
    assert targeted.targets == Closest(count)
    assert getattr(square.attack, "steps", None) == 5000
    assert isinstance(square.attack, Attack)
