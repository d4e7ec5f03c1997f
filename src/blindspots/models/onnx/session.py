"""A graph that onnxruntime computes: what the network really answers, without gradients."""

import hashlib
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from blindspots.errors import InputError

_LOGGED = 4  # nothing: errors are raised as well, and warnings are for those who export


class Session(nn.Module):
    """A ModelProto of one input as a network: it returns a tensor, or where there are several a dictionary by name.

    Args:
        content: the bytes of the model, weights included.
        where: what sentences call it.
    """

    def __init__(self, content: bytes, where: str) -> None:
        super().__init__()
        self.content, self.where = content, where
        self.session = _session(content, where)
        self.input, self.outputs = self.session.get_inputs()[0].name, [o.name for o in self.session.get_outputs()]

    def __deepcopy__(self, memo: dict[int, Any]) -> "Session":
        return self  # it learns nothing, and a session of onnxruntime has no copy

    @torch.no_grad()
    def forward(self, x: Tensor) -> Any:
        found = self.session.run(self.outputs, {self.input: x.detach().cpu().numpy()})
        tensors = [torch.from_numpy(np.array(one)).to(x.device) for one in found]
        return tensors[0] if len(tensors) == 1 else dict(zip(self.outputs, tensors, strict=True))

    def extra_repr(self) -> str:
        return f"sha256={hashlib.sha256(self.content).hexdigest()}"


def _session(content: bytes, where: str) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # threads decide the last bits
    options.log_severity_level = _LOGGED
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # those of the runtime have no class in common
        said = " ".join(str(error).split())[:300]
        raise InputError(
            f"expected a model that onnxruntime can compute in {where!r}, got: {said}: export it again"
        ) from error
