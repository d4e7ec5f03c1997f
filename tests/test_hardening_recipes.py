import re
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from blindspots.ball import L0, L2, Linf
from blindspots.errors import InputError
from blindspots.experiments.harden.config import FOR_TEXTS
from blindspots.experiments.harden.guard import CAUTIOUS, GRADALIGN, cautious, measure
from blindspots.experiments.harden.objectives import boosted_cross_entropy, kl, losses, slope
from blindspots.experiments.harden.recipe import (
    Free,
    NoisyStep,
    Optimizer,
    Recipe,
    Search,
    TrainingLoss,
    names,
    read_recipe,
    threats_of,
)
from blindspots.experiments.harden.trainer import schedule
from blindspots.texts.threats import Words

LOGITS = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.4, 3.0]])
OTHER = torch.tensor([[1.0, 1.0, 0.0], [0.1, 0.2, 0.3]])
Y = torch.tensor([0, 2])


def written(folder: Path, text: str) -> str:
    (folder / "own.toml").write_text(text)
    return str(folder / "own.toml")


@pytest.mark.parametrize("name", names())
def test_every_recipe_is_read_says_what_it_is_and_can_be_stored(name: str) -> None:
    recipe = read_recipe(name)
    assert recipe.about.endswith(".")
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe
    assert threats_of(recipe, Words(2) if name in FOR_TEXTS else Linf(0.1))


def test_the_recipes_of_the_literature_are_there() -> None:
    assert {"fast", "fgsm", "szegedy", "pgd", "trades", "mart", "awp", "free", "multi-norm", "universal"} <= set(
        names()
    )


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("trades", {"objective": {"name": "trades"}, "adversary": {"kind": "attack"}}),
        ("mart", {"objective": {"name": "mart", "weight": 5.0}, "adversary": {"kind": "attack"}}),
        ("awp", {"objective": {"name": "trades"}, "weights": {"perturbation": 0.005}}),
        ("pgd", {"objective": {"name": "cross-entropy", "clean": 0.0}, "weights": {"perturbation": 0.0}}),
        ("free", {"objective": {"clean": 0.0}, "adversary": {"kind": "free"}}),
        ("fgsm", {"objective": {"clean": 0.5}, "adversary": {"attack": "fgsm"}, "guard": True}),
        ("curriculum", {"curriculum": {"start": 0.0}, "adversary": {"kind": "attack"}}),
        ("multi-norm", {"adversary": {"combine": "max"}}),
        ("szegedy", {"adversary": {"kind": "pool", "layers": "all"}}),
        ("fast", {"adversary": {"kind": "step", "project": False}}),
    ],
)
def test_a_tuned_recipe_is_still_what_its_paper_is_named_for(name: str, kept: dict[str, Any]) -> None:
    settings = read_recipe(name).model_dump()
    for part, wanted in kept.items():
        found = settings[part]
        assert wanted.items() <= found.items() if isinstance(wanted, dict) else wanted == found


@pytest.mark.parametrize("name", ["pgd", "trades", "mart", "awp", "free", "fgsm", "curriculum", "multi-norm"])
def test_a_recipe_trains_to_the_full_radius_and_beyond_and_says_its_own_optimiser(name: str) -> None:
    recipe = read_recipe(name)
    assert recipe.curriculum is not None
    assert 1 < recipe.curriculum.end <= 1.6
    assert recipe.model_fields_set >= {"epochs", "batch", "optimizer"}


def test_a_users_file_is_read_and_its_defaults_filled_in(tmp_path: Path) -> None:
    recipe = read_recipe(written(tmp_path, 'epochs = 3\n[adversary]\nkind = "free"\nreplays = 2\n'))
    assert recipe == Recipe(epochs=3, adversary=Free(replays=2))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("epoch = 3", "got 'epoch': leave it out"),
        ("epochs = 0", "greater than or equal to 1 for 'epochs'"),
        ('[adversary]\nkind = "pdg"', "'pdg'"),
        ('[adversary]\nkind = "attack"\nattack = "square"', "expected an inner attack among fgsm"),
        ('[adversary]\nkind = "attack"\nattack = "pgd:step=3"', "'step'"),
        ("epochs = = 3", "expected TOML"),
    ],
)
def test_what_cannot_be_done_is_said_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        read_recipe(written(tmp_path, text))


def test_an_unknown_name_is_told_apart_from_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"did you mean 'trades'"):
        read_recipe("trade")


def test_a_recipe_names_its_own_threats_else_the_users_counts() -> None:
    own = Recipe(adversary=Search(attack="pgd", threats=("linf:0.1", "l2:1")))
    assert threats_of(own, Linf(0.3)) == (Linf(0.1), L2(1.0))
    assert threats_of(Recipe(adversary=Search(attack="pgd")), Linf(0.3)) == (Linf(0.3),)


@pytest.mark.parametrize(
    ("recipe", "threat", "said"),
    [
        (Recipe(), Linf(), "expected a radius to train against"),
        (Recipe(adversary=NoisyStep()), L0(3), "linf, l2, l1"),
        (Recipe(adversary=Search(threats=("l2",))), Linf(0.1), "expected a radius"),
    ],
)
def test_threats_that_cannot_be_trained_against_are_refused(recipe: Recipe, threat: Linf, said: str) -> None:
    with pytest.raises(InputError, match=said):
        threats_of(recipe, threat)


