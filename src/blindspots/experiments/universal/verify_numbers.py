"""The numbers of a universal run, computed a second time from its parts: numpy, scipy and scikit-learn alone."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigvalsh
from sklearn.metrics import accuracy_score
from sklearn.preprocessing import normalize

from blindspots.ball import parse_ball
from blindspots.experiments.universal.config import UniversalConfig
from blindspots.experiments.universal.verdict import CONTROLS_NAMED, UniversalVerdict
from blindspots.runs.again import SLACK, share
from blindspots.runs.store import Parts

Array = NDArray[Any]
_SQUARES = 1e-9  # of the largest square of a singular value: what is left of a zero by rounding
_CURVED = ("singular", "universal", "random")


def sizes(spec: str, v: Array) -> Array:
    """Of perturbations (k, *shape) in a threat's norm, linf or l2: (k,) float64."""
    flat = np.abs(v.reshape(len(v), -1).astype(np.float64))
    largest: Array = flat.max(1) if parse_ball(spec).name == "linf" else np.sqrt((flat**2).sum(1))
    return largest


class Numbers:
    """Of one run. `names` and `digests`: of the network itself, then of the others."""

    def __init__(self, config: UniversalConfig, parts: Parts, names: Sequence[str], digests: Sequence[str]) -> None:
        self.config, self.parts, self.names, self.digests = config, parts, names, digests
        self.fit, self.held = (self._rows(parts.joined(name)) for name in ("fit", "heldout"))
        self.found = self._rows(parts["search"])

    @staticmethod
    def _rows(columns: Any) -> dict[str, Array]:
        return {name: t.numpy() for name, t in columns.items()}

    def all(self, stored: UniversalVerdict) -> dict[str, Any]:
        """The verdict again. Where float32 or roots of rounding decide the last digits, stored ones that are near."""
        effects = {
            f"{name}{suffix}": self._effect(rows, column)
            for name, rows in (("fit", self.fit), ("heldout", self.held))
            for suffix, column in (("", "moved"), ("_unclipped", "unclipped"))
        }
        controls = dict(self._controls())
        passes = self.found["passes"].tolist()
        norm = float(sizes(self.config.threat, self.found["v"]).max())
        return {
            **effects,
            "fooling_rate_fit": effects["fit"]["fooled"]["share"],
            "fooling_rate_heldout": effects["heldout"]["fooled"]["share"],
            "interval": effects["heldout"]["fooled"]["interval"],
            "fooling_rate_heldout_unclipped": effects["heldout_unclipped"]["fooled"]["share"],
            "controls": controls,
            "control_rates": {name: share["share"] for name, share in controls.items()},
            "norm": stored.norm if abs(stored.norm - norm) <= SLACK * norm else norm,
            "passes": len(passes),
            "forwards": passes[-1][0] if passes else 0,
            "backwards": passes[-1][1] if passes else 0,
            "history": [
                {"number": i + 1, "fooled_fit": rate, "forwards": f, "backwards": b}
                for i, (rate, (f, b)) in enumerate(zip(self.found["fooled"].tolist(), passes, strict=True))
            ],
            "period": int(self.found["period"][0]) or None,
            "trials": [
                {"period": period or None, "start": start, "passes": n, "fooled": rate}
                for (period, start, n), rate in zip(
                    self.found["trials"].tolist(), self.found["trial_fooled"].tolist(), strict=True
                )
            ],
            **self._studies(),
            "labels": Labels(*(np.concatenate([self.held[c], self.fit[c]]) for c in ("clean", "moved"))).all(),
            "geometry": self._geometry(stored) if self.config.geometry else None,
        }

    # -------------------------------------------------------------- rates

    def _fooled(self, clean: Array, moved: Array) -> dict[str, Any]:
        """Pairs (before, after) that count as fooled, of those that count."""
        target, pairs = self.config.target, Counter(zip(clean.tolist(), moved.tolist(), strict=True))
        if target is None:
            return share(sum(n for (a, b), n in pairs.items() if a != b), len(clean))
        counted = {pair: n for pair, n in pairs.items() if pair[0] != target}
        return share(sum(n for (_, b), n in counted.items() if b == target), sum(counted.values()))

    def _heldout(self, moved: Array) -> dict[str, Any]:
        return self._fooled(self.held["clean"], moved)

    def _effect(self, rows: dict[str, Array], column: str) -> dict[str, Any]:
        right, still = (int(accuracy_score(rows["y"], rows[c], normalize=False)) for c in ("clean", column))
        n = len(rows["y"])
        return {
            "fooled": self._fooled(rows["clean"], rows[column]),
            "clean_accuracy": share(right, n),
            "accuracy": share(still, n),
        }

    def _controls(self) -> Iterator[tuple[str, dict[str, Any]]]:
        c = self._rows(self.parts["controls"])
        for kind, moved in zip(c["kind"].tolist(), c["moved"], strict=True):
            yield CONTROLS_NAMED[kind], self._heldout(moved)

    def _studies(self) -> dict[str, Any]:
        c, parts = self.config, self.parts
        again = [self._rows(columns) for columns in parts.below("several")]
        vs = [self.found["v"], *(one["v"] for one in again)]
        flat = normalize(np.stack([v.ravel().astype(np.float64) for v in vs]))
        several = [self.held["moved"], *(one["moved"] for one in again)]
        return {
            "against_norm": list(self._against_norm()) if "norms" in parts else [],
            "against_images": [
                {"images": n, "fooled": self._heldout(parts[f"images/{n}"]["moved"].numpy())} for n in c.images
            ],
            "inner_products": [[float(a @ b) for b in flat] for a in flat] if c.several else [],
            "several": [self._heldout(moved) for moved in several] if c.several else [],
            "on_models": list(self._on_models()),
            "cross": self._cross() if c.cross else None,
        }

    def _against_norm(self) -> Iterator[dict[str, Any]]:
        c = self._rows(self.parts["norms"])
        for radius, moved, random in zip(c["radius"].tolist(), c["moved"], c["random"], strict=True):
            yield {"radius": radius, "fooled": self._heldout(moved), "random": self._heldout(random)}

    def _on_models(self) -> Iterator[dict[str, Any]]:
        below = [self._rows(columns) for columns in self.parts.below("models")]
        for name, digest, c in zip(self.names[1:], self.digests[1:], below, strict=True):
            fooled, random = (self._fooled(c["clean"], c[column]) for column in ("moved", "random"))
            yield {"model": name, "digest": digest, "fooled": fooled, "random": random}

    def _cross(self) -> dict[str, Any]:
        tried = [self._rows(columns) for columns in self.parts.below("crossed")]
        made = range(len(self.names))
        return {
            "models": list(self.names),
            "fooled": [[self._fooled(c["clean"], c["moved"][i]) for c in tried] for i in made],
        }

    # -------------------------------------------------------------- geometry

    def _geometry(self, stored: UniversalVerdict) -> dict[str, Any]:
        c, said = self._rows(self.parts["geometry"]), stored.geometry
        assert said is not None
        squares, random = (np.maximum(eigvalsh(c[name])[::-1], 0) for name in ("gram", "random_gram"))
        n, size = len(squares), int(c["dimensions"][0])
        curvature = {name: np.sort(c[f"curvature_{name}"]) for name in _CURVED}
        return {
            "rows": n,
            "dimensions": size,
            "singular_values": _roots(squares[: min(size, 500)], said.singular_values),
            "singular_values_random": _roots(random[: min(size, 500)], said.singular_values_random),
            "energy": {
                str(k): [float(s[:k].sum() / s.sum()) for s in (squares, random)]
                for k in (1, 10, 100)
                if k <= min(n, size)
            },
            "span": int(c["span"][0]),
            "norm": float(c["norm"][0]),
            "fooled_in_span": _differ(c["clean"], c["in_span"]),
            "fooled_random": _differ(c["clean"], c["random"]),
            "curvature": {name: float(v[(len(v) - 1) // 2]) for name, v in curvature.items() if len(v)},
        }


def _roots(squares: Array, stored: Sequence[float]) -> list[float]:
    """The stored singular values where their squares are these, else the roots of these."""
    near = len(stored) == len(squares) and np.allclose(np.square(stored), squares, rtol=0, atol=_SQUARES * squares[0])
    return list(stored) if near else np.sqrt(squares).tolist()


def _differ(clean: Array, moved: Array) -> dict[str, Any]:
    return share(int(np.count_nonzero(clean != moved)), len(clean))


class Labels:
    """Where fooled rows go, row by row: predictions (n,) without and with the perturbation."""

    def __init__(self, clean: Array, moved: Array) -> None:
        self.pairs = Counter((a, b) for a, b in zip(clean.tolist(), moved.tolist(), strict=True) if a != b)
        self.edges = [self._edge(source) for source in sorted({a for a, _ in self.pairs})]

    def _edge(self, source: int) -> dict[str, int]:
        to = {b: n for (a, b), n in self.pairs.items() if a == source}
        most = min(to, key=lambda b: (-to[b], b))
        return {"source": source, "to": most, "rows": sum(to.values()), "most": to[most]}

    def all(self) -> dict[str, Any]:
        """As the verdict has them."""
        taken = Counter[int]()
        for (_, b), n in self.pairs.items():
            taken[b] += n
        order = sorted(taken.items(), key=lambda item: (-item[1], item[0]))
        total = max(sum(taken.values()), 1)
        return {
            "edges": self.edges,
            "components": self._components(),
            "dominant": [list(pair) for pair in order[:20]],
            "top_share": {str(k): sum(n for _, n in order[:k]) / total for k in (1, 5, 10)},
        }

    def _components(self) -> list[list[int]]:
        groups: list[set[int]] = []
        for edge in self.edges:
            ends = {edge["source"], edge["to"]}
            met = [group for group in groups if group & ends]
            groups = [group for group in groups if not group & ends] + [ends.union(*met)]
        return sorted((sorted(group) for group in groups), key=lambda group: (-len(group), group[0]))
