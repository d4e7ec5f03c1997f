"""Models: what goes in and out, what is left untouched, and what can be loaded from where."""

import json
import math
import os
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from blindspots.errors import InputError
from blindspots.models import Model, load_model
from blindspots.models import digits as digits_module
from blindspots.models.cache import cache_folder
from blindspots.models.digits import RECIPES, Recipe, train

X = torch.rand(5, 3, 4, 4, generator=torch.Generator().manual_seed(0))


def first_three(x: Tensor) -> Tensor:
    return x.flatten(1)[:, :3]


def small(seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten(), nn.Linear(16, 6))


def single(x: Tensor) -> Tensor:
    return x.flatten(1)[:, 0] * 8 - 4


# ------------------------------------------------------------------ outputs


def test_logits_come_back_as_they_are() -> None:
    assert torch.equal(Model(first_three).logits(X), first_three(X))


def test_probabilities_become_logarithms_that_softmax_undoes() -> None:
    logits = Model(lambda x: first_three(x).softmax(1), output="probabilities").logits(X)
    assert torch.allclose(logits.softmax(1), first_three(X).softmax(1))


def test_a_probability_of_zero_stays_finite() -> None:
    logits = Model(lambda x: torch.eye(3)[:2].repeat(3, 1)[: len(x)], output="probabilities").logits(X)
    assert logits.min() == math.log(torch.finfo(torch.float32).tiny)


@pytest.mark.parametrize("column", [False, True])
@pytest.mark.parametrize("output", ["auto", "logit", "probability"])
def test_one_number_per_row_becomes_two_classes(output: Any, column: bool) -> None:
    def net(x: Tensor) -> Tensor:
        z = single(x).sigmoid() if output == "probability" else single(x)
        return z[:, None] if column else z

    logits = Model(net, output=output).logits(X)
    assert torch.allclose(logits.softmax(1)[:, 1], single(X).sigmoid(), atol=1e-6)
    assert torch.allclose(logits.sum(1), torch.zeros(5), atol=1e-6)


def test_certain_probabilities_give_finite_logits() -> None:
    assert Model(lambda x: torch.tensor([0.0, 1.0]), output="probability").logits(X[:2]).isfinite().all()


@dataclass
class Answer:
    logits: Tensor


@pytest.mark.parametrize(
    "wrap",
    [
        lambda z: (z, z[:1]),
        lambda z: [None, z],
        lambda z: {"logits": z},
        Answer,
    ],
    ids=["tuple", "list", "dict", "object"],
)
def test_logits_are_found_inside_what_a_network_returns(wrap: Callable[[Tensor], Any]) -> None:
    assert torch.equal(Model(lambda x: wrap(first_three(x))).logits(X), first_three(X))


@pytest.mark.parametrize(
    ("net", "said"),
    [
        (lambda x: x, r"\(5, 3, 4, 4\)"),
        (lambda x: first_three(x)[:2], r"\(2, 3\)"),
        (lambda x: first_three(x).argmax(1), "int64"),
        (lambda x: first_three(x).mean(), r"\(\)"),
        (lambda x: first_three(x)[:, :0], r"\(5, 0\)"),
        (lambda x: {"scores": x}, "got dict"),
        (lambda x: None, "got NoneType"),
    ],
)
def test_other_outputs_are_refused(net: Callable[[Tensor], Any], said: str) -> None:
    with pytest.raises(InputError, match=r"expected logits \(B, classes\)") as error:
        Model(net).logits(X)
    assert re.search(said, str(error.value))


@pytest.mark.parametrize(("net", "output"), [(single, "logits"), (single, "probabilities"), (first_three, "logit")])
def test_an_output_that_does_not_fit_is_refused(net: Callable[[Tensor], Tensor], output: Any) -> None:
    with pytest.raises(InputError, match=f"fits output='{output}'"):
        Model(net, output=output).logits(X)


# ------------------------------------------------------------------ inputs


@pytest.mark.parametrize("per_channel", [False, True])
def test_the_network_gets_normalised_inputs(per_channel: bool) -> None:
    mean, std = ((0.1, 0.2, 0.3), torch.tensor([1.0, 2.0, 4.0])) if per_channel else (0.5, 0.25)
    expected = (X - torch.tensor(mean).view(-1, 1, 1)) / torch.as_tensor(std).view(-1, 1, 1)
    assert torch.allclose(Model(lambda x: x.flatten(1), mean=mean, std=std).logits(X), expected.flatten(1))