def test_divergence_is_what_torch_computes_and_zero_only_for_equal_answers() -> None:
    wanted = F.kl_div(OTHER.log_softmax(1), LOGITS.softmax(1), reduction="none").sum(1)
    torch.testing.assert_close(kl(LOGITS, OTHER), wanted)
    assert kl(LOGITS, LOGITS + 3).abs().max() < 1e-6
    assert (kl(LOGITS, OTHER) > 0).all()


def test_boosted_cross_entropy_by_hand() -> None:
    p = LOGITS.softmax(1)
    wanted = torch.stack([-p[0, 0].log() - (1 - p[0, 1]).log(), -p[1, 2].log() - (1 - p[1, 0]).log()])
    torch.testing.assert_close(boosted_cross_entropy(LOGITS, Y), wanted)


class Shifted(nn.Module):
    """Clean rows are 0 and adversarial ones 1: so it is known which scores a loss was made from."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.where(x[:, :1] > 0.5, OTHER, LOGITS)


def test_every_objective_is_made_from_the_right_scores() -> None:
    net, x, hurt = Shifted(), torch.zeros(2, 1), torch.ones(2, 1)
    clean, adversarial = (F.cross_entropy(z, Y, reduction="none") for z in (LOGITS, OTHER))
    doubt = 1 - LOGITS.softmax(1).gather(1, Y[:, None])[:, 0]

    def of(**settings: object) -> torch.Tensor:
        return losses(TrainingLoss(**settings), net, x, hurt, Y)

    torch.testing.assert_close(of(), adversarial)
    torch.testing.assert_close(of(clean=0.25), 0.25 * clean + 0.75 * adversarial)
    torch.testing.assert_close(of(name="trades", weight=2.0), clean + 2 * kl(LOGITS, OTHER))
    mart = boosted_cross_entropy(OTHER, Y) + 5 * doubt * kl(LOGITS, OTHER)
    torch.testing.assert_close(of(name="mart", weight=5.0), mart)
    torch.testing.assert_close(losses(TrainingLoss(), net, x, None, Y), clean)


def test_the_adversary_of_trades_moves_answers_and_that_of_the_others_lowers_the_labels() -> None:
    net, x = Shifted(), torch.zeros(2, 1)
    torch.testing.assert_close(slope(TrainingLoss(name="trades"), net, x, Y)(OTHER), -kl(LOGITS, OTHER))
    torch.testing.assert_close(slope(TrainingLoss(), net, x, Y)(OTHER), -F.cross_entropy(OTHER, Y, reduction="none"))


@pytest.mark.parametrize(
    ("how", "done", "share"),
    [
        (Optimizer(schedule="one-cycle", rise=0.25), 0.125, 0.5),
        (Optimizer(schedule="one-cycle", rise=0.25), 0.25, 1.0),
        (Optimizer(schedule="one-cycle", rise=0.25), 0.625, 0.5),
        (Optimizer(schedule="one-cycle", rise=0.25), 1.0, 0.0),
        (Optimizer(schedule="cosine", rise=0.0), 0.5, 0.5),
        (Optimizer(schedule="steps"), 0.5, 1.0),
        (Optimizer(schedule="steps"), 0.6, 0.1),
        (Optimizer(schedule="steps"), 0.9, 0.01),
        (Optimizer(schedule="constant"), 0.9, 1.0),
        (Optimizer(schedule="one-cycle", rise=1.0), 1.0, 0.0),
    ],
)
def test_learning_rates_follow_their_schedule(how: Optimizer, done: float, share: float) -> None:
    assert schedule(how, done) == pytest.approx(share)


def test_single_steps_get_noise_first_then_alignment_and_then_nothing_more() -> None:
    recipe = Recipe(adversary=NoisyStep())
    first, second = cautious(recipe, 1), cautious(recipe, 2)
    assert first is not None
    assert first.adversary == CAUTIOUS
    assert second is not None
    assert (second.adversary, second.objective.gradalign) == (CAUTIOUS, GRADALIGN)
    assert cautious(recipe, 3) is None
    assert measure(first) == "twice as much noise"
    assert "aligned" in measure(second)


def test_many_steps_get_alignment_and_what_is_aligned_already_gets_nothing() -> None:
    first = cautious(Recipe(adversary=Search(attack="pgd")), 1)
    assert first is not None
    assert first.objective.gradalign == GRADALIGN
    assert cautious(Recipe(adversary=Search(attack="pgd"), objective=TrainingLoss(gradalign=0.5)), 1) is None


def test_a_control_keeps_everything_but_the_adversary() -> None:
    recipe = read_recipe("awp")
    bare = recipe.naturally()
    assert (bare.adversary, bare.weights.perturbation, bare.objective.name) == (None, 0.0, "cross-entropy")
    assert (bare.epochs, bare.batch, bare.optimizer) == (recipe.epochs, recipe.batch, recipe.optimizer)
