"""From a file of ONNX to a model: translated where that is known to be right, else asked through onnxruntime."""

from collections.abc import Iterator
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
from blindspots.models.onnx.form import Fed, Form, form_of
from blindspots.models.onnx.graph import Graph, Network, all_nodes, folded, needed, unknown
from blindspots.models.onnx.reading import expanded, graph_of, read
from blindspots.models.onnx.scores import only_scores, without_maps, without_softmax
from blindspots.models.onnx.session import Session
from blindspots.problem import Need

_ROUNDING = ("QuantizeLinear", "DynamicQuantizeLinear")  # of what depends on inputs: no gradient passes


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
    translation, with gradients. Else, and where an operator or one of its settings is not known or the graph rounds
    (quantised models), the model is known by the scores that onnxruntime gives. `notes` say which, and the gap.

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
    model = Model(known.net, tuple(box), output=known.output, name=name or about.name, spec=spec, class_names=about.class_names or names)
    model.access = Need.GRAD if known.translated else Need.VALUE
    model.remarks = (*known.notes, *_of_ends(left_out))
    return model


def _check_installed(where: str) -> None:
    try:
        import onnx
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"expected onnx and onnxruntime to be installed, to read {where!r}: pip install 'blindspots[onnx]'"
        ) from error


def _about(proto: Any, path: Path) -> About:
    said = {entry.key: entry.value for entry in proto.metadata_props}.get(ABOUT)
    return About(name=path.stem, bounds=(0.0, 1.0)) if said is None else About.read(said, str(path))


def _of_ends(left_out: list[str]) -> Iterator[Finding]:
    for kind in left_out:
        yield _note("onnx-logits", f"The graph ends in a {kind}.", "Its scores are taken from before it.")


def _note(code: str, saw: str, do: str) -> Finding:
    return Finding(code=code, severity="note", saw=saw, do=do)


class _Known:
    """What is known of a graph once its translation was compared with onnxruntime.

    Attributes:
        net: the translation, or else the session of onnxruntime.
        translated: whether it is the translation.
        output: what its outputs mean.
        notes: what a reader should know.
    """

    def __init__(self, proto: Any, where: str, box: Box) -> None:
        graph, refusal = _graph(proto)
        self.form = form_of(proto, graph, where)
        session = Fed(_batched(Session(proto.SerializeToString(), where), self.form), self.form, exact=True)
        self.x, self.answers = probes(session, self.form.shape, box)
        self.output: Output = "probabilities" if _are_probabilities(self.answers) else "auto"
        self.notes = list(self.form.notes())
        net, said = (None, refusal) if refusal else self._translation(graph)
        self.net, self.translated = net or session, net is not None
        self.notes.insert(0, said if isinstance(said, Finding) else _by_scores(said))

    def _translation(self, graph: Graph) -> tuple[nn.Module | None, Finding | str]:
        """The translation and what was measured, or the reason why there is none."""
        try:
            net = Fed(_batched(Network(graph), self.form), self.form, exact=False)
            apart = gap(net, self.x, self.answers)
        except Exception as error:  # noqa: BLE001 - whatever a translation raises that does not fit
            return None, f"its translation failed ({told(error)})"
        if not apart <= AGREEMENT:
            return None, f"its translation differs from onnxruntime by up to {apart:.2g} of the largest score"
        saw = f"The graph was translated to torch; it differs from onnxruntime by up to {apart:.2g} of the largest score."
        return net, _note("onnx-translated", saw, f"Measured on {len(self.x)} inputs within the bounds; nothing to do.")


def _graph(proto: Any) -> tuple[Graph, str]:
    """The graph to be computed, and why it cannot be translated: "" if it can."""
    original = needed(graph_of(proto))
    try:
        graph = folded(graph_of(expanded(proto)))
    except Exception as error:  # noqa: BLE001 - weights that no operator takes, or functions that do not fit
        return original, f"its weights could not be read ({told(error)})"
    lacking = unknown(graph)
    rounding = sorted({node.kind for node in all_nodes(graph)} & {*_ROUNDING})
    if rounding:
        return graph, f"it rounds to few bits ({', '.join(rounding)}), and rounding has no gradient"
    return graph, f"it contains {', '.join(lacking)}, which has no translation" if lacking else ""


def _by_scores(reason: str) -> Finding:
    saw = f"The graph is known by the scores that onnxruntime gives, without gradients: {reason}."
    do = "Evaluate the network it was exported from as well, if you have it: gradients find more."
    return _note("onnx-scores", saw, do)


def _batched(net: nn.Module, form: Form) -> nn.Module:
    return net if form.rows is None else Batched(net, form.rows, form.rows)


def _are_probabilities(answers: Any) -> bool:
    if not isinstance(answers, Tensor) or answers.ndim != 2 or answers.shape[1] < 2:
        return False
    return bool((answers >= 0).all() and torch.allclose(answers.sum(1), torch.ones(len(answers), dtype=answers.dtype), atol=1e-4))