def test_tables_are_normalised_per_feature() -> None:
    model = Model(lambda x: x, mean=(0.0, 1.0, 2.0))
    assert torch.equal(model.logits(torch.ones(2, 3)), torch.tensor([[1.0, 0.0, -1.0]] * 2))


def test_scales_must_match_the_channels() -> None:
    with pytest.raises(InputError, match="got 2 numbers"):
        Model(first_three, mean=(0.1, 0.2)).logits(X)


@pytest.mark.parametrize(
    "wrong",
    [
        {"std": (1.0, 0.0, 1.0)},
        {"mean": math.nan},
        {"mean": ()},
        {"bounds": (1.0, 0.0)},
        {"bounds": (0.0, math.inf)},
        {"output": "scores"},
        {"net": "resnet"},
        {"net": Model(first_three)},
    ],
)
def test_wrong_arguments_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="expected"):
        Model(**{"net": first_three, **wrong})


def test_gradients_reach_the_input() -> None:
    x = X.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(Model(single, output="logit", std=0.5).logits(x)[:, 1].sum(), x)
    assert gradient.flatten(1)[:, 0].tolist() == [8.0] * 5
    assert gradient.count_nonzero() == 5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_logits_are_float32_whatever_the_network_computes_in(dtype: torch.dtype) -> None:
    assert Model(small().eval().to(dtype)).logits(X).dtype == torch.float32


def test_logits_are_float32_under_autocast() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert Model(small().eval()).logits(X).dtype == torch.float32


def test_what_a_model_says_about_itself() -> None:
    model = Model(small(), name="small")
    assert (model.parameters, model.device, model.spec) == (4 * 27 + 4 + 8 + 96 + 6, torch.device("cpu"), None)
    assert (model.name, Model(small()).name, Model(first_three).name) == ("small", "Sequential", "first_three")
    assert Model(partial(first_three)).name == "first_three"
    assert "small" in repr(model)


def test_the_device_is_where_the_network_is_or_goes() -> None:
    assert Model(small(), device="meta").device == torch.device("meta")
    assert Model(first_three, device="meta").device == torch.device("meta")


# ------------------------------------------------------------------ borrowed


def flags(net: nn.Module) -> list[bool]:
    return [m.training for m in net.modules()] + [p.requires_grad for p in net.parameters()]


def mixed() -> nn.Sequential:
    net = small()
    net[1].eval()
    net[0].weight.requires_grad_(False)
    return net


def test_a_borrowed_network_is_in_evaluation_mode_and_frozen() -> None:
    with Model(net := mixed()).borrowed() as model:
        assert not any(flags(net))
        assert torch.equal(model.logits(X), model.logits(X))


@pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt, GeneratorExit])
def test_a_borrowed_network_comes_back_as_it_was(error: type[BaseException] | None) -> None:
    before = flags(net := mixed())
    with pytest.raises(error) if error else nullcontext(), Model(net).borrowed():
        net[2].train()
        net[4].weight.requires_grad_()
        if error:
            raise error
    assert flags(net) == before


def test_borrowing_twice_is_borrowing_once() -> None:
    before, model = flags(net := mixed()), Model(mixed())
    model.net = net
    with model.borrowed():
        with model.borrowed():
            assert not any(flags(net))
        assert not any(flags(net))
    assert flags(net) == before


# ------------------------------------------------------------------ digest


def test_equal_networks_have_equal_digests() -> None:
    assert Model(small()).digest == Model(small(), name="another").digest
    assert re.fullmatch("[0-9a-f]{64}", Model(small()).digest)


def test_reading_does_not_change_the_digest() -> None:
    model = Model(small())
    before = model.digest
    with model.borrowed():
        model.logits(X)
    assert model.digest == before


def changed(change: Callable[[nn.Sequential], Any]) -> Model:
    with torch.no_grad():
        change(net := small())
    return Model(net)


@pytest.mark.parametrize(
    "other",
    [
        Model(small(1)),
        changed(lambda net: net[4].bias[0].add_(1e-6)),
        changed(lambda net: net[1].running_mean.add_(1)),
        changed(lambda net: net.append(nn.ReLU())),
        changed(lambda net: net.double()),
        Model(small(), bounds=(-1, 1)),
        Model(small(), mean=0.5),
        Model(small(), std=0.5),
        Model(small(), output="probabilities"),
    ],
)
def test_whatever_changes_the_function_changes_the_digest(other: Model) -> None:
    assert other.digest != Model(small()).digest


