"""Where fooled inputs go: the dominant labels of a perturbation."""

from collections.abc import Sequence

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from blindspots.errors import InputError
from blindspots.experiments.universal.verdict import DominantLabels, Edge

_DOMINANT = 20
_TOP = (1, 5, 10)


def dominant_labels(clean: Tensor, moved: Tensor, classes: int) -> DominantLabels:
    """The directed graph of Moosavi-Dezfooli et al. 2017 (fig. 7), with the shares that the paper only draws.

    An edge i -> j says that of the fooled inputs of class i the most were taken for j; ties go to the lower class.
    Classes of which no input was fooled have no edge, and classes that no edge touches are in no component.
    The paper goes by labels; here a class is what the model says of the clean input, as in the fooling rate.

    Args:
        clean, moved: (n,) int64 predictions of the same inputs without and with the perturbation; an input with a
            prediction below 0 (no number) is left out.
        classes: how many there are; predictions are below.

    Raises:
        InputError: the two differ in shape, or hold a class that does not exist.
    """
    before, after = clean.cpu().numpy().astype(np.int64), moved.cpu().numpy().astype(np.int64)
    if before.shape != after.shape or before.ndim != 1:
        raise InputError(
            f"expected clean and moved predictions (n,) of the same inputs, got {before.shape} and {after.shape}: "
            "give both for the same rows"
        )
    if max(before.max(initial=-1), after.max(initial=-1)) >= classes:
        raise InputError(
            f"expected predictions below {classes}, got {max(before.max(), after.max())}: give the number of classes"
        )
    fooled = (before != after) & (before >= 0) & (after >= 0)
    edges = _edges(before[fooled], after[fooled], classes)
    taken = np.bincount(after[fooled], minlength=classes)
    order = np.argsort(-taken, kind="stable")
    total = max(int(fooled.sum()), 1)
    return DominantLabels(
        edges=edges,
        components=_components(edges, classes),
        dominant=[(int(k), int(taken[k])) for k in order[:_DOMINANT] if taken[k]],
        top_share={str(k): float(taken[order[:k]].sum() / total) for k in _TOP},
    )


def _edges(before: np.ndarray, after: np.ndarray, classes: int) -> list[Edge]:
    pairs, counts = np.unique(before * classes + after, return_counts=True)
    sources, targets = np.divmod(pairs, classes)
    rows = np.bincount(before, minlength=classes)
    commonest = np.lexsort((targets, -counts, sources))  # by source, the largest count first, then the lower target
    first = commonest[np.unique(sources[commonest], return_index=True)[1]]
    return [
        Edge(source=int(sources[i]), to=int(targets[i]), rows=int(rows[sources[i]]), most=int(counts[i])) for i in first
    ]


def _components(edges: Sequence[Edge], classes: int) -> list[list[int]]:
    """The largest first, then by their lowest class."""
    if not edges:
        return []
    ends = np.array([(e.source, e.to) for e in edges])
    graph = coo_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(classes, classes))
    _, member = connected_components(graph, directed=True, connection="weak")
    groups: dict[int, list[int]] = {}
    for k in np.unique(ends):
        groups.setdefault(int(member[k]), []).append(int(k))
    return sorted(groups.values(), key=lambda g: (-len(g), g[0]))
