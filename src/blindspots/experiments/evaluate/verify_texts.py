"""What is looked at of a shard of texts: its lattices as JSON, read by other code than that which made them."""

import json
import zlib
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blindspots.errors import InputError
from blindspots.experiments.evaluate.validity import checks_of, judged, read, with_kept
from blindspots.experiments.evaluate.verify_rows import ALREADY_TARGET, IMMOVABLE, Look
from blindspots.experiments.evaluate.verify_shard import Problems, Shard
from blindspots.models.texts import TokenModel
from blindspots.runs.experiment import Columns
from blindspots.runs.world import World
from blindspots.texts.codes import as_codes
from blindspots.texts.pairs import free_of
from blindspots.texts.threats import TextThreat, parse_text_threat
from blindspots.texts.words import words

Array = NDArray[Any]
_ROUNDING = 1e-5


class TextShard(Shard):
    """A shard whose points are code points."""

    @cached_property
    def lattices(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(zlib.decompress(self["lattices"].tobytes()))
        return found

    def changes(self, points: Array) -> Array:
        """How many places of each broken row are exchanged in its point (k, L); inf: more than may be."""
        rows = zip(points, self["broken"].tolist(), self.allowed.tolist(), strict=True)
        found = [exchanges(self.lattices[row], decoded(point), most) for point, row, most in rows]
        return np.array(found, dtype=np.float64)

    @cached_property
    def allowed(self) -> Array:
        """How many places of each broken row may be exchanged."""
        radius = self.threat.radius
        fixed = getattr(self.data, "fixed", None)  # without the data all words of a pair count
        places = [self._units(free_of(self.lattices[row]["text"], fixed)) for row in self["broken"].tolist()]
        if radius is None or radius >= 1 or radius == 0:
            return np.full(len(places), np.inf if radius is None else radius)
        return np.array([max(1, round(radius * n - 0.5 + 1e-9)) for n in places], dtype=np.float64)

    def _units(self, text: str) -> int:
        """What a share is of: characters or words."""
        return len(text) if self.threat.name == "edits" else len(words(text))


def decoded(codes: Array) -> str:
    """The text of code points (L,), up to its padding; zeros inside of it are no padding."""
    return "".join(map(chr, codes.astype(int).tolist())).rstrip("\0")


def exchanges(lattice: dict[str, Any], text: str, most: float) -> float:
    """The fewest exchanges that make the text, by breadth: after each place, where reading can stand at what price."""
    clean, ends = lattice["text"], {0: 0}
    edges = [place["span"] for place in lattice["places"]]
    starts = [0, *(b for _, b in edges)]
    for (a, b), start, place in zip(edges, starts, lattice["places"], strict=False):
        between = clean[start:a]
        reached: dict[int, int] = {}
        for at, price in ends.items():
            if text[at : at + len(between)] != between:
                continue
            for word, more in [(clean[a:b], 0), *((word, 1) for word in place["may be"])]:
                end = at + len(between) + len(word)
                if price + more <= most and text[at + len(between) : end] == word:
                    reached[end] = min(price + more, reached.get(end, price + more))
        ends = reached
    rest = clean[starts[-1] :]
    prices = [price for at, price in ends.items() if text[at:] == rest]
    return min(prices, default=np.inf)


def topics(world: World, preflight: Columns) -> Iterator[tuple[str, tuple[Look, ...]]]:
    """Claims about a shard of texts besides those about any rows."""
    if world.same.get("data") and world.same.get("model"):
        looks = partial(_thresholds, world, preflight), partial(_checked, world, preflight)
        yield "what the checks say of every adversarial text was found again", looks
        if (threat := world.once("threat again", partial(with_candidates, world))) is not None:
            yield "every adversarial text is made of candidates that were found again", (partial(_offered, threat),)
    if world.same.get("model"):
        yield "what every exchange does was found again", (_paths,)
    yield "every text has its lattice", (_lattices,)
    yield "every adversarial text is made by exchanges that its lattice allows, and by few enough", (_made, _sizes)


def with_candidates(world: World) -> TextThreat | None:
    """The threat with the candidates that the run had; None: they were no words, or their files are gone or others."""
    config, model = world.config, world.named("model")
    reader, fixed = model if isinstance(model, TokenModel) else None, getattr(world.data, "fixed", None)
    candidates, digest = (getattr(config, name, None) for name in ("candidates", "limits"))
    try:
        threat = parse_text_threat(str(getattr(config, "threat", "")))
        threat = replace(threat, candidates=candidates, reader=reader, fixed=fixed)
        return threat if threat.digest == (digest or "") else None
    except InputError:
        return None


def _offered(threat: TextThreat, s: Shard) -> Problems:
    """By the lattices of today, whatever the stored ones hold."""
    assert isinstance(s, TextShard)
    again = [json.loads(threat.lattice(decoded(row)).to_json()) for row in s.of_broken(s.x.numpy())]
    for name in ("adversarial", "nearest"):
        rows = zip(again, s[name], s.allowed.tolist(), strict=True)
        wrong = np.array([exchanges(lattice, decoded(point), most) == np.inf for lattice, point, most in rows])
        yield from s.told(wrong, s.of_broken(s.id), f"{name} made of the candidates of its text", "others")


def _thresholds(world: World, preflight: Columns, s: Shard) -> Problems:
    """The checks are those of the manifest, and their thresholds are calibrated again."""
    again, kept = checks_of(world), read(preflight)
    if again.spec != kept.spec:
        yield f"expected the checks {again.spec}, found {kept.spec} in the preflight part"
        return
    for name, threshold in again.thresholds.items():
        if not np.isclose(threshold.value, kept.thresholds[name].value, rtol=1e-3, atol=1e-5):
            yield f"expected a threshold of {threshold.value:g} for {name}, found {kept.thresholds[name].value:g}"


def _checked(world: World, preflight: Columns, s: Shard) -> Problems:
    """With the thresholds that were kept; the checks themselves are fitted again on the data."""
    if checks_of(world).spec != read(preflight).spec:
        return
    again = judged(with_kept(checks_of(world), preflight), s.x, s.columns)
    off = np.abs(again["checked"].numpy() - s["checked"]) > _ROUNDING * (1 + np.abs(s["checked"]))
    yield from s.told(off.any(1), s.of_broken(s.id), "the stored values of the checks", "others")
    yield from s.told(again["valid"].numpy() != s["valid"], s.of_broken(s.id), "the stored validity", "another")


def _paths(s: Shard) -> Problems:
    """Exchanges are made one after the other in the clean text, and end with the adversarial one."""
    assert isinstance(s, TextShard)
    wrong = np.zeros(len(s["broken"]), dtype=bool)
    for i, row in enumerate(s["broken"].tolist()):
        mine = s["path_of"] == i
        path = list(zip(s["path_place"][mine].tolist(), s["path_choice"][mine].tolist(), strict=True))
        wrong[i] = not _is_path(s.lattices[row], path)
        if not wrong[i]:
            texts = list(_along(s.lattices[row], path))
            scores = s.model.logits(as_codes(texts, s.x.shape[1])).softmax(1)[:, int(s["y"][row])].cpu().numpy()
            close = np.allclose(scores, s["path_score"][mine], atol=1e-4)
            wrong[i] = not close or texts[-1] != decoded(s["adversarial"][i])
    yield from s.told(wrong, s.of_broken(s.id), "the stored effect of every exchange", "another")
    if not np.isin(s["path_of"], np.arange(len(wrong))).all():
        yield f"expected exchanges of the {len(wrong)} broken rows alone, found some of others ({s.name})"


def _is_path(lattice: dict[str, Any], path: list[tuple[int, int]]) -> bool:
    """Whether it has an exchange, each of another place, for a candidate that is there."""
    places = lattice["places"]
    there = all(0 <= place < len(places) and 0 < c <= len(places[place]["may be"]) for place, c in path)
    return there and 0 < len(path) == len({place for place, _ in path})


def _along(lattice: dict[str, Any], path: list[tuple[int, int]]) -> Iterator[str]:
    """The text with the first exchange of a path, with the first two, and so on."""
    for k in range(1, len(path) + 1):
        yield written(lattice, {place: lattice["places"][place]["may be"][c - 1] for place, c in path[:k]})


def _between(lattice: dict[str, Any]) -> list[str]:
    """What stands before, between and behind the places."""
    text, spans = lattice["text"], [place["span"] for place in lattice["places"]]
    starts, stops = [0, *(b for _, b in spans)], [*(a for a, _ in spans), len(text)]
    return [text[a:b] for a, b in zip(starts, stops, strict=True)]


def written(lattice: dict[str, Any], now: dict[int, str]) -> str:
    """The text with these words at these places."""
    kept = _between(lattice)
    words = [now.get(i, place["is"]) for i, place in enumerate(lattice["places"])]
    return kept[0] + "".join(word + behind for word, behind in zip(words, kept[1:], strict=True))


def _lattices(s: Shard) -> Problems:
    assert isinstance(s, TextShard)
    texts = [decoded(row) for row in s.x.numpy()]
    other = np.array([lattice["text"] != text for lattice, text in zip(s.lattices, texts, strict=True)])
    yield from s.told(other, s.id, "the lattice of the stored text", "that of another one")
    empty = np.array([not any(place["may be"] for place in lattice["places"]) for lattice in s.lattices])
    result, nothing = s["result"], empty & s["right"]
    other = (result == IMMOVABLE) & ~nothing | nothing & ~np.isin(result, [IMMOVABLE, ALREADY_TARGET])
    yield from s.told(other, s.id, "nothing to change exactly where no place has a candidate", "another result")
    wrong = np.array([not _fits(lattice) for lattice in s.lattices])
    yield from s.told(wrong, s.id, "places and candidates that differ from what is there", "others")


def _fits(lattice: dict[str, Any]) -> bool:
    text, places = lattice["text"], lattice["places"]
    return all(place["is"] == text[slice(*place["span"])] and place["is"] not in place["may be"] for place in places)


def _made(s: Shard) -> Problems:
    assert isinstance(s, TextShard)
    for name in ("adversarial", "nearest"):
        other = np.isinf(s.changes(s[name]))
        yield from s.told(other, s.of_broken(s.id), f"{name} made by exchanges within {s.threat.spec}", "others")


def _sizes(s: Shard) -> Problems:
    assert isinstance(s, TextShard)
    id, stored, size = s.of_broken(s.id), s.of_broken(s["norm"]), s.changes(s["nearest"])
    yield from s.told(~s["won"] & ~np.isposinf(s["norm"]), s.id, "no distance where nothing was broken", "one")
    yield from s.told(stored != size, id, "the stored distance to be that of the nearest example", "another one")
    yield from s.told(size > s.changes(s["adversarial"]), id, "no adversarial example nearer than the nearest", "one")
