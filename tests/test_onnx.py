"""Models in ONNX files: translated with gradients, or known by their scores; what is recognised, what is refused."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import blindspots as bs
from blindspots.errors import InputError
from blindspots.models import Model, from_onnx, load_model
from blindspots.problem import Need
from onnx_files import INT64, UINT8, cnn, mlp, model, node, onnx, saved, weights

onnxruntime = pytest.importorskip("onnxruntime")
QUICK = str(Path(__file__).with_name("quick.toml"))
X = torch.rand(6, 12, generator=torch.Generator().manual_seed(0))
PICTURES = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def said(found: Model) -> str:
    return " ".join(f"{note.code} {note.saw}" for note in found.notes)


def gradients(found: Model, x: torch.Tensor) -> torch.Tensor:
    x = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(found.logits(x)[:, 1].sum(), x)
    return slope


@pytest.mark.parametrize("make", [mlp, cnn])
def test_a_graph_is_the_network_that_it_was_written_from(make: Any, tmp_path: Path) -> None:
    net, proto = make()
    found, x = load_model(saved(tmp_path, proto)), X if make is mlp else PICTURES
    assert found.access is Need.GRAD
    assert "onnx-translated" in said(found)
    for rows in (1, 2, 6):
        assert torch.allclose(found.logits(x[:rows]), net(x[:rows]), atol=1e-5)
    assert torch.allclose(gradients(found, x), gradients(Model(net), x), atol=1e-6)


@pytest.mark.parametrize(("make", "threat"), [(mlp, "linf:0.4"), (cnn, "linf:0.1")])
def test_its_verdict_is_that_of_the_network(make: Any, threat: str, tmp_path: Path) -> None:
    net, proto = make()
    x = X if make is mlp else PICTURES
    x = torch.cat([x, 1 - x, x.flip(1)])
    y = net(x).argmax(1)
    ours, theirs = (bs.evaluate(one, x, y, threat=threat, protocol=QUICK) for one in (saved(tmp_path, proto), net))
    assert 0 < ours.robust_accuracy < 1
    assert ours.results == theirs.results


def test_a_digest_is_the_same_for_every_load_and_another_for_other_weights(tmp_path: Path) -> None:
    one, other = (saved(tmp_path, mlp(seed)[1], f"{seed}.onnx") for seed in (0, 1))
    assert load_model(one).digest == load_model(one).digest != load_model(other).digest


# ------------------------------------------------------------------ forms of graphs


@pytest.mark.parametrize("rows", [1, 3])
def test_a_graph_for_a_number_of_rows_takes_any(rows: int, tmp_path: Path) -> None:
    net, proto = cnn(rows)
    found = load_model(saved(tmp_path, proto))
    assert torch.allclose(found.logits(PICTURES[:5]), net(PICTURES[:5]), atol=1e-5)


@pytest.mark.parametrize("sizes", [[1, 96], [1, -1]])
def test_a_reshape_that_names_the_number_of_rows_is_freed(sizes: list[int], tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = nn.Linear(96, 4).eval()
    nodes = [node("Reshape", "x sizes", "a"), node("Gemm", "a weight bias", "y", transB=1)]
    numbers = weights(net) | {"sizes": np.array(sizes)}
    found = load_model(saved(tmp_path, model(nodes, numbers, [1, 6, 4, 4])))
    x = torch.rand(5, 6, 4, 4)
    assert "Batched" not in str(found.net)
    assert torch.allclose(found.logits(x), net(x.flatten(1)), atol=1e-5)


def test_a_graph_that_takes_one_row_is_asked_row_by_row(tmp_path: Path) -> None:
    """A token of one row is joined to the input, so nothing but one row fits."""
    nodes = [node("Concat", "x token", "a", axis=1), node("ReduceSum", "a axes", "b", keepdims=0),
             node("MatMul", "b w", "y")]  # fmt: skip
    numbers = {"token": np.ones((1, 1, 3), np.float32), "axes": np.array([1]), "w": np.eye(3, dtype=np.float32)}
    found = load_model(saved(tmp_path, model(nodes, numbers, [1, 4, 3])))
    x = torch.rand(5, 4, 3)
    assert found.access is Need.GRAD
    assert "Batched" in str(found.net)
    assert torch.allclose(found.logits(x), x.sum(1) + 1, atol=1e-5)


def test_whole_numbers_are_the_levels_of_pictures(tmp_path: Path) -> None:
    w = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
    nodes = [node("Cast", "x", "a", to=1), node("Div", "a c", "b"), node("MatMul", "b w", "y")]
    found = load_model(saved(tmp_path, model(nodes, {"c": np.float32(255), "w": w}, [None, 12], dtype=UINT8)))
    levels = (X * 255).round()
    assert found.bounds == (0, 1)
    assert "whole numbers from 0 to 255" in said(found)
    assert torch.allclose(found.logits(X), levels / 255 @ torch.from_numpy(w), atol=1e-5)
    assert torch.allclose(gradients(found, X), torch.from_numpy(w[:, 1]).expand_as(X), atol=1e-5)  # straight through


@pytest.mark.parametrize(
    ("first", "number", "scaled"),
    [("Div", 255.0, True), ("Mul", 1 / 255, True), ("Sub", 127.5, True), ("Div", 2.0, False), ("Sub", 0.45, False)],
)
def test_a_scale_inside_the_graph_is_recognised(first: str, number: float, scaled: bool, tmp_path: Path) -> None:
    nodes = [node(first, "x c", "a"), node("GlobalAveragePool", "a", "b"), node("Flatten", "b", "y")]
    found = load_model(saved(tmp_path, model(nodes, {"c": np.float32(number)}, [None, 3, 8, 8])))
    act = {"Div": lambda z: z / number, "Mul": lambda z: z * number, "Sub": lambda z: z - number}[first]
    wanted = act(PICTURES * (255 if scaled else 1)).mean((2, 3))
    assert ("0 to 255, which it scales itself" in said(found)) == scaled
    assert torch.allclose(found.logits(PICTURES), wanted, rtol=1e-5, atol=1e-4)


def test_bounds_of_levels_are_the_scale_of_the_graph(tmp_path: Path) -> None:
    nodes = [node("Cast", "x", "a", to=1), node("Div", "a c", "b"), node("GlobalAveragePool", "b", "d"),
             node("Flatten", "d", "y")]  # fmt: skip
    for dtype in (UINT8, 1):
        path = saved(tmp_path, model(nodes, {"c": np.float32(255)}, [None, 3, 8, 8], dtype=dtype))
        found = from_onnx(path, bounds=(0.0, 255.0))
        levels = (PICTURES * 255).round()
        assert torch.allclose(found.logits(levels), levels.mean((2, 3)) / 255, atol=1e-5)


def test_channels_may_be_last(tmp_path: Path) -> None:
    nodes = [node("Transpose", "x", "a", perm=[0, 3, 1, 2]), node("GlobalMaxPool", "a", "b"), node("Flatten", "b", "y")]
    found = load_model(saved(tmp_path, model(nodes, {}, [None, 8, 8, 3])))
    assert "onnx-layout" in said(found)
    assert torch.equal(found.logits(PICTURES), PICTURES.amax((2, 3)))


def test_softmax_at_the_end_is_left_out(tmp_path: Path) -> None:
    net, proto = mlp()
    proto.graph.node[-1].output[0] = "z"
    proto.graph.node.append(node("Softmax", "z", "y"))
    found = load_model(saved(tmp_path, proto))
    assert "onnx-logits The graph ends in a Softmax." in said(found)
    assert torch.allclose(found.logits(X), net(X), atol=1e-5)


def test_sigmoid_at_the_end_of_one_score_is_left_out(tmp_path: Path) -> None:
    w = np.ones((12, 1), np.float32)
    nodes = [node("MatMul", "x w", "z"), node("Sigmoid", "z", "y")]
    found = load_model(saved(tmp_path, model(nodes, {"w": w}, [None, 12], {"y": [None, 1]})))
    assert torch.allclose(found.logits(X)[:, 1] * 2, X.sum(1), atol=1e-5)


def test_probabilities_of_any_making_are_recognised(tmp_path: Path) -> None:
    nodes = [node("Exp", "x", "a"), node("ReduceSum", "a axes", "s"), node("Div", "a s", "y")]
    numbers = {"axes": np.array([1])}
    found = load_model(saved(tmp_path, model(nodes, numbers, ["rows", 12])))
    assert found.output == "probabilities"
    assert torch.allclose(found.logits(X).softmax(1), X.softmax(1), atol=1e-6)


def classifier(how: str) -> Any:
    """As scikit-learn's converter writes a logistic regression: labels, and maps of probabilities."""
    more = {"classlabels_strings": ["cat", "dog", "owl"]} if how == "strings" else {"classlabels_int64s": [3, 5, 8]}
    own = {"classlabels_strings": more.get("classlabels_strings"), "classlabels_ints": more.get("classlabels_int64s")}
    nodes = [
        node("ai.onnx.ml:LinearClassifier", "x", "label scores", coefficients=[0.5, -1.0, 2.0, 1, -2, 0.5],
             intercepts=[0.1, 0, 0.3], post_transform="SOFTMAX", multi_class=1, **{k: v for k, v in own.items() if v}),
        node("ai.onnx.ml:ZipMap", "scores", "maps", **more),
    ]  # fmt: skip
    proto = model(nodes, {}, [None, 2], {"label": [None], "maps": [None]})
    kind = onnx.TensorProto.STRING if how == "strings" else INT64
    value = onnx.helper.make_map_type_proto(kind, onnx.helper.make_tensor_type_proto(1, []))
    proto.graph.output[0].type.tensor_type.elem_type = kind
    proto.graph.output[1].CopyFrom(onnx.helper.make_value_info("maps", onnx.helper.make_sequence_type_proto(value)))
    return proto