def test_functions_are_known_by_their_names_alone() -> None:
    one, two = Model(partial(first_three)), Model(first_three)
    assert one.digest == two.digest != Model(single).digest
    assert "0x" not in repr(one.net)


def test_a_callable_object_is_known_by_its_class() -> None:
    class Net:
        def __call__(self, x: Tensor) -> Tensor:
            return first_three(x)

    assert Model(Net()).digest == Model(Net()).digest
    assert Model(Net()).name == "Net"


# ------------------------------------------------------------------ files of weights


def exported(path: Path, net: nn.Module, batch: Any = None, rows: int = 4) -> str:
    shapes = None if batch is None else ({0: batch},)
    torch.export.save(torch.export.export(net.eval(), (X[:rows],), dynamic_shapes=shapes), path)
    return str(path)


@contextmanager
def deprecated() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        yield


def scripted(path: Path, net: nn.Module) -> str:
    with deprecated():
        torch.jit.save(torch.jit.trace(net.eval(), X), path)
    return str(path)


@pytest.mark.parametrize("rows", [1, 3, 4, 5])
@pytest.mark.parametrize(
    "batch",
    [None, torch.export.Dim("batch"), torch.export.Dim("batch", min=2, max=4)],
    ids=["fixed", "any", "2 to 4"],
)
def test_an_exported_network_takes_any_number_of_rows(tmp_path: Path, batch: Any, rows: int) -> None:
    model = load_model(exported(tmp_path / "net.pt2", net := small(), batch))
    x = X[:rows].clone().requires_grad_()
    with model.borrowed():
        logits = model.logits(x)
    assert torch.allclose(logits, net(X[:rows]), atol=1e-6)
    assert torch.autograd.grad(logits.sum(), x)[0].shape == x.shape


def test_an_exported_network_is_borrowed_and_given_back(tmp_path: Path) -> None:
    model = load_model(exported(tmp_path / "net.pt2", small()))
    before = flags(model.net)
    with model.borrowed():
        assert not any(flags(model.net))
    assert flags(model.net) == before
    assert (model.name, model.spec) == ("net", str(tmp_path / "net.pt2"))


@pytest.mark.parametrize("save", [exported, scripted])
def test_the_digest_of_a_file_is_that_of_its_network(tmp_path: Path, save: Callable[[Path, nn.Module], str]) -> None:
    path = save(tmp_path / "one.pt2", small())
    assert load_model(path).digest == load_model(path).digest
    assert load_model(path).digest != load_model(save(tmp_path / "two.pt2", small(1))).digest


class Scaled(nn.Module):
    """Its constant is neither a parameter nor a buffer."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return first_three(x) * torch.tensor([1.0, self.factor, 3.0])


@pytest.mark.parametrize("save", [exported, scripted])
def test_the_digest_covers_constants(tmp_path: Path, save: Callable[[Path, nn.Module], str]) -> None:
    one, two = (load_model(save(tmp_path / f"{k}.pt2", Scaled(k))) for k in (1.0, 2.0))
    assert one.digest != two.digest


def test_torchscript_comes_back(tmp_path: Path) -> None:
    model = load_model(scripted(tmp_path / "net.pt", net := small()))
    model.net.train()
    with model.borrowed():
        assert torch.allclose(model.logits(X), net(X))
    assert all(m.training for m in model.net.modules())


@pytest.mark.parametrize("content", [small(), small().state_dict(), b"\x80\x04not a network"], ids=type)
def test_what_would_have_to_be_unpickled_is_refused(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "net.pt"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    with pytest.raises(InputError, match=r"expected TorchScript or a torch.export archive.*weights_only=True"):
        load_model(str(path))


class Payload:
    """Unpickling it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.folder,)


def rewritten(path: Path, to: Path, replaced: Callable[[str, bytes], bytes]) -> str:
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(to, "w") as new:
        for name in old.namelist():
            new.writestr(name, replaced(name, old.read(name)))
    return str(to)


