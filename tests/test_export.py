"""Exported models: the same answers from the file as from memory, for any batch; a sentence where there is no file."""

import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import blindspots as bs
from blindspots.errors import InputError
from blindspots.experiments.harden.export import exported, weights
from blindspots.findings import Finding
from blindspots.models.about import ABOUT
from blindspots.models.load import load_model
from blindspots.models.model import Model

SHAPE = (1, 4, 4)


def export_model(model: Model, shape: tuple[int, ...], folder: Path) -> list[Finding]:
    """Both files, as a run folder has them."""
    program, found = exported(model, shape)
    if program:
        (folder / "model.pt2").write_bytes(program)
    (folder / "model.safetensors").write_bytes(weights(model.net.state_dict()))
    return found


def _net() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(64, 3)
        )


def _x(rows: int, low: float = 0.0, high: float = 1.0) -> Tensor:
    return low + (high - low) * torch.rand(rows, *SHAPE, generator=torch.Generator().manual_seed(rows))


def _same(model: Model, other: Model, rows: int) -> None:
    x = _x(rows, *model.bounds)
    with model.borrowed(), other.borrowed(), torch.no_grad():
        torch.testing.assert_close(other.logits(x), model.logits(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rows", [1, 2, 7, 40])
def test_the_file_answers_as_the_network_does_for_every_batch(tmp_path: Path, rows: int) -> None:
    model = Model(_net(), bounds=(-2.0, 3.0), mean=[0.3], std=[0.7], name="small")
    assert export_model(model, SHAPE, tmp_path) == []
    loaded = load_model(str(tmp_path / "model.pt2"))
    assert (loaded.bounds, loaded.name) == ((-2.0, 3.0), "small")
    _same(model, loaded, rows)


@pytest.mark.parametrize("output", ["probabilities", "probability", "logit"])
def test_outputs_of_every_kind_become_logits_in_the_file(tmp_path: Path, output: Any) -> None:
    last = nn.Sequential(nn.Flatten(), nn.Linear(16, 3 if output == "probabilities" else 1))
    squashed = {"probabilities": nn.Softmax(1), "probability": nn.Sigmoid(), "logit": nn.Identity()}[output]
    model = Model(nn.Sequential(last, squashed), output=output)
    assert export_model(model, SHAPE, tmp_path) == []
    _same(model, load_model(str(tmp_path / "model.pt2")), 3)


def test_the_network_stays_in_training_and_goes_on_learning(tmp_path: Path) -> None:
    net = _net().train()
    export_model(Model(net), SHAPE, tmp_path)
    assert all(module.training for module in net.modules())
    assert all(parameter.requires_grad for parameter in net.parameters())


def test_an_exported_model_is_exported_again(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir(), second.mkdir()
    model = Model(_net(), bounds=(-1.0, 1.0))
    export_model(model, SHAPE, first)
    assert export_model(load_model(str(first / "model.pt2")), SHAPE, second) == []
    _same(model, load_model(str(second / "model.pt2")), 5)


def test_a_network_for_one_size_of_batch_is_exported_for_one_and_takes_any(tmp_path: Path) -> None:
    with torch.no_grad():
        net = _net().eval()
        torch.export.save(torch.export.export(net, (_x(4),)), tmp_path / "four.pt2")
    four = load_model(str(tmp_path / "four.pt2"))
    assert export_model(four, SHAPE, tmp_path) == []
    for rows in (1, 33):
        _same(Model(net), load_model(str(tmp_path / "model.pt2")), rows)


def test_weights_load_into_a_fresh_network_also_where_layers_share_them(tmp_path: Path) -> None:
    def tied() -> nn.Sequential:
        layer = nn.Linear(16, 16)
        return nn.Sequential(nn.Flatten(), layer, nn.ReLU(), layer)

    net, fresh = tied(), tied()
    export_model(Model(net), SHAPE, tmp_path)
    fresh.load_state_dict(load_file(tmp_path / "model.safetensors"))
    _same(Model(net), Model(fresh), 3)


class _Branches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(x.flatten(1)) * (2.0 if bool(x.sum() > 8) else 1.0)


def test_a_network_that_cannot_be_exported_leaves_weights_and_a_sentence(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (found,) = export_model(Model(_Branches()), SHAPE, tmp_path)
    assert (found.code, found.severity) == ("export", "warning")
    assert "model.safetensors" in found.do
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]
    assert capfd.readouterr() == ("", "")


class _Noisy(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) + torch.randn(x.shape[0], 16)


def test_a_program_that_answers_otherwise_is_not_written(tmp_path: Path) -> None:
    (found,) = export_model(Model(_Noisy()), SHAPE, tmp_path)
    assert "otherwise" in found.saw
    assert not (tmp_path / "model.pt2").exists()


def test_torchscript_keeps_its_weights(tmp_path: Path) -> None:
    with pytest.warns(DeprecationWarning, match="jit.script"):
        net = torch.jit.script(nn.Sequential(nn.Flatten(), nn.Linear(16, 3)))  # type: ignore[no-untyped-call]
    (found,) = export_model(Model(net), SHAPE, tmp_path)
    assert found.code == "export"
    assert len(load_file(tmp_path / "model.safetensors")) == 2


@pytest.mark.parametrize(
    "said", ["{", '{"name": "n"}', '{"name": "n", "bounds": [1, 0]}', '{"name": "n", "bounds": 3}']
)
def test_nonsense_beside_the_program_is_refused(tmp_path: Path, said: str) -> None:
    export_model(Model(_net()), SHAPE, tmp_path)
    changed = tmp_path / "changed.pt2"
    with zipfile.ZipFile(tmp_path / "model.pt2") as old, zipfile.ZipFile(changed, "w") as new:
        for info in old.infolist():
            new.writestr(info, said if info.filename.endswith(ABOUT) else old.read(info))
    with pytest.raises(InputError, match=r"bounds|blindspots\.json"):
        load_model(str(changed))


def test_an_archive_without_words_lies_in_0_to_1_and_is_called_as_its_file(tmp_path: Path) -> None:
    torch.export.save(torch.export.export(_net().eval(), (_x(2),)), tmp_path / "plain.pt2")
    loaded = load_model(str(tmp_path / "plain.pt2"))
    assert (loaded.bounds, loaded.name) == ((0.0, 1.0), "plain")


def test_evaluate_comes_to_the_same_from_the_file(tmp_path: Path) -> None:
    model = Model(_net(), bounds=(0.0, 2.0))
    export_model(model, SHAPE, tmp_path)
    x = _x(8, 0, 2)
    with model.borrowed(), torch.no_grad():
        y = model.logits(x).argmax(1)
    found = [bs.evaluate(m, x, y, threat=bs.Linf(0.1)) for m in (model, load_model(str(tmp_path / "model.pt2")))]
    assert found[0].success.tolist() == found[1].success.tolist()
    assert found[0].verdict.robust_accuracy == found[1].verdict.robust_accuracy


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")  # the zoo's
@pytest.mark.parametrize(
    ("name", "shape"), [("cifar10_vit_pgd_2_3_16", (3, 32, 32)), ("cifar10_resnet20", (3, 32, 32))]
)
def test_networks_that_others_trained_answer_as_before(
    zoo: Path, tmp_path: Path, name: str, shape: tuple[int, ...]
) -> None:
    sys.path.insert(0, str(zoo))
    from zoo import load

    model = Model(load(name))
    assert export_model(model, shape, tmp_path) == []
    loaded, x = (
        load_model(str(tmp_path / "model.pt2")),
        torch.rand(3, *shape, generator=torch.Generator().manual_seed(0)),
    )
    with model.borrowed(), loaded.borrowed(), torch.no_grad():
        torch.testing.assert_close(loaded.logits(x), model.logits(x), rtol=1e-5, atol=1e-5)
