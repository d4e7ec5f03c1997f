"""The tables of Szegedy et al. 2013, made again in small: the search, the counting, the proof and the page."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

from blindspots.cli.app import app
from blindspots.data import ArrayData, digits_arrays
from blindspots.errors import InputError
from blindspots.experiments.reproduce import sentences
from blindspots.experiments.reproduce import verdict as paper
from blindspots.experiments.reproduce.experiment import Reproduced, reproduce
from blindspots.experiments.reproduce.smallest import random_targets, smallest
from blindspots.experiments.reproduce.tables import NETWORKS
from blindspots.experiments.reproduce.verdict import Line, ReproduceVerdict, Table
from blindspots.experiments.transfer.training import error, train
from blindspots.models import Model
from blindspots.records import Share
from blindspots.report.experiment import html, write_report
from blindspots.runs.run import How
from blindspots.runs.run import run as run_kind
from blindspots.runs.store import opened
from blindspots.runs.verify import verify_files

ROWS, STEPS = 24, 150
TITLES = ["FC10(1e-4)", "FC10(1e-2)", "FC10(1)", "FC100-100-10", "FC200-200-10", "AE400-10"]


def digits_data(part: str) -> ArrayData:
    return ArrayData(*digits_arrays("train" if part == "train" else "test"), f"digits, {part}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reproduction in small: digits, few rows, hurried training."""
    out = tmp_path_factory.mktemp("szegedy") / "run"
    reproduce("szegedy-2013", out=out, rows=ROWS, training_steps=STEPS, threads=1, command="x")
    return out


@pytest.fixture(scope="module")
def run(folder: Path) -> Reproduced:
    from blindspots.runs.folder import Folder

    return Reproduced(**vars(opened(Folder(folder))))


@pytest.fixture(scope="module")
def made(run: Reproduced) -> ReproduceVerdict:
    return run.verdict


def lines(table: Table, group: str) -> list[Line]:
    return [line for line in table.lines if line.group == group]


# ------------------------------------------------------------------ the search


def test_the_smallest_change_of_a_linear_classifier_is_its_distance_to_the_plane() -> None:
    net = nn.Linear(2, 2)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[0.0, 0.0], [3.0, 4.0]]))
        net.bias.copy_(torch.tensor([0.0, -3.5]))
    x, y = torch.tensor([[0.5, 0.4], [0.6, 0.7], [0.2, 0.9]]), torch.tensor([0, 1, 1])
    moved = smallest(Model(net), x, y, "nearest", 2, 0, 1)
    exact = (x @ torch.tensor([3.0, 4.0]) - 3.5).abs() / 5
    size = (moved - x).norm(dim=1)
    assert bool((size >= exact).all())
    assert torch.allclose(size, exact, rtol=0.02, atol=1e-4)
    assert bool((net(moved).argmax(1) != y).all())
    towards = smallest(Model(net), x, y, "random", 2, 0, 1)
    assert torch.allclose((towards - x).norm(dim=1), exact, rtol=0.02, atol=1e-4)


def test_the_decay_of_every_network_can_be_multiplied() -> None:
    _, softmax, _, connected, _, autoencoder = NETWORKS
    assert softmax.architecture(4.0).decays == (0.04,)
    assert connected.architecture(4.0).decays == (4e-5, 4e-5, 4e-6)
    assert autoencoder.architecture(4.0).decays == (0.0, 4e-6)


