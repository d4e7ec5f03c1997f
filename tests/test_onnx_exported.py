"""What torch exports at its default opset says what the network says, and so do the cases of the standard itself."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import blindspots as bs
from blindspots.problem import Need
from onnx_nets import NETS, network

QUICK = str(Path(__file__).with_name("quick.toml"))


def exported(name: str, folder: Path, rows: int | None) -> tuple[torch.nn.Module, tuple[int, ...], str]:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    net, shape = network(name)
    axes = ({0: torch.export.Dim.DYNAMIC},) if rows is None else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own
        x = torch.rand(rows or 2, *shape)
        torch.onnx.export(net, (x,), str(folder / "model.onnx"), dynamic_shapes=axes, verbose=False)
    return net, shape, str(folder / "model.onnx")


@pytest.mark.slow
@pytest.mark.parametrize("rows", [None, 1])
@pytest.mark.parametrize("name", NETS)
def test_an_exported_network_has_the_same_logits_and_the_same_verdict(
    name: str, rows: int | None, tmp_path: Path
) -> None:
    net, shape, path = exported(name, tmp_path, rows)
    found = bs.load_model(path)
    x = torch.rand(24, *shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        wanted = net(x)
        assert found.access is Need.GRAD
        assert torch.allclose(found.logits(x), wanted, atol=1e-5)
        assert torch.allclose(found.logits(x[:1]), wanted[:1], atol=1e-5)
    ours, theirs = (bs.evaluate(one, x, wanted.argmax(1), threat="linf:0.1", protocol=QUICK) for one in (path, net))
    assert ours.results == theirs.results


# Types that torch has not (or cannot compute with), what is for training only, and outputs that no graph here needs.
LEFT_OUT = (
    "uint16",
    "uint32",
    "uint64",
    "empty_set",
    "with_argmax",
    "bfloat16",
    "align_corners",
    "fp16",
    "bitwise_not_3d",
)


def tensors(values: list[Any]) -> list[Any] | None:
    try:
        return [torch.from_numpy(np.array(value)) for value in values]
    except (TypeError, ValueError):  # or a sequence
        return None


@pytest.mark.slow
def test_the_standards_own_cases_are_answered_as_it_says() -> None:
    """Those of operators that are known, more than a thousand; only the first output of a layer normalisation."""
    pytest.importorskip("onnx")
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cases = collect_testcases(None)
    asked = sum(agrees(case) for case in cases if not any(word in case.name for word in LEFT_OUT))
    assert asked > 1000


def agrees(case: Any) -> int:
    """How many outputs were compared."""
    from blindspots.models.onnx.graph import computed, unknown
    from blindspots.models.onnx.node import UntranslatedError
    from blindspots.models.onnx.reading import graph_of

    if case.model is None or unknown(graph := graph_of(case.model)):
        return 0
    ((given, wanted),) = case.data_sets
    inputs = tensors(given)
    if inputs is None or not all(isinstance(one, np.ndarray) for one in wanted):
        return 0
    values: dict[str, Any] = dict(zip((one.name for one in case.model.graph.input), inputs, strict=True))
    values |= graph.constants
    try:
        for node in graph.nodes:
            values |= computed(node, values)
    except UntranslatedError:
        return 0
    pairs = [(values[name].numpy(), one) for name, one in zip(graph.outputs, wanted, strict=True) if name in values]
    for found, one in pairs:
        np.testing.assert_allclose(found, one, rtol=case.rtol, atol=max(case.atol, 1e-6), err_msg=case.name)
    return len(pairs)
