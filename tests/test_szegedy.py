import re
from pathlib import Path

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from blindspots.cli.app import app
from blindspots.data import ArrayData, digits_arrays
from blindspots.errors import InputError
from blindspots.models import Model
from blindspots.records import Share
from blindspots.report import szegedy_words
from blindspots.report.szegedy import render_szegedy, write_szegedy_report
from blindspots.transfer import szegedy_record as paper
from blindspots.transfer.networks import parse_architecture
from blindspots.transfer.szegedy import NETWORKS, _Bench, _random_targets, reproduce, smallest
from blindspots.transfer.szegedy_record import Line, Reproduction, Table, read_reproduction
from blindspots.transfer.training import Recipe, error, train

ROWS, HURRIED = 24, Recipe(150, 64, 0.02)
TITLES = ["FC10(1e-4)", "FC10(1e-2)", "FC10(1)", "FC100-100-10", "FC200-200-10", "AE400-10"]


def digits_data(part: str) -> ArrayData:
    return ArrayData(*digits_arrays("train" if part == "train" else "test"), f"digits, {part}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reproduction in small: digits, few rows, hurried training."""
    out = tmp_path_factory.mktemp("szegedy") / "run"
    reproduce(digits_data("train"), digits_data("test"), out, rows=ROWS, recipe=HURRIED, threads=1, command="x")
    return out


@pytest.fixture(scope="module")
def made(folder: Path) -> Reproduction:
    return read_reproduction(folder)[0]


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
    bench = _Bench(10, 0, 1, "random", 4.0, None, lambda _: None)
    assert bench.architecture("softmax:1e-2").decays == (0.04,)
    assert bench.architecture("fc:100-100").decays == (4e-5, 4e-5, 4e-6)
    assert bench.architecture("autoencoder:400").decays == (0.0, 4e-6)


def test_a_row_that_is_wrong_already_is_left_as_it_is() -> None:
    net = nn.Linear(2, 2)
    x = torch.rand(5, 2, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wrong = 1 - net(x).argmax(1)
    assert torch.equal(smallest(Model(net), x, wrong, "nearest", 2, 0, 1), x)


def test_random_targets_are_wrong_classes_and_every_one_comes_up() -> None:
    y = torch.arange(3000) % 10
    targets = _random_targets(y, 10, 0)
    shift = (targets - y) % 10
    assert bool((shift > 0).all())
    assert int(shift.bincount(minlength=10)[1:].min()) > 250
    assert torch.equal(targets, _random_targets(y, 10, 0))
    assert not torch.equal(targets, _random_targets(y, 10, 1))


# ------------------------------------------------------------------ the tables


def test_every_network_falls_to_zero_and_misreads_what_was_made_for_it(made: Reproduction) -> None:
    verdict = made.verdict
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


def test_the_networks_and_their_errors_are_those_of_the_same_training_elsewhere(made: Reproduction) -> None:
    x, y = digits_arrays("train")
    model = train(parse_architecture(NETWORKS[2]), x, y, classes=10, seed=2, recipe=HURRIED)
    network, (clean,) = made.verdict.networks[2], lines(made.verdict.table_2, "clean")
    assert network.digest == model.digest
    assert network.errors["train"].share == error(model, x, y)
    assert network.errors["test"].share == error(model, *digits_arrays("test"))
    assert clean.rms == 0
    assert clean.cells[2].share == error(model, x[:ROWS], y[:ROWS])


def test_sizes_are_what_the_lines_say_before_the_box_and_less_inside(made: Reproduction) -> None:
    for table in (made.verdict.table_2, made.verdict.table_4):
        for line in table.lines:
            if line.in_box or line.published_rms is None:
                continue
            accuracy = 1e-5 if line.group == "adversarial" else 0.03  # noise has the size on average only
            assert line.rms == pytest.approx(line.published_rms, rel=accuracy), line.name
    inside = {line.name: line.rms for line in lines(made.verdict.table_4, "control")}
    outside = {line.name: line.rms for line in made.verdict.table_4.lines if not line.in_box}
    assert len(outside) == 5
    assert all(inside[name] < outside[name] for name in outside)


def test_published_figures_stand_beside_ours(made: Reproduction) -> None:
    verdict = made.verdict
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


def test_halves_know_their_own_rows_only(made: Reproduction) -> None:
    rows = {name: c.share.rows for name, c in made.verdict.halves[0].errors.items()}
    assert rows == {"P1": 648, "P2": 649, "test": 500} or rows == {"P1": 649, "P2": 648, "test": 500}
    assert [n.trained_on for n in made.verdict.halves] == ["P1", "P1", "P2"]
    assert len({n.digest for n in (*made.verdict.networks, *made.verdict.halves)}) == len(NETWORKS) + 3


def test_the_manifest_says_how_it_was_made(made: Reproduction) -> None:
    manifest = made.manifest
    assert (manifest.rows, manifest.test_rows, manifest.targets) == (ROWS, ROWS, "random")
    assert set(manifest.recipes) == {*TITLES, "FC123-456-10"}
    assert "1e-05, 1e-05, 1e-06" in manifest.recipes["FC100-100-10"]
    assert made.seal is not None


# ------------------------------------------------------------------ what is refused


def test_a_folder_with_a_run_is_refused_before_anything_is_trained(folder: Path) -> None:
    with pytest.raises(InputError, match="holds a run"):
        reproduce(digits_data("train"), digits_data("test"), folder)


def test_test_rows_that_were_trained_on_are_refused(tmp_path: Path) -> None:
    x, y = digits_arrays("train")
    with pytest.raises(InputError, match="in both"):
        reproduce(ArrayData(x, y), ArrayData(x[:50], y[:50]), tmp_path)


def test_inputs_outside_the_box_and_of_other_shapes_are_refused(tmp_path: Path) -> None:
    x, y = digits_arrays("train")
    with pytest.raises(InputError, match=r"in \[0, 1\]"):
        reproduce(ArrayData(2 * x, y), digits_data("test"), tmp_path)
    with pytest.raises(InputError, match="factor of at least 0"):
        reproduce(digits_data("train"), digits_data("test"), tmp_path, decay=-1)
    with pytest.raises(InputError, match="one shape"):
        reproduce(ArrayData(x[..., :4], y), digits_data("test"), tmp_path)


def test_a_folder_with_something_else_is_no_reproduction(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="szegedy-2013"):
        read_reproduction(tmp_path)
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(InputError, match="szegedy-2013"):
        read_reproduction(tmp_path)


def test_training_data_without_test_data_end_with_a_sentence() -> None:
    result = CliRunner().invoke(app, ["reproduce", "szegedy-2013", "--data", "digits"])
    assert result.exit_code == 2
    assert "expected both --data and --test" in result.stderr


def test_the_page_can_be_written_again_and_there_is_nothing_to_verify(folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "again.html"
    written = CliRunner().invoke(app, ["report", str(folder), "--out", str(page)])
    assert written.exit_code == 0
    assert page.read_text() == render_szegedy(folder)
    several = CliRunner().invoke(app, ["report", str(folder), str(folder)])
    assert several.exit_code == 2
    assert "expected a szegedy-2013 run alone" in several.stderr
    verified = CliRunner().invoke(app, ["verify", str(folder)])
    assert verified.exit_code == 2
    assert "expected a run that keeps its examples" in verified.stderr


# ------------------------------------------------------------------ the page


def test_the_page_shows_every_cell_with_its_interval_and_the_published_figure(folder: Path, made: Reproduction) -> None:
    html = render_szegedy(folder)
    cells = re.findall(r"<b>([\d.]+)</b><small>([\d.]+) to ([\d.]+)</small>(?:<small>paper ([\d.]+)</small>)?", html)
    shown = sorted(cells)
    verdict = made.verdict
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
    assert shown == sorted(wanted)
    for network in networks:
        assert f"paper {network.published_rms}" in html


def test_the_page_stands_alone_and_has_a_picture_of_every_example(folder: Path) -> None:
    path = write_szegedy_report(folder)
    html = path.read_text()
    assert html == render_szegedy(folder)
    pictures = read_reproduction(folder)[1]
    assert html.count("<img") == len(pictures["x"]) * (1 + 6) + len(pictures["held_x"]) * (1 + 3 + 3)
    assert set(pictures) == set(paper.PICTURES)
    assert not re.search(r"(src|href)=\"(?!data:|#)", html)


def test_the_sentences_are_computed_from_the_tables(made: Reproduction) -> None:
    said = " ".join(szegedy_words.differences(made) + szegedy_words.findings(made))
    sizes = [n.distances[0].rms / n.published_rms for n in (*made.verdict.networks, *made.verdict.halves)]
    assert f"{min(sizes):.2f} to {max(sizes):.2f} times towards a random wrong class" in said
    assert "published figures are of MNIST" in said
    assert "28 are whole multiples of 1/256" in said
    still = made.verdict.networks[0].distances[0].model_copy(update={"left": Share.of(2, ROWS)})
    network = made.verdict.networks[0].model_copy(update={"distances": [still]})
    left = made.verdict.model_copy(update={"networks": [network, *made.verdict.networks[1:]]})
    assert "4 times what the paper prints" not in said
    stronger = made.model_copy(update={"manifest": made.manifest.model_copy(update={"decay": 4.0})})
    assert "4 times what the paper prints" in " ".join(szegedy_words.differences(stronger))
    assert szegedy_words.headline(made).startswith("All six networks fall")
    assert szegedy_words.headline(made.model_copy(update={"verdict": left})).startswith("The six networks fall")
