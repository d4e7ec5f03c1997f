"""Every number of the verdict a second time, by numpy, scipy and formulas of its own."""

import math
from typing import Any

import numpy as np
from scipy.stats import chi2_contingency, norm, spearmanr

from blindspots.runs.again import Array, share
from blindspots.runs.experiment import Columns
from blindspots.runs.store import Parts

KINDS = ("adversarial", "against", "universal", "random", "rows")
LESSONS = ("random", "shifted", "control")
_KEPT = 50


def plain(columns: Columns) -> dict[str, Array]:
    """As arrays."""
    return {name: values.numpy() for name, values in columns.items()}


class Recount:
    """Numbers of a verdict from the parts of its run."""

    def __init__(self, parts: Parts, shown: Array) -> None:
        self.parts, self.shown = parts, shown
        self.rows = plain(parts["rows"])
        self.slopes = "curvature" in parts

    def numbers(self) -> dict[str, Any]:
        """All of them."""
        there = self.slopes
        return {
            "rows": len(self.rows["at"]),
            "crossings": [self._crossing(kind) for kind in KINDS if f"crossings/{kind}" in self.parts],
            "slices": [self._slice(name) for name in self.parts if name.startswith("slices/")],
            "curvature": self._curvature() if there else [],
            "boundary": self._boundary() if there else None,
            "spectrum": self._spectrum() if there else None,
            "subspace": self._subspace() if there else None,
            "angles": self._angles() if "angles" in self.parts else None,
            "features": [self._feature(kind) for kind in LESSONS if f"features/{kind}" in self.parts],
        }

    def _crossing(self, kind: str) -> dict[str, Any]:
        labels = self.parts[f"crossings/{kind}"]["labels"].numpy()
        firsts, gone = [], 0
        for own, seen in zip(self.rows["prediction"], labels, strict=True):
            if seen[0] < 0:
                continue
            gone += 1
            steps = [k for k, y in enumerate(seen, 1) if y != own]
            firsts += [steps[0] / len(seen)] if steps else []
        return {
            "kind": kind, "crossed": share(len(firsts), gone), "first": float(np.median(firsts)) if firsts else None
        }  # fmt: skip

    def _slice(self, name: str) -> dict[str, Any]:
        _, i, kind = name.split("/")
        c = plain(self.parts[name])
        asked = c["asked"] & (c["label"] >= 0)
        return {
            "row": int(self.rows["at"][self.shown[int(i)]]), "second": kind, "points": c["label"].size,
            "forwards": int(asked.sum()), "regions": len(set(c["label"].flat) - {-1}),
        }  # fmt: skip

    # -------------------------------------------------------------- around rows

    def _curvature(self) -> list[dict[str, Any]]:
        c = plain(self.parts["curvature"])
        return [self._turned(c, i) for i in range(len(c["lengths"]))]

    def _turned(self, c: dict[str, Array], i: int) -> dict[str, Any]:
        pairs = [
            (a / s, r / s)
            for a, r, s in zip(c["adversarial"][:, i], c["random"][:, i], c["slope"], strict=True)
            if s > 0 and math.isfinite(a)
        ]
        return {
            "length": float(c["lengths"][i]), "adversarial": _median([a for a, _ in pairs]),
            "random": _median([r for _, r in pairs]), "more": share(sum(a > r for a, r in pairs), len(pairs)),
            "straight": share(sum(a == 0 for a, _ in pairs), len(pairs)),
        }  # fmt: skip

    def _boundary(self) -> dict[str, Any]:
        c = plain(self.parts["boundary"])
        found = c["found"]
        near = c["distance"][found]
        return {
            "found": share(found.sum(), len(found)), "median": _median(near),
            "confidence": correlation(near, self.rows["odds"][found], c["null"]),
        }  # fmt: skip

    def _spectrum(self) -> dict[str, Any] | None:
        c = plain(self.parts["boundary"])
        if len(c["normals"]) < 2:
            return None
        own = np.linalg.svd(c["normals"].astype(float), compute_uv=False) ** 2
        own = np.concatenate([own, np.zeros(len(c["normals"]) - len(own))])
        random = np.linalg.svd(c["random_gram"], compute_uv=False, hermitian=True)
        (first, many), (first_random, many_random) = _spread(own), _spread(random)
        return {
            "rows": len(c["normals"]), "dimensions": c["normals"].shape[1], "energy": first,
            "energy_random": first_random, "effective": many, "effective_random": many_random,
        }  # fmt: skip

    def _subspace(self) -> dict[str, Any]:
        c = plain(self.parts["subspace"])
        pairs = [(int(k), int(n)) for k, n in zip(c["crossed"], c["tried"], strict=True) if n]
        return {
            "length": float(c["length"][0]), "median": float(np.median(c["predicted"])),
            "tried": sum(n for _, n in pairs), "share": float(np.mean([k / n for k, n in pairs])) if pairs else 0.0,
            "whole": share(sum(k == n for k, n in pairs), len(pairs)),
        }  # fmt: skip

    # -------------------------------------------------------------- two models

    def _angles(self) -> dict[str, Any]:
        c = plain(self.parts["angles"])
        return {
            "rows": len(c["cosine"]), "median": float(np.median(c["cosine"])),
            "random": float(np.std(c["random"], ddof=1)),
            "above": share(np.sum(c["cosine"] > np.quantile(c["random"], 0.99)), len(c["cosine"])),
            "transfers": [
                self._transfer(c, "model", "against", "null_forth"), self._transfer(c, "against", "model", "null_back")
            ],
        }  # fmt: skip

    def _transfer(self, c: dict[str, Array], source: str, target: str, null: str) -> dict[str, Any]:
        cosine, fooled = self.transferred(source, target)
        return {
            "source": source, "transferred": share(fooled.sum(), len(fooled)), "fooled": _mean(cosine[fooled]),
            "resisted": _mean(cosine[~fooled]), "correlation": correlation(cosine, fooled.astype(float), c[null]),
        }  # fmt: skip

    def transferred(self, source: str, target: str) -> tuple[Array, Array]:
        """Of rows that both models get right and whose example fools its source: the cosine, and whether both fell."""
        moved, r = plain(self.parts[f"moved/{source}"]), self.rows
        counted = (r["prediction"] == r["y"]) & (r["second_opinion"] == r["y"]) & (moved[source] != r["y"])
        return self.parts["angles"]["cosine"].numpy()[counted], (moved[target] != r["y"])[counted]

    # -------------------------------------------------------------- features

    def _feature(self, kind: str) -> dict[str, Any]:
        c = plain(self.parts[f"features/{kind}"])
        classes = int(c["classes"][0])
        counts = np.zeros((classes, classes))
        np.add.at(counts, (c["y"], c["target"]), 1)
        counts = counts[counts.any(1)][:, counts.any(0)]
        dependence = chi2_contingency(counts, correction=False).pvalue if min(counts.shape) > 1 else 1.0
        return {
            "kind": kind, "rows": len(c["y"]), "believed": share(np.sum(c["believed"] == c["target"]), len(c["y"])),
            "accuracy": share(np.sum(c["answers"] == c["truth"]), len(c["truth"])), "chance": 1 / classes,
            "dependence": float(dependence), "steps": int(c["steps"][0]),
        }  # fmt: skip