def test_a_row_that_is_wrong_already_is_left_as_it_is() -> None:
    net = nn.Linear(2, 2)
    x = torch.rand(5, 2, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wrong = 1 - net(x).argmax(1)
    assert torch.equal(smallest(Model(net), x, wrong, "nearest", 2, 0, 1), x)


def testrandom_targets_are_wrong_classes_and_every_one_comes_up() -> None:
    y = torch.arange(3000) % 10
    targets = random_targets(y, 10, 0)
    shift = (targets - y) % 10
    assert bool((shift > 0).all())
    assert int(shift.bincount(minlength=10)[1:].min()) > 250
    assert torch.equal(targets, random_targets(y, 10, 0))
    assert not torch.equal(targets, random_targets(y, 10, 1))


# ------------------------------------------------------------------ the tables


def test_every_network_falls_to_zero_and_misreads_what_was_made_for_it(made: ReproduceVerdict) -> None:
    verdict = made
    assert [n.name for n in verdict.networks] == TITLES
    assert [n.name for n in verdict.halves] == ["FC100-100-10", "FC123-456-10", "FC100-100-10'"]
    for network in (*verdict.networks, *verdict.halves):
        assert all(d.left == Share.of(0, ROWS) for d in network.distances)
        random, nearest = network.distances
        assert 0 < nearest.rms < random.rms
        assert nearest.rms_of_all <= nearest.rms
    for table, width in ((verdict.table_2, 6), (verdict.table_4, 3)):
        own = [line.cells[i].share for i, line in enumerate(lines(table, "adversarial")[:width])]
        assert own == [Share.of(ROWS, ROWS)] * width


def test_the_networks_and_their_errors_are_those_of_the_same_training_elsewhere(made: ReproduceVerdict) -> None:
    x, y = digits_arrays("train")
    model = train(NETWORKS[2].architecture(1.0), x, y, classes=10, seed=2, steps=STEPS)
    network, (clean,) = made.networks[2], lines(made.table_2, "clean")
    assert network.digest == model.digest
    assert network.errors["train"].share == error(model, x, y)
    assert network.errors["test"].share == error(model, *digits_arrays("test"))
    assert clean.rms == 0
    assert clean.cells[2].share == error(model, x[:ROWS], y[:ROWS])


def test_sizes_are_what_the_lines_say_before_the_box_and_less_inside(made: ReproduceVerdict) -> None:
    for table in (made.table_2, made.table_4):
        for line in table.lines:
            if line.in_box or line.published_rms is None:
                continue
            accuracy = 1e-5 if line.group == "adversarial" else 0.03  # noise has the size on average only
            assert line.rms == pytest.approx(line.published_rms, rel=accuracy), line.name
    inside = {line.name: line.rms for line in lines(made.table_4, "control")}
    outside = {line.name: line.rms for line in made.table_4.lines if not line.in_box}
    assert len(outside) == 5
    assert all(inside[name] < outside[name] for name in outside)


def test_published_figures_stand_beside_ours(made: ReproduceVerdict) -> None:
    verdict = made
    for i, line in enumerate(lines(verdict.table_2, "adversarial")):
        assert [round(100 * (c.published or 0), 4) for c in line.cells] == list(paper.TABLE_2[i])
        assert line.published_rms == paper.TABLE_1[i][2]
    assert [n.errors["test"].published for n in verdict.networks] == [0.074, 0.094, 0.2, 0.0164, 0.0154, 0.019]
    assert [round(100 * (c.published or 0), 4) for c in lines(verdict.table_4, "adversarial")[0].cells] == [
        100,
        26.2,
        5.9,
    ]
    assert [round(100 * (c.published or 0), 4) for c in lines(verdict.table_4, "adversarial")[3].cells] == [100, 98, 43]
    assert all(c.published is None for line in lines(verdict.table_2, "control") for c in line.cells)


def test_halves_know_their_own_rows_only(made: ReproduceVerdict) -> None:
    rows = {name: c.share.rows for name, c in made.halves[0].errors.items()}
    assert rows == {"P1": 648, "P2": 649, "test": 500} or rows == {"P1": 649, "P2": 648, "test": 500}
    assert [n.trained_on for n in made.halves] == ["P1", "P1", "P2"]
    assert len({n.digest for n in (*made.networks, *made.halves)}) == len(NETWORKS) + 3


def test_the_configuration_says_how_it_was_made(run: Reproduced) -> None:
    assert (len(run.parts["rows"]["x"]), len(run.parts["rows"]["held_x"]), run.config.targets) == (ROWS, ROWS, "random")
    assert set(run.config.recipes) == {*TITLES, "FC123-456-10"}
    assert "1e-05, 1e-05, 1e-06" in run.config.recipes["FC100-100-10"]


def test_numbers_can_be_required(made: ReproduceVerdict) -> None:
    metrics = made.metrics()
    assert list(metrics)[:3] == ["rank_correlation", "difference", "left"]
    assert metrics["left"].value == 0
    assert metrics["test_error@FC10-1e-4"].interval == made.networks[0].errors["test"].share.interval


# ------------------------------------------------------------------ the proof


def in_memory(run: Reproduced) -> dict[str, bytes]:
    return {name: run.files[name] for name in run.files}


def test_verify_recounts_everything_and_asks_the_networks_again(run: Reproduced) -> None:
    outcome = verify_files(in_memory(run))
    assert outcome.ok, outcome.problems
    assert "the stored networks say of all data what was stored" in outcome.checks


@pytest.mark.parametrize(
    ("part", "column", "change", "said"),
    [
        ("trained/1", "1.bias", lambda t: t + torch.arange(10) * 5.0, "to say of"),
        ("smallest/4/random", "moved", lambda t: 1 - t, "of the sizes that were stored"),
        ("smallest/4/nearest", "moved", lambda t: t + 2, "box from 0 to 1"),
        ("smallest/7/nearest", "clean", lambda t: (t + 1) % 10, "the unchanged rows of smallest/7/nearest"),
        ("smallest/7/random", "rms", lambda t: t * 1.01, "of the sizes that were stored"),
        ("errors/9", "P1", lambda t: (t + 1) % 10, "to say of P1"),
        ("tables/2", "prediction", lambda t: (t + 1) % 10, "'Gaussian noise, 0.3' of Table 2"),
        ("tables/4", "rms", lambda t: t * 1.01, "of Table 4 with the sizes"),
        ("rows", "held_y", lambda t: (t + 1) % 10, "expected the labels and the first rows of digits"),
    ],
)
def test_verify_believes_no_column(
    run: Reproduced, part: str, column: str, change: Callable[[Tensor], Tensor], said: str
) -> None:
    files = in_memory(run)
    forged = opened(files)
    forged.parts.keep(part, {**forged.parts[part], column: change(forged.parts[part][column])})
    files["run.json"] = forged.parts.begun.text
    run_kind("reproduce", run.config, how=How(files, resume=True))
    problems = verify_files(files).problems
    assert any(said in problem for problem in problems), problems


def test_verify_finds_a_wrong_formula(run: Reproduced, monkeypatch: pytest.MonkeyPatch) -> None:
    def mean(values: Tensor) -> float:
        return float(values.double().sum()) / max(len(values) - 1, 1)

    monkeypatch.setattr("blindspots.experiments.reproduce.experiment._mean", mean)
    files = in_memory(run)
    files["run.json"] = run.parts.begun.text
    run_kind("reproduce", run.config, how=How(files, resume=True))
    problems = verify_files(files).problems
    assert [problem.partition(" to be")[0] for problem in problems] == [
        f"expected {name}" for name in ("networks", "table_2", "halves", "table_4")
    ]


# ------------------------------------------------------------------ what is refused


def test_test_rows_that_were_trained_on_are_refused() -> None:
    x, y = digits_arrays("train")
    with pytest.raises(InputError, match="in both"):
        reproduce("szegedy-2013", ArrayData(x, y), ArrayData(x[:50], y[:50]))


def test_inputs_outside_the_box_and_of_other_shapes_are_refused() -> None:
    x, y = digits_arrays("train")
    with pytest.raises(InputError, match=r"in \[0, 1\]"):
        reproduce("szegedy-2013", ArrayData(2 * x, y), digits_data("test"))
    with pytest.raises(InputError, match="greater than or equal to 0 for decay"):
        reproduce("szegedy-2013", decay=-1)
    with pytest.raises(InputError, match="one shape"):
        reproduce("szegedy-2013", ArrayData(x[..., :4], y), digits_data("test"))


def test_training_data_without_test_data_end_with_a_sentence() -> None:
    result = CliRunner().invoke(app, ["reproduce", "szegedy-2013", "--data", "digits"])
    assert result.exit_code == 2
    assert "expected both --data and --test" in result.stderr


# ------------------------------------------------------------------ the page


def test_the_page_shows_every_cell_with_its_interval_and_the_published_figure(run: Reproduced) -> None:
    shown = html(run)
    cells = re.findall(r"<b>([\d.]+)</b><small>([\d.]+) to ([\d.]+)</small>(?:<small>paper ([\d.]+)</small>)?", shown)
    verdict = run.verdict
    expected = [c for table in (verdict.table_2, verdict.table_4) for line in table.lines for c in line.cells]
    networks = (*verdict.networks, *verdict.halves)
    expected += [c for n in networks for c in n.errors.values()]
    wanted = [
        (
            *(f"{100 * v:.1f}" for v in (c.share.share, *c.share.interval)),
            "" if c.published is None else f"{100 * c.published:.4g}",
        )
        for c in expected
    ]
    wanted += [("0.0", "0.0", f"{100 * Share.of(0, ROWS).interval[1]:.1f}", "0") for _ in networks]
    assert sorted(cells) == sorted(wanted)
    for network in networks:
        assert f"paper {network.published_rms}" in shown


def test_the_page_stands_alone_and_has_a_picture_of_every_class(folder: Path, run: Reproduced) -> None:
    shown = write_report(folder).read_text()
    classes, held = (len(run.parts["rows"][of][:ROWS].unique()) for of in ("y", "held_y"))
    assert shown.count("<img") == classes * (1 + 6) + held * (1 + 3 + 3)
    assert not re.search(r"(src|href)=\"(?!data:|#)", shown)


def test_the_sentences_are_computed_from_the_tables(run: Reproduced) -> None:
    said = " ".join(sentences.differences(run) + sentences.observations(run))
    made = run.verdict
    sizes = [n.distances[0].rms / n.published_rms for n in (*made.networks, *made.halves)]
    assert f"{min(sizes):.2f} to {max(sizes):.2f} times towards a random wrong class" in said
    assert "published figures are of MNIST" in said
    assert "28 are whole multiples of 1/256" in said
    still = made.networks[0].distances[0].model_copy(update={"left": Share.of(2, ROWS)})
    network = made.networks[0].model_copy(update={"distances": [still]})
    left = made.model_copy(update={"networks": [network, *made.networks[1:]]})
    assert "4 times what the paper prints" not in said
    stronger = replace(run, config=run.config.model_copy(update={"decay": 4.0}))
    assert "4 times what the paper prints" in " ".join(sentences.differences(stronger))
    assert sentences.headline(run).startswith("All six networks fall")
    assert sentences.headline(replace(run, verdict=left)).startswith("The six networks fall")
