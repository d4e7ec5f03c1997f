"""From a file of ONNX to a model: translated where that is known to be right, else asked through onnxruntime."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from blindspots.arguments import checked
from blindspots.box import Box, Numbers, as_box
from blindspots.errors import InputError
from blindspots.findings import Finding
from blindspots.models.about import ABOUT, About
from blindspots.models.batched import Batched
from blindspots.models.foreign import told
from blindspots.models.model import Model, Output
from blindspots.models.onnx.agreement import AGREEMENT, gap, probes
from blindspots.models.onnx.form import Fed, Form, form_of, note
from blindspots.models.onnx.graph import Graph, Network, all_nodes, folded, needed, of_any_rows, unknown
from blindspots.models.onnx.guided import Guided
from blindspots.models.onnx.operators.layers import in_training
from blindspots.models.onnx.operators.quantised import ROUNDING
from blindspots.models.onnx.reading import expanded, graph_of, read
from blindspots.models.onnx.scores import only_scores, without_maps, without_softmax
from blindspots.models.onnx.session import Session
from blindspots.problem import Need

_ROUGHLY = (
    0.1  # the largest gap at which the gradients of a graph that rounds are an aid, relative to the largest score
)
_ONE = 1e-4  # by which the sum of probabilities may differ from 1


@checked()
def from_onnx(
    file: str | Path,
    bounds: tuple[Numbers, Numbers] | None = None,
    name: str | None = None,
    spec: str | None = None,
) -> Model:
    """The model in an ONNX file (needs the extra `onnx`: onnx and onnxruntime).

    Its operators are translated to torch (those of CNNs, ResNets, vision transformers, LSTMs, GRUs and MLPs; opsets 11
    to 22, others as far as they are the same), and the translation is compared with onnxruntime on inputs within the
    bounds, in one batch and row by row. Where the largest gap is at most 1e-4 of the largest score, the model is the
    translation, with gradients. A graph that rounds (a quantised model) keeps the scores that onnxruntime gives, and
    gets the gradients of its translation, straight through the rounding, where the gap is at most 0.1. Else, and where
    an operator or one of its settings is not known, the model is known by its scores. `notes` say which, and the gap.

    These shapes of graphs are recognised, and said in notes: whole numbers as input (of pictures: 0 to 255), a scale
    of 0 to 255 that the graph divides by itself, (rows, height, width, channels), a fixed number of rows, softmax or
    sigmoid at the end (left out, so scores are logits), and labels beside a ZipMap of probabilities.

    Args:
        file: with its weights inside, or in files of the same folder.
        bounds: the smallest and the largest value an input can have, or arrays of them. Default: those in the file's
            metadata (key "blindspots.json": {"name": ..., "bounds": [low, high], "class_names": [...]}), else (0, 1).
        name: its name in reports. Default: from the metadata, else the file's.
        spec: what `load_model` was given, if anything.

    Raises:
        InputError: onnx or onnxruntime is not installed, or it is no graph of one input x (B, ...) with scores.
    """
    path, where = Path(file), str(file)
    _check_installed(where)
    proto = read(path)
    about = _about(proto, path)
    names = without_maps(proto)
    only_scores(proto, where)
    left_out = without_softmax(proto)
    box = as_box(*(bounds or about.bounds))
    known = _Known(proto, where, box)
    model = Model(
        known.net,
        (box.lo, box.hi),
        output=known.output,
        name=name or about.name,
        spec=spec,
        class_names=about.class_names or names,
    )
    model.access = known.access
    model.remarks = (*known.notes, *_of_ends(left_out))
    return model


def _check_installed(where: str) -> None:
    try:
        import_module("onnx"), import_module("onnxruntime")
    except ImportError as error:
        raise InputError(
            f"expected onnx and onnxruntime to be installed, to read {where!r}: pip install 'blindspots[onnx]'"
        ) from error


def _about(proto: Any, path: Path) -> About:
    said = {entry.key: entry.value for entry in proto.metadata_props}.get(ABOUT)
    return About(name=path.stem, bounds=(0.0, 1.0)) if said is None else About.read(said, str(path))


def _of_ends(left_out: list[str]) -> Iterator[Finding]:
    for kind in left_out:
        yield note("onnx-logits", f"The graph ends in a {kind}.", "Its scores are taken from before it.")


class _Known:
    """What is known of a graph once its translation was compared with onnxruntime.

    Attributes:
        net: the translation, the session of onnxruntime, or where the graph rounds the latter guided by the former.
        access: what it reveals.
        output: what its outputs mean.
        notes: what a reader should know.
    """

    def __init__(self, proto: Any, where: str, box: Box) -> None:
        graph, refusal = _graph(proto)
        rounding = sorted({node.kind for node in all_nodes(graph)} & ROUNDING)
        form = _row_by_row(form_of(proto, graph, box, where), rounding)
        asked = Fed(_batched(Session(proto.SerializeToString(), where), form), form, exact=True)
        x, answers = probes(asked, form.shape, box)
        self.output: Output = "probabilities" if _are_probabilities(answers) else "auto"
        limit = _ROUGHLY if rounding else AGREEMENT
        tried: list[_Tried] = [] if refusal else list(_translations(graph, form, x, answers, limit))
        best = min(tried, key=lambda one: one.apart, default=_Tried(refusal))
        self.net: nn.Module = asked
        self.access, said = Need.VALUE, _by_scores(best.said)
        if best.apart <= limit:
            self.access, said = Need.GRAD, _translated(best.apart, len(x))
            self.net = best.net
        if best.apart <= limit and rounding:
            self.net, said = Guided(asked, best.net), _guided(rounding, best.apart)
        self.notes = [said, *form.notes()]


def _row_by_row(form: Form, rounding: list[str]) -> Form:
    """For one row at a time where a graph takes its scale of rounding from all rows of a batch."""
    return replace(form, dims=(1, *form.dims[1:])) if "DynamicQuantizeLinear" in rounding else form


@dataclass(frozen=True)
class _Tried:
    """A translation, and how far apart from onnxruntime it is: the largest gap relative to the largest score."""

    said: str  # why it is not taken, where it is not
    net: nn.Module = field(default_factory=nn.Identity)
    apart: float = math.inf


def _translations(graph: Graph, form: Form, x: Tensor, answers: Any, limit: float) -> Iterator[_Tried]:
    """For any number of rows, which is faster; if that fails, for the number that the graph was exported for."""
    free = graph if form.rows is None else of_any_rows(graph, form.rows)
    first = _tried(Fed(Network(free), form, exact=False), x, answers)
    yield first
    if form.rows is not None and not first.apart <= limit:
        yield _tried(Fed(_batched(Network(graph), form), form, exact=False), x, answers)


def _tried(net: nn.Module, x: Tensor, answers: Any) -> _Tried:
    try:
        apart = gap(net, x, answers)
    except Exception as error:  # noqa: BLE001 - whatever a translation that does not fit raises
        return _Tried(f"its translation failed ({told(error)})")
    return _Tried(f"its translation differs from onnxruntime by up to {apart:.2g} of the largest score", net, apart)


def _graph(proto: Any) -> tuple[Graph, str]:
    """The graph to be computed, and why it cannot be translated: "" if it can."""
    try:
        graph = folded(needed(graph_of(expanded(proto))))
    except Exception as error:  # noqa: BLE001 - settings of operators, or weights of a type that torch has not
        return needed(graph_of(proto)), f"it cannot be translated ({told(error)})"
    lacking = unknown(graph)
    if lacking:
        return graph, f"{', '.join(lacking)} has no translation"
    if any(map(in_training, all_nodes(graph))):
        return graph, "it was exported in training (BatchNormalization in training mode), so rows see their neighbours"
    return graph, ""


def _translated(apart: float, count: int) -> Finding:
    saw = f"The graph was translated to torch; it differs from onnxruntime by up to {apart:.2g} of the largest score."
    return note("onnx-translated", saw, f"Nothing to do: this was measured on {count} inputs within the bounds.")


def _guided(rounding: list[str], apart: float) -> Finding:
    saw = (
        f"The graph rounds to few bits ({', '.join(rounding)}). Its scores are those of onnxruntime; gradients pass "
        f"straight through the rounding of its translation, which differs by up to {apart:.2g} of the largest score."
    )
    return note(
        "onnx-guided", saw, "Such gradients aid the search; evaluate the network in floats it was made from, too."
    )


def _by_scores(reason: str) -> Finding:
    saw = f"The graph is known by the scores that onnxruntime gives, without gradients: {reason}."
    return note("onnx-scores", saw, "If you have the network it was exported from, evaluate that: gradients find more.")


def _batched(net: nn.Module, form: Form) -> nn.Module:
    return net if form.rows is None else Batched(net, form.rows, form.rows)


def _are_probabilities(answers: Any) -> bool:
    if not isinstance(answers, Tensor) or answers.ndim != 2 or answers.shape[1] < 2:
        return False
    sums = answers.double().sum(1)
    return bool((answers >= 0).all() and torch.allclose(sums, torch.ones_like(sums), rtol=0, atol=_ONE))
