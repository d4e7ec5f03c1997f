"""`harden` on texts: what its adversaries choose, and a run from end to end."""

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

import blindspots as bs
from blindspots.cli.app import app
from blindspots.errors import InputError
from blindspots.experiments.harden.adversaries import make_adversary
from blindspots.experiments.harden.adversaries.adversary import Networks
from blindspots.experiments.harden.batches import Batch
from blindspots.experiments.harden.config import HardenConfig
from blindspots.experiments.harden.recipe import Exchanged, Recipe, Sampled, TrainingLoss, read_recipe, threats_of
from blindspots.experiments.harden.trainer import Classifier, read_by
from blindspots.models.texts import TextModel, TokenModel
from blindspots.random import keys
from blindspots.rows import Around
from blindspots.texts.codes import as_texts
from blindspots.texts.threats import TextThreat, Trigger, Words
from blindspots.threats import parse_threat

ROWS = 24


def model() -> TokenModel:
    found = bs.load_model("reviews")
    assert isinstance(found, TokenModel)
    return copy.deepcopy(found)


def batch() -> Batch:
    x, y = bs.load_data("reviews", ROWS).rows(0, ROWS)
    return Batch(x, y, keys(0, torch.arange(ROWS)))


def made(how: Sampled | Exchanged, threat: TextThreat, radius: float = 1.0) -> tuple[Tensor, TokenModel, TextThreat]:
    """The texts that the adversary makes of the batch."""
    network = model()
    bound = read_by(threat, network)
    assert isinstance(bound, TextThreat)
    module = Classifier(network)
    nets = Networks(module, module, module, lambda t: t)
    adversary = make_adversary(Recipe(adversary=how, objective=TrainingLoss(clean=0.5)), bound, 0)
    (form,) = adversary.perturb(nets, batch(), radius)
    return form, network, bound


@pytest.mark.parametrize(
    ("how", "given"),
    [
        (Sampled(tries=1), Words(2)),
        (Sampled(tries=4), Words(2)),
        (Exchanged(), Words(2)),
        (Sampled(tries=4), Trigger("awful boring")),
    ],
    ids=str,
)
def test_what_is_trained_on_lies_within_the_threat(how: Sampled | Exchanged, given: TextThreat) -> None:
    form, _, threat = made(how, given)
    changed = threat.distance(form, batch().x)
    assert (changed <= given.radius).all()
    assert (changed > 0).float().mean() > 0.8


def test_words_that_are_put_in_have_no_gradient() -> None:
    with pytest.raises(InputError, match="use sampled"):
        threats_of(read_recipe("exchanged"), Trigger("awful boring"))


def test_the_radius_of_a_curriculum_lets_fewer_places_change_but_one() -> None:
    for radius, most in ((0.5, 2), (0.1, 1)):
        form, _, threat = made(Sampled(tries=1), Words(4), radius)
        assert int(threat.distance(form, batch().x).max()) == most


def mean_loss(network: TokenModel, x: Tensor) -> float:
    return float(torch.nn.functional.cross_entropy(network.head(network.embed(x), x), batch().y).detach())


def test_several_draws_hurt_more_than_one_and_the_gradient_more_than_all() -> None:
    losses = []
    for how in (Sampled(tries=1), Sampled(tries=8), Exchanged()):
        form, network, _ = made(how, Words(2))
        losses.append(mean_loss(network, form))
    assert losses[0] < losses[1] < losses[2]
    assert mean_loss(network, batch().x) < losses[1]


def test_of_a_linear_network_the_gradient_finds_the_best_exchange() -> None:
    form, network, threat = made(Exchanged(), Words(1))
    sign = 1 - 2.0 * batch().y

    def lead(texts: list[str]) -> Tensor:
        scores = network.of(texts)
        return scores[:, 1] - scores[:, 0]

    found = lead(as_texts(form)) * sign
    for row, text in enumerate(as_texts(batch().x)):
        lattice = threat.lattice(text)
        every = [
            lattice.at([c if p == place else 0 for p in range(len(lattice.spans))])
            for place, there in enumerate(lattice.candidates)
            for c in range(len(there) + 1)
        ]
        assert float(found[row]) == pytest.approx(float((lead(every) * sign[row]).max()), abs=1e-4)