@pytest.mark.parametrize(("how", "names"), [("strings", ["cat", "dog", "owl"]), ("ints", ["3", "5", "8"])])
def test_labels_beside_a_map_of_probabilities_are_left_out(how: str, names: list[str], tmp_path: Path) -> None:
    found = load_model(saved(tmp_path, classifier(how)))
    x = torch.rand(4, 2)
    wanted = x @ torch.tensor([[0.5, 2, -2], [-1, 1, 0.5]]) + torch.tensor([0.1, 0, 0.3])
    assert found.class_names == names
    assert found.access is Need.GRAD
    assert torch.allclose(found.logits(x).softmax(1), wanted.softmax(1), atol=1e-6)


def test_a_branch_is_taken_by_what_it_depends_on(tmp_path: Path) -> None:
    """Twice the scores for one row at most, else the scores: as exporters write a squeeze, on the shape."""
    once, twice = ([node(kind, "x c", out)] for kind, out in (("Mul", "s"), ("Add", "t")))
    then = onnx.helper.make_graph(once, "then", [], [onnx.helper.make_tensor_value_info("s", 1, None)])
    other = onnx.helper.make_graph(twice, "else", [], [onnx.helper.make_tensor_value_info("t", 1, None)])
    nodes = [node("Shape", "x", "n", start=1, end=2), node("Equal", "n twelve", "q"), node("Squeeze", "q", "if"),
             node("If", "if", "y", then_branch=then, else_branch=other)]  # fmt: skip
    found = load_model(saved(tmp_path, model(nodes, {"c": np.float32(2), "twelve": np.array([12])}, ["rows", 12])))
    assert torch.equal(found.logits(X), 2 * X)