def rank_correlation(a: Array, b: Array) -> float:
    """Spearman's; 0 where one does not vary."""
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    return float(spearmanr(a, b).statistic)


def correlation(a: Array, b: Array, null: Array) -> dict[str, Any]:
    """With the interval of Bonett and Wright, and the p of the random orders that are stored."""
    rho = rank_correlation(a, b)
    interval = None
    if len(a) >= 5 and abs(rho) < 1:
        reach = norm.isf(0.025) * math.sqrt((1 + rho * rho / 2) / (len(a) - 3))
        interval = [math.tanh(math.atanh(rho) + sign * reach) for sign in (-1, 1)]
    return {
        "rows": len(a), "value": rho, "interval": interval,
        "p": (1 + sum(abs(r) >= abs(rho) - 1e-12 for r in null)) / (1 + len(null)),
    }  # fmt: skip


def _median(values: Any) -> float | None:
    return float(np.median(values)) if len(values) else None


def _mean(values: Array) -> float | None:
    return float(np.mean(values)) if len(values) else None


def _spread(squares: Array) -> tuple[list[float], float]:
    """What the first directions hold of the energy, and in how many it lies."""
    squares = np.sort(squares)[::-1]
    shares = squares / squares.sum()
    return np.add.accumulate(shares)[:_KEPT].tolist(), float(squares.sum() ** 2 / (squares**2).sum())