def test_of_a_linear_network_slopes_are_what_exchanges_and_their_withdrawal_do() -> None:
    """Of words that are single tokens: the network takes the mean of them."""
    network, x = model(), batch().x
    threat = read_by(Words(2), network)
    assert isinstance(threat, TextThreat)
    around = Around(x, threat.reach(x), own=threat.limits(x))
    inner = threat.inward(around)
    changed = threat.plain.sample(inner, keys(0, torch.arange(len(x))))
    point = threat.outward(changed, inner, around)
    z = network.embed(point).detach().requires_grad_()
    (g,) = torch.autograd.grad(network.head(z, point)[:, 1].sum(), z)
    with torch.no_grad():
        slopes = threat.slopes(point, around, g, network.embed)
    places = changed.shape[1]
    for row, (clean, choice) in enumerate(zip(as_texts(x), changed.long().tolist(), strict=True)):
        lattice, here = threat.lattice(clean), choice[: len(threat.lattice(clean).spans)]
        for place, words in enumerate(lattice.choices):
            if len({len(tokens) for tokens in network.tokens_of(words)}) > 1:
                continue
            texts = [lattice.at([c if p == place else k for p, k in enumerate(here)]) for c in range(len(words))]
            gains = network.of(texts)[:, 1] - network.of([lattice.at(here)])[:, 1]
            back = slopes[row, -places + place].view(1)
            along = slopes[row, :-places].view(places, -1)[place, : len(words) - 1]
            torch.testing.assert_close(torch.cat([back, along]), gains, atol=1e-4, rtol=1e-3)
    assert int((changed != 0).sum()) > len(x)


def test_draws_hang_on_the_row_alone() -> None:
    whole, network, threat = made(Sampled(tries=2), Words(2))
    adversary = make_adversary(Recipe(adversary=Sampled(tries=2)), threat, 0)
    module = Classifier(network)
    nets, some = Networks(module, module, module, lambda t: t), torch.tensor([7, 3])
    part = Batch(batch().x[some], batch().y[some], batch().key[some])
    assert torch.equal(adversary.perturb(nets, part, 1.0)[0], whole[some])


# ------------------------------------------------------------------ settings


def test_recipes_and_threats_are_for_texts_or_for_numbers() -> None:
    with pytest.raises(bs.InputError, match=r"a recipe that fits words:2\.0, got one with an adversary of kind"):
        make_adversary(read_recipe("fast"), parse_threat("words:2"), 0)
    with pytest.raises(bs.InputError, match="use sampled, exchanged for texts"):
        make_adversary(read_recipe("sampled"), parse_threat("linf:0.1"), 0)
    with pytest.raises(bs.InputError, match="expected a radius to train against, got 'words'"):
        make_adversary(read_recipe("sampled"), parse_threat("words"), 0)


def test_what_is_usual_depends_on_the_threat() -> None:
    texts = HardenConfig(model="reviews", data="reviews", threat="words:2")
    assert (texts.recipe, texts.protocol, texts.controls, texts.study_rows) == ("sampled", "text-fast", False, 0)
    images = HardenConfig(model="digits", data="digits", threat="linf:0.1", recipe="pgd")
    assert (images.recipe, images.protocol, images.controls, images.study_rows) == ("pgd", "fast", True, 100)


def test_a_model_without_gradients_is_refused() -> None:
    function = TextModel(lambda texts: torch.zeros(len(texts), 2), class_names=["negative", "positive"])
    with pytest.raises(bs.InputError, match="expected a model with gradients to train"):
        bs.harden(function, data=bs.load_data("reviews", 40), threat="words:1", threads=1)  # type: ignore[arg-type]


# ------------------------------------------------------------------ from end to end


@pytest.mark.slow
def test_a_network_is_hardened_exported_verified_and_opened_again(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    words = "harden reviews --data reviews-training --threat words:3 --recipe exchanged --epochs 3 --test-rows 150"
    for command in (f"{words} --out {folder}", f"verify {folder}", f"report {folder}"):
        result = CliRunner().invoke(app, command.split())
        assert result.exit_code == 0, result.output
    again = bs.load_model(str(folder / "model.json"))
    given = bs.load_model("reviews")
    assert isinstance(again, TokenModel)
    texts = list(as_texts(batch().x))
    assert not torch.equal(again.of(texts), given.of(texts))  # type: ignore[attr-defined]
    before, after = (
        bs.evaluate(one, data=bs.load_data("reviews", 150), threat="words:3", threads=1) for one in (given, again)
    )
    assert after.robust_accuracy > before.robust_accuracy + 0.05
    assert "text-classification" in (folder / "MODEL_CARD.md").read_text()
    (folder / "model.safetensors").unlink()
    with pytest.raises(bs.InputError, match=r"expected model.safetensors beside"):
        bs.load_model(str(folder / "model.json"))


@pytest.mark.slow
def test_a_resumed_training_has_the_same_bits(tmp_path: Path) -> None:
    settings = {"data": bs.load_data("reviews", 120), "threat": "words:1", "epochs": 2, "threads": 1}
    one, two = (bs.harden(bs.load_model("reviews-cnn"), **settings) for _ in range(2))  # type: ignore[arg-type]
    assert one.model.digest == two.model.digest
    assert one.verdict.after == two.verdict.after
    assert isinstance(one.model, TokenModel)


def test_other_json_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "model.json"
    file.write_text("{}")
    with pytest.raises(bs.InputError, match=r"expected model.safetensors beside"):
        bs.load_model(str(file))
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(bs.InputError, match="expected weights in"):
        bs.load_model(str(file))