# ------------------------------------------------------------------ known by scores


def unknown_operator() -> Any:
    nodes = [node("MatMul", "x w", "a"), node("NonMaxSuppression", "boxes scores", "n"),
             node("Cast", "n", "k", to=1), node("ReduceSum", "k", "r", keepdims=0),
             node("Add", "a r", "y")]  # fmt: skip
    numbers = {"w": np.eye(12, dtype=np.float32), "boxes": np.ones((1, 2, 4), np.float32),
               "scores": np.ones((1, 1, 2), np.float32)}  # fmt: skip
    return model(nodes, numbers, [None, 12])


def test_an_operator_that_is_not_known_leaves_the_scores(tmp_path: Path) -> None:
    found = load_model(saved(tmp_path, unknown_operator()))
    assert found.access is Need.VALUE
    assert "onnx-scores" in said(found)
    assert "NonMaxSuppression has no translation" in said(found)
    assert torch.equal(found.logits(X), X)


def quantised() -> Any:
    nodes = [
        node("QuantizeLinear", "x one zero", "a"), node("DequantizeLinear", "a one zero", "b"),
        node("DequantizeLinear", "w one8", "v"), node("MatMul", "b v", "y"),
    ]  # fmt: skip
    numbers = {"one": np.float32(1 / 255), "zero": np.uint8(0), "one8": np.float32(0.1),
               "w": np.random.default_rng(0).integers(-99, 99, (12, 4)).astype(np.int8)}  # fmt: skip
    return model(nodes, numbers, ["rows", 12])


