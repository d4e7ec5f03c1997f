"""An ensemble of trees as a model: answers bit for bit as its library sums them, scores instead of gradients."""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from blindspots.box import Numbers
from blindspots.models.classifiers import Flatten
from blindspots.models.model import Model
from blindspots.models.trees.forest import Forest
from blindspots.problem import Need

_LINKS: dict[str, Callable[[Tensor], Tensor]] = {"identity": Tensor.clone, "exp": torch.exp, "sigmoid": torch.sigmoid}
_TINY = torch.finfo(torch.float32).tiny


class TreeModel(Model):
    """A forest, of which the scores are seen and no gradients: trees have none.

    Of a classifier the scores are its logits, or the logarithm of the probabilities that it averages; the largest is
    that of the class that the library predicts, also where two differ by less than float32 shows. A regressor's values
    are its predictions. Nothing is random, nothing is paid for, and all answers come from the arrays of `forest`: its
    library is not needed, and not asked.

    Args:
        forest: the trees.
        bounds: the smallest and the largest value an input can have, or arrays of them. None: those of the data that
            it is run on (see `Model.bounded`).
        name: its name in reports.
        spec: what `load_model` was given, if anything.
        class_names: names of the classes, in order.
        shape: of one input; others are refused. None: any shape with as many numbers as there are features.
    """

    def __init__(
        self,
        forest: Forest,
        bounds: tuple[Numbers, Numbers] | None = None,
        name: str = "trees",
        spec: str | None = None,
        class_names: Iterable[str] | None = None,
        shape: Sequence[int] | None = None,
    ) -> None:
        flatten = Flatten(forest.features, None if shape is None else tuple(shape))
        output = "values" if forest.of_values else "logit" if forest.outputs == 1 else "logits"
        super().__init__(
            nn.Sequential(flatten, Trees(forest)),
            (0.0, 1.0) if bounds is None else bounds,
            output=output,  # type: ignore[arg-type]  # mypy takes nested conditions for any string
            name=name,
            spec=spec,
            class_names=class_names,
        )
        self.forest, self.access, self.bounded = forest, Need.VALUE, bounds is not None
        self.undone = flatten.undone  # from (B, features) to inputs of the model

    @property
    def parameters(self) -> int:
        """How many thresholds and leaves' values were learned."""
        leaves = int(self.forest.leaf.sum())
        return len(self.forest.feature) - leaves + leaves * self.forest.outputs


class Trees(nn.Module):
    """From float32 (B, features) to a forest's scores (B, K) or values, (B,) where K = 1, in float32."""

    feature: Tensor
    threshold: Tensor
    following: Tensor  # right and left of every node
    value: Tensor
    roots: Tensor
    base: Tensor

    def __init__(self, forest: Forest) -> None:
        super().__init__()
        self.depth, self.link, self.divisor = forest.depth, forest.link, forest.divisor
        self.precision = getattr(torch, forest.precision)
        self.register_buffer("feature", torch.tensor(forest.feature).long().clamp_min(0))  # leaves ask for any
        self.register_buffer("threshold", torch.tensor(forest.threshold))
        children = torch.stack([torch.tensor(forest.right), torch.tensor(forest.left)], 1)
        self.register_buffer("following", children.long().flatten())
        self.register_buffer("value", torch.tensor(forest.value).to(self.precision))
        self.register_buffer("roots", torch.tensor(forest.roots).long())
        self.register_buffer("base", torch.tensor(forest.base).to(self.precision))

    def forward(self, x: Tensor) -> Tensor:
        sums = self.sums(x)
        best = sums == sums.amax(1, keepdim=True)
        if self.link == "probabilities":
            return _rounded(sums.double().clamp_min(_TINY).log(), best)
        if self.link == "logits":
            return _rounded(sums, best)
        values = _LINKS[self.link](sums).float()
        return values.squeeze(1) if values.shape[1] == 1 else values

    def sums(self, x: Tensor) -> Tensor:
        """The K sums of every row in the precision of the library, added up in its order: (B, K)."""
        total: Tensor = self.base.repeat(len(x), 1)
        for values in self.value[self.leaves(x).T].unbind():
            total += values
        return total / self.divisor

    def leaves(self, x: Tensor) -> Tensor:
        """The leaf of every tree to which each row comes: (B, T)."""
        node = self.roots.repeat(len(x), 1)
        for _ in range(self.depth):  # a leaf's children are the leaf itself
            goes_left = x.gather(1, self.feature[node]) < self.threshold[node]
            node = self.following[2 * node + goes_left]
        return node

    def extra_repr(self) -> str:
        return f"link={self.link}, precision={self.precision}, divisor={self.divisor}"


def _rounded(scores: Tensor, best: Tensor) -> Tensor:
    """Scores (B, K) in float32; where rounding has made a class level with the best (B, K), they are one step above."""
    rounded = scores.float()
    others = rounded.masked_fill(best, -torch.inf).amax(1, keepdim=True)
    return torch.where(best & (rounded == others), torch.nextafter(rounded, rounded.new_tensor(torch.inf)), rounded)