def test_an_exported_file_cannot_smuggle_a_pickle(tmp_path: Path) -> None:
    torch.save(Payload(tmp_path / "harm"), tmp_path / "payload")
    payload = (tmp_path / "payload").read_bytes()

    def poison(name: str, raw: bytes) -> bytes:
        if not name.endswith("weights_config.json"):
            return payload if "/weights/weight" in name or "sample_inputs" in name else raw
        config = json.loads(raw)
        return json.dumps({"config": {k: {**v, "use_pickle": True} for k, v in config["config"].items()}}).encode()

    exported(tmp_path / "net.pt2", small())
    with pytest.raises(InputError, match="loading"):
        load_model(rewritten(tmp_path / "net.pt2", tmp_path / "bad.pt2", poison))
    assert not (tmp_path / "harm").exists()
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ


def test_compiled_code_is_refused(tmp_path: Path) -> None:
    exported(path := tmp_path / "net.pt2", small())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("net/data/aotinductor/model/code.so", b"")
    with pytest.raises(InputError, match="expected TorchScript"):
        load_model(str(path))


@pytest.mark.parametrize("save", [exported, scripted])
def test_a_damaged_file_is_refused(tmp_path: Path, save: Callable[[Path, nn.Module], str]) -> None:
    save(tmp_path / "net.pt2", small())
    lost = rewritten(tmp_path / "net.pt2", tmp_path / "lost.pt2", lambda name, raw: raw[: len(raw) // 2])
    with pytest.raises(InputError, match="raised"):
        load_model(lost)


def test_a_network_of_two_inputs_is_refused(tmp_path: Path) -> None:
    net = nn.Bilinear(3, 3, 2)
    torch.export.save(torch.export.export(net, (X[:, :, 0, 0], X[:, :, 0, 0])), tmp_path / "two.pt2")
    with pytest.raises(InputError, match="got 2 inputs"):
        load_model(str(tmp_path / "two.pt2"))


def test_a_missing_file_is_named_with_its_neighbour(tmp_path: Path) -> None:
    exported(tmp_path / "network.pt2", small())
    with pytest.raises(InputError, match=r"netwrk.pt2.*did you mean 'network.pt2'"):
        load_model(str(tmp_path / "netwrk.pt2"))


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("digit", "did you mean 'digits'"),
        ("digits_robust", "did you mean 'digits-robust'"),
        ("something else", "expected a model"),
        ("net.py", "expected a model"),
        ("net.py:", "expected a model"),
        (":factory", "expected a model"),
        ("", "expected a model"),
        ("missing/net.py:factory", "does not exist"),
        ("no_such_package:factory", "not installed"),
        ("no_such_package.part:factory", "No module named"),
        ("not a module:factory", "not installed"),
        ("..relative:factory", "raised"),
    ],
)
def test_unknown_models_are_refused(spec: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        load_model(spec)


# ------------------------------------------------------------------ factories

FACTORIES = """
from dataclasses import dataclass
import sys
import torch
from torch import nn
from blindspots.models import Model
from layers_beside import width

@dataclass
class Config:
    classes: int = 10

def network(): return nn.Linear(width, Config().classes)
def model(): return Model(nn.Linear(width, 2), bounds=(-1, 1), name="mine")
def number(): return 3
def nothing(): pass
def function(): return lambda x: x
def needs(size): return nn.Linear(size, 2)
def fails(): raise RuntimeError("no\\nweights")
def leaves(): sys.exit("stopped")
instance = nn.Linear(width, 5)
constant = 3
"""


@pytest.fixture
def factories(tmp_path: Path) -> str:
    (tmp_path / "layers_beside.py").write_text("width = 4")
    (tmp_path / "net.py").write_text(FACTORIES)
    return str(tmp_path / "net.py")


@pytest.mark.parametrize(
    ("name", "classes", "called", "bounds"),
    [("network", 10, "network", (0, 1)), ("model", 2, "mine", (-1, 1)), ("instance", 5, "instance", (0, 1))],
)
def test_a_factory_in_a_file(factories: str, name: str, classes: int, called: str, bounds: tuple[float, float]) -> None:
    model = load_model(f"{factories}:{name}")
    assert model.logits(torch.rand(3, 4)).shape == (3, classes)
    assert (model.name, model.spec, model.bounds) == (called, f"{factories}:{name}", bounds)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("number", "got int"),
        ("nothing", "got NoneType"),
        ("function", "got function"),
        ("needs", "TypeError.*size"),
        ("fails", "RuntimeError: no weights"),
        ("leaves", "SystemExit: stopped"),
        ("constant", "got int"),
        ("netwrk", "no such name.*did you mean 'network'"),
    ],
)
def test_a_factory_that_does_not_make_a_network_is_refused(factories: str, name: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        load_model(f"{factories}:{name}")


def test_a_file_that_cannot_be_imported_is_refused(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("import no_such_package")
    with pytest.raises(InputError, match=r"importing .*ModuleNotFoundError: No module named 'no_such_package'"):
        load_model(f"{tmp_path / 'net.py'}:network")


def test_files_of_one_name_do_not_meet(tmp_path: Path) -> None:
    for folder, classes in (("a", 2), ("b", 3)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "net.py").write_text(f"from torch import nn\nmake = lambda: nn.Linear(4, {classes})")
    shapes = [load_model(f"{tmp_path / f / 'net.py'}:make").logits(torch.rand(1, 4)).shape[1] for f in ("a", "b")]
    assert shapes == [2, 3]


def test_a_factory_in_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "package_here").mkdir()
    (tmp_path / "package_here" / "nets.py").write_text("from torch import nn\nmake = lambda: nn.Linear(4, 2)")
    monkeypatch.chdir(tmp_path)
    assert load_model("package_here.nets:make").logits(torch.rand(1, 4)).shape == (1, 2)


# ------------------------------------------------------------------ digits


def accuracy(model: Model) -> float:
    x, y = digits_module.digits_arrays("test")
    with model.borrowed():
        return float((model.logits(x).argmax(1) == y).float().mean())


@pytest.mark.parametrize("name", RECIPES)
def test_the_embedded_networks_are_accurate_and_cached(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    model = load_model(name)
    assert accuracy(model) > 0.97
    said: list[str] = []
    assert load_model(name, said.append).digest == model.digest
    assert not said
    assert capsys.readouterr() == ("", "")
    assert (model.name, model.spec, type(model.net)) == (name, name, nn.Sequential)


@pytest.fixture
def short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe of one epoch, and an empty cache folder."""
    monkeypatch.setitem(RECIPES, "digits", Recipe(epochs=1, radius=0.1, steps=1, stride=0.1))
    monkeypatch.setenv("BLINDSPOTS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_training_says_what_it_does_and_leaves_one_file(short: Path) -> None:
    said: list[str] = []
    load_model("digits", said.append)
    assert said == ["digits: training, epoch 1 of 1"]
    assert [p.suffix for p in short.iterdir()] == [".safetensors"]


@pytest.mark.parametrize(
    "damage", [lambda raw: raw[:-9], lambda raw: b"", lambda raw: raw.replace(b"0.bias", b"0.bios")]
)
def test_a_damaged_cache_is_trained_again(
    short: Path, damage: Callable[[bytes], bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    digest = load_model("digits").digest
    (path,) = short.iterdir()
    path.write_bytes(damage(path.read_bytes()))
    assert load_model("digits").digest == digest
    assert "trained again" in capsys.readouterr().err
    load_model("digits")
    assert capsys.readouterr().err == ""


def test_without_a_cache_the_network_is_there_all_the_same(short: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short.write_text("a file where the folder should be")
    load_model("digits")
    assert "cannot be written" in capsys.readouterr().err


def test_training_leaves_generator_threads_and_grad_mode_alone(short: Path) -> None:
    threads, before = torch.get_num_threads(), torch.get_rng_state()
    torch.set_num_threads(2)
    try:
        with torch.no_grad():
            load_model("digits")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(torch.get_rng_state(), before)


def test_another_recipe_is_another_file(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load_model("digits")
    monkeypatch.setitem(RECIPES, "digits", Recipe(epochs=1))
    load_model("digits")
    assert len(list(short.iterdir())) == 2


@pytest.mark.parametrize(
    ("own", "xdg", "folder"),
    [("/own", "/xdg", "/own"), ("", "/xdg", "/xdg/blindspots"), ("", "", "~/.cache/blindspots")],
)
def test_the_cache_folder(monkeypatch: pytest.MonkeyPatch, own: str, xdg: str, folder: str) -> None:
    monkeypatch.setenv("BLINDSPOTS_CACHE", own)
    monkeypatch.setenv("XDG_CACHE_HOME", xdg)
    assert cache_folder() == Path(folder).expanduser()


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_training_again_gives_the_same_bits(name: str) -> None:
    torch.manual_seed(1)
    assert Model(train(RECIPES[name])).digest == load_model(name).digest