def test_a_graph_that_rounds_keeps_its_scores_and_is_guided_by_its_translation(tmp_path: Path) -> None:
    path = saved(tmp_path, quantised())
    found = load_model(path)
    assert found.access is Need.GRAD
    assert "onnx-guided The graph rounds to few bits (QuantizeLinear)" in said(found)
    own = onnxruntime.InferenceSession(path).run(None, {"x": X.numpy()})[0]
    x = X.clone().requires_grad_()
    assert np.array_equal(found.logits(x).detach().numpy(), own)  # with gradients and without
    assert np.array_equal(found.logits(X).numpy(), own)
    w = torch.from_numpy(np.random.default_rng(0).integers(-99, 99, (12, 4)) * 0.1).float()
    assert torch.allclose(gradients(found, X), w[:, 1].expand_as(X), atol=1e-5)  # straight through the rounding
    run = bs.evaluate(found, X, found.logits(X).argmax(1), threat="linf:0.3", protocol=QUICK)
    assert run.robust_accuracy < 1
    assert run.backwards > 0


def test_no_gradient_passes_where_a_level_is_cut_off(tmp_path: Path) -> None:
    found = from_onnx(saved(tmp_path, quantised()), bounds=(0.0, 2.0))
    slope = gradients(found, torch.cat([X[:1], X[:1] + 1]))
    assert slope[0].all()
    assert not slope[1].any()


def dynamic() -> Any:
    nodes = [node("DynamicQuantizeLinear", "x", "a scale zero"), node("MatMulInteger", "a w zero", "b"),
             node("Cast", "b", "c", to=1), node("Mul", "c scale", "y")]  # fmt: skip
    w = np.random.default_rng(0).integers(-99, 99, (12, 4)).astype(np.int8)
    return model(nodes, {"w": w}, ["rows", 12])


def test_a_scale_of_all_rows_is_avoided_by_asking_one_row_at_a_time(tmp_path: Path) -> None:
    path = saved(tmp_path, dynamic())
    found, session = load_model(path), onnxruntime.InferenceSession(path)
    assert found.access is Need.GRAD
    x = X * torch.linspace(0.1, 1, 6)[:, None]
    alone = np.concatenate([session.run(None, {"x": row.numpy()})[0] for row in x.split(1)])
    assert not np.allclose(session.run(None, {"x": x.numpy()})[0], alone, rtol=1e-3)  # a row sees its neighbours
    assert np.array_equal(found.logits(x).numpy(), alone)


def test_weights_in_few_bits_keep_gradients(tmp_path: Path) -> None:
    w = np.random.default_rng(0).integers(-99, 99, (4, 3, 8, 8)).astype(np.int8)
    nodes = [node("DequantizeLinear", "w one", "v"), node("Conv", "x v", "a"), node("Flatten", "a", "y")]
    found = load_model(saved(tmp_path, model(nodes, {"one": np.float32(0.1), "w": w}, ["rows", 3, 8, 8])))
    wanted = torch.einsum("bchw,kchw->bk", PICTURES, torch.from_numpy(w) * 0.1)
    assert found.access is Need.GRAD
    assert torch.allclose(found.logits(PICTURES), wanted, atol=1e-4)


