"""A trained network as files that others can load: its weights, and the whole of it as a program."""

import copy
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from io import BytesIO, StringIO

import torch
from safetensors.torch import save
from torch import Tensor, nn

from blindspots.findings import Finding
from blindspots.models.about import ABOUT, About
from blindspots.models.model import Model
from blindspots.models.text_files import DESCRIPTION, WEIGHTS_FILE, described
from blindspots.models.texts import TextModel

PROGRAM = "model.pt2"
_FIXED = 32  # rows per call of a network that cannot be exported for any number; `load_model` fills them up
_ALIKE = 1e-4  # of the row's largest score: how far kernels that the export chose may be away
_TRIED = (1, 2, 5)  # batches on which the program has to answer as the network does


def exported(model: Model, shape: tuple[int, ...]) -> tuple[bytes, list[Finding]]:
    """The bytes of model.pt2 (torch.export), and what is to be known of them.

    The program is `model.logits` of a batch of any size: preprocessing inside, evaluation mode, on the CPU. Bounds and
    name lie beside it in the archive, where `load_model` looks for them.

    Args:
        shape: of one input.

    Returns:
        No bytes, and a finding, where torch.export refuses the network.
    """
    try:
        with _quietly():
            return _exported(_copied(model), shape), []
    except Exception as error:  # noqa: BLE001 (what torch.export raises is not a closed list)
        return b"", [_refused(error)]


def written(model: Model, shape: tuple[int, ...]) -> tuple[bytes, list[Finding]]:
    """What, beside the weights or with them, makes the model again: a program, or of texts a description."""
    if not isinstance(model, TextModel):
        return exported(model, shape)
    description = described(model)
    return description, [] if description else [_unknown(model)]


def program_file(of_texts: bool) -> str:
    """The name of the file that `written` is for."""
    return DESCRIPTION if of_texts else PROGRAM


def weights(state: Mapping[str, Tensor]) -> bytes:
    """The bytes of model.safetensors: every tensor with its own memory, so what shares some is stored twice."""
    return save({name: t.detach().cpu().clone().contiguous() for name, t in state.items()})


class _Whole(nn.Module):
    """The model as a module. What is no module, such as a plain function, is traced through all the same."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.net, self.model = model.net, model
        self.training = False

    def forward(self, x: Tensor) -> Tensor:
        return self.model.logits(x)


def _copied(model: Model) -> Model:
    """On the CPU, in evaluation mode: the given one stays where and as it is."""
    net = copy.deepcopy(model.net).cpu()
    to_evaluation(net)
    return Model(net, model.bounds, model.mean, model.std, model.output, model.name, class_names=model.class_names)


def to_evaluation(net: nn.Module) -> None:
    """What eval() does, which exported modules refuse."""
    for module in net.modules():
        if getattr(module, "training", False):
            module.training = False


def _exported(model: Model, shape: tuple[int, ...]) -> bytes:
    program = _program(_Whole(model), _inputs(model, shape, 2), _inputs(model, shape, _FIXED))
    buffer = BytesIO()
    about = About(name=model.name, bounds=model.bounds, class_names=model.class_names)
    torch.export.save(program, buffer, extra_files={ABOUT: about.model_dump_json(exclude_none=True)})
    return buffer.getvalue()


def _program(whole: _Whole, x: Tensor, many: Tensor) -> torch.export.ExportedProgram:
    """For batches of any size where that is possible, else for one size."""
    try:
        program = torch.export.export(whole, (x,), dynamic_shapes=({0: torch.export.Dim("batch")},))
        _check_alike(program, whole, x)
    except Exception:  # noqa: BLE001
        program = torch.export.export(whole, (many,))
        _check_alike(program, whole, many)
    return program


def _check_alike(program: torch.export.ExportedProgram, whole: _Whole, x: Tensor) -> None:
    exported = program.module()
    for rows in (len(x),) if len(x) == _FIXED else _TRIED:
        part = x.repeat(rows, *[1] * (x.ndim - 1))[:rows]
        ours, theirs = whole(part), exported(part)
        if not torch.allclose(ours, theirs, rtol=0, atol=_ALIKE * float(ours.abs().max())):
            raise ValueError("the exported program answers otherwise than the network")


def _inputs(model: Model, shape: tuple[int, ...], rows: int) -> Tensor:
    low, high = model.bounds
    return low + (high - low) * torch.rand(rows, *shape, generator=torch.Generator().manual_seed(0))


@contextmanager
def _quietly() -> Iterator[None]:
    """torch.export warns, logs and prints what concerns its own insides, also where it succeeds in the end."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stderr(StringIO()), torch.no_grad():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _unknown(model: TextModel) -> Finding:
    return Finding(
        code="export", severity="note",
        saw=f"{model.name} is no network of blindspots, so there is no {DESCRIPTION} that says how it is built.",
        do=f"Load {WEIGHTS_FILE} into the network, in a file.py:factory or in its own folder.",
    )  # fmt: skip


def _refused(error: Exception) -> Finding:
    said = " ".join(str(error).split())
    first = said if len(said) <= 200 else said[:199].rstrip() + "…"
    return Finding(
        code="export", severity="warning",
        saw=f"torch.export does not take this network, so there is no {PROGRAM}: {type(error).__name__}: {first}",
        do=f"Load {WEIGHTS_FILE} into the network in a file.py:factory, or write a forward without branches on values.",
    )  # fmt: skip