def test_a_translation_that_says_something_else_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from blindspots.models.onnx import graph

    _, proto = mlp()
    path = saved(tmp_path, proto)
    monkeypatch.setattr(graph, "OPERATORS", graph.OPERATORS | {"Tanh": lambda node, x: 1.001 * torch.tanh(x)})
    found = load_model(path)
    assert found.access is Need.VALUE
    assert "differs from onnxruntime by up to 0.00" in said(found)


def test_a_translation_that_fails_is_not_believed(tmp_path: Path) -> None:
    nodes = [node("MatMul", "x w", "a"), node("Dropout", "a ratio on", "y")]
    numbers = {"w": np.eye(12, dtype=np.float32), "ratio": np.float32(0.5), "on": np.True_}
    found = load_model(saved(tmp_path, model(nodes, numbers, [None, 12])))
    assert found.access is Need.VALUE
    assert "Dropout that is left on" in said(found)


def normalised(first: str) -> Any:
    """By the mean and the variance of `first`: of weights, as networks standardise them, or of the inputs."""
    nodes = [node("BatchNormalization", f"{first} ones zeros zeros ones", "n m v", training_mode=1)]
    nodes.append(node("MatMul", "x n" if first == "w" else "n w", "y"))
    numbers = {"w": np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)}
    width = 4 if first == "w" else 12
    numbers |= {"ones": np.ones(width, np.float32), "zeros": np.zeros(width, np.float32)}
    return model(nodes, numbers, ["rows", 12])


def test_weights_may_be_standardised_and_inputs_may_not(tmp_path: Path) -> None:
    found = load_model(saved(tmp_path, normalised("w")))
    w = torch.from_numpy(np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32))
    wanted = X @ ((w - w.mean(0)) / (w.var(0, correction=0) + 1e-5).sqrt())
    assert found.access is Need.GRAD
    assert torch.allclose(found.logits(X), wanted, atol=1e-4)
    coupled = load_model(saved(tmp_path, normalised("x")))
    assert coupled.access is Need.VALUE
    assert "exported in training" in said(coupled)


def test_onnxruntime_writes_nothing_beside_what_is_raised(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Sizes that are left open are tried one after the other."""
    nodes = [node("Flatten", "x", "a"), node("MatMul", "a w", "y")]
    numbers = {"w": np.ones((64, 2), np.float32)}
    assert load_model(saved(tmp_path, model(nodes, numbers, ["rows", 1, "h", "w"]))).access is Need.GRAD
    assert capfd.readouterr() == ("", "")


# ------------------------------------------------------------------ what is said of a model


def test_bounds_names_and_classes_are_those_in_the_file(tmp_path: Path) -> None:
    _, proto = mlp()
    onnx.helper.set_model_props(
        proto, {"blindspots.json": '{"name": "ours", "bounds": [-1, 2], "class_names": ["a", "b", "c", "d"]}'}
    )
    found = load_model(saved(tmp_path, proto))
    assert (found.name, found.bounds, found.class_names) == ("ours", (-1, 2), ["a", "b", "c", "d"])
    assert from_onnx(saved(tmp_path, proto), bounds=(0.0, 4.0), name="mine").bounds == (0, 4)
    onnx.helper.set_model_props(proto, {"blindspots.json": "{}"})
    with pytest.raises(InputError, match=r"expected name and bounds in blindspots.json of .*model.onnx"):
        load_model(saved(tmp_path, proto))


def test_pictures_are_rows_of_features_where_the_graph_takes_these(tmp_path: Path) -> None:
    net, proto = mlp()
    x = X.reshape(6, 3, 2, 2)
    assert torch.allclose(load_model(saved(tmp_path, proto)).logits(x), net(X), atol=1e-5)


def test_an_output_is_named_and_transformations_come_before(tmp_path: Path) -> None:
    net, proto = mlp()
    proto.graph.node.append(node("Neg", "y", "other"))
    proto.graph.output.append(onnx.helper.make_tensor_value_info("other", 1, ["rows", 4]))
    path = saved(tmp_path, proto)
    assert torch.allclose(load_model(f"{path}@other").logits(X), -net(X), atol=1e-5)
    with pytest.raises(InputError, match="of which several could be meant"):
        load_model(path).logits(X)
    rounded = load_model(f"{path}@y|bits:depth=1")
    assert torch.allclose(rounded.logits(X), net(X.round()), atol=1e-5)


# ------------------------------------------------------------------ bad input


def outside(proto: Any, where: str) -> Any:
    """The same graph with its first weight in another file."""
    tensor = proto.graph.initializer[0]
    onnx.external_data_helper.set_external_data(tensor, where)
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    return proto


def test_weights_are_read_from_the_folder_of_the_model_alone(tmp_path: Path) -> None:
    net, proto = mlp()
    content = proto.graph.initializer[0].raw_data
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "weights.bin").write_bytes(content)
    (tmp_path / "weights.bin").write_bytes(content)
    assert torch.allclose(load_model(saved(folder, outside(proto, "weights.bin"))).logits(X), net(X), atol=1e-5)
    for place in ("../weights.bin", str(tmp_path / "weights.bin")):
        with pytest.raises(InputError, match="which lies outside"):
            load_model(saved(folder, outside(mlp()[1], place)))
    (folder / "link.bin").symlink_to(tmp_path / "weights.bin")
    with pytest.raises(InputError, match="which lies outside"):
        load_model(saved(folder, outside(mlp()[1], "link.bin")))
    with pytest.raises(InputError, match=r"weights of .*got: No such file"):
        load_model(saved(folder, outside(mlp()[1], "nowhere.bin")))
    (folder / "short.bin").write_bytes(content[:8])
    with pytest.raises(InputError):
        load_model(saved(folder, outside(mlp()[1], "short.bin")))


def two_inputs() -> Any:
    proto = model([node("Add", "x z", "y")], {}, [None, 3])
    proto.graph.input.append(onnx.helper.make_tensor_value_info("z", 1, [None, 3]))
    return proto


def labels() -> Any:
    proto = model([node("ArgMax", "x", "y", axis=1)], {}, [None, 3])
    proto.graph.output[0].type.tensor_type.elem_type = INT64
    return proto


BAD = {
    "two inputs": (two_inputs, "expected a graph of one input x in .*, got x, z"),
    "labels alone": (labels, "expected scores among the outputs of .*labels alone"),
    "no axis": (lambda: model([node("Neg", "x", "y")], {}, []), "with an axis of rows"),
    "booleans": (lambda: model([node("Cast", "x", "y", to=1)], {}, [None, 3], dtype=9), "expected an input of floats"),
    "no such input": (lambda: model([node("Neg", "nothing", "y")], {}, [None, 3]), "expected a valid ONNX model"),
    "no such operator": (lambda: model([node("Blur", "x", "y")], {}, [None, 3]), "expected a valid ONNX model"),
    "foreign": (lambda: model([node("theirs:Blur", "x", "y")], {}, [None, 3]), "expected a .*model"),
}


@pytest.mark.parametrize("what", BAD)
def test_what_is_no_classifier_is_refused(what: str, tmp_path: Path) -> None:
    make, words = BAD[what]
    with pytest.raises(InputError, match=words):
        load_model(saved(tmp_path, make()))


def test_bytes_of_something_else_are_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no protobuf at all")
    with pytest.raises(InputError, match=r"expected an ONNX model in .*, got other bytes"):
        load_model(str(tmp_path / "model.onnx"))
    with pytest.raises(InputError, match="which does not exist"):
        load_model(str(tmp_path / "none.onnx"))


def test_without_onnxruntime_a_sentence_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path, mlp()[1])
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match=r"pip install 'blindspots\[onnx\]'"):
        load_model(path)
