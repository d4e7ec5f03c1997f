"""An evaluation of a model behind an address: what it may cost, what it will cost, and what it came to."""

import hashlib
import math
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import torch
from torch import Tensor

from blindspots.engine.cascade import Stage, stops_early
from blindspots.engine.shard import LOOKS_AFTER
from blindspots.errors import InputError
from blindspots.experiments.evaluate.config import Batched
from blindspots.experiments.evaluate.foreseen import Foreseen, made, searches_begin
from blindspots.experiments.evaluate.verdict import Asked, Forecast
from blindspots.findings import Finding
from blindspots.models.blackbox import BlackBox
from blindspots.models.endpoints import Endpoint
from blindspots.models.endpoints.endpoint import PROBES
from blindspots.models.endpoints.spending import Counts, Terms, money
from blindspots.models.guarded_queries import GuardedQueries
from blindspots.models.load import load_model
from blindspots.models.model import Model
from blindspots.preflight import Preflight
from blindspots.problem import Need
from blindspots.runs.experiment import Columns, Part
from blindspots.runs.run import How, run
from blindspots.runs.store import Parts
from blindspots.runs.world import World

QUERIES = "queries"  # the part that holds what was asked
COUNTS = ("answered", "refused", "failed", "lost", "open", "unsent", "again")
_OF_ENDPOINTS = ("price", "max_queries", "max_paid", "answers", "rehearse")
_FIRST = 256  # rows that are looked at in one go
_LOOKED = "looked"  # the mark of how many seconds that took
_MANY = 0.01  # refused: a share worth a warning


def endpoint_of(world: World) -> Endpoint | None:
    """The model's, if it has one."""
    service = world.model.service
    return service if isinstance(service, Endpoint) else None


# ------------------------------------------------------------------ before


def priced(config: Batched, world: World) -> dict[str, Any]:
    """What its price and its limits come to as settings. Raises InputError: no endpoint is asked."""
    endpoint = endpoint_of(world)
    if endpoint is None:
        if given := [name for name in _OF_ENDPOINTS if getattr(config, name) is not None]:
            option = given[0].replace("_", "-")
            raise InputError(
                f"expected a model behind an address for --{option}, got {world.model.name}, which costs nothing: "
                "leave it out"
            )
        return {}
    terms = endpoint.spending.terms
    if config.max_paid is not None and not terms.price:
        raise InputError("expected a price for --max-paid, got none: say what an input costs, as in --price 0.0015")
    most = terms.most
    limits = [limit for limit in (config.max_forwards, None if most is None else most - PROBES) if limit is not None]
    _check_limit(most, len(world.data), config.draws or 1)
    return {"price": terms.price, "free": terms.free, "max_forwards": min(limits, default=None)}


def _check_limit(most: int | None, rows: int, draws: int) -> None:
    needed = draws * rows * (1 + LOOKS_AFTER) + PROBES
    if most is not None and most < needed:
        raise InputError(
            f"expected a budget of at least {needed:,} queries for {rows:,} rows, got one of {most:,}: every row is "
            f"looked at once and every success {LOOKS_AFTER} times more, so raise it or take fewer rows"
        )


def forecast(name: str, config: Batched, world: World, stages: tuple[Stage, ...]) -> dict[str, Any]:
    """Queries, as settings: those of a rehearsal, and as many as there are where no row falls. Says so."""
    endpoint = endpoint_of(world)
    if endpoint is None:
        return {}
    rows = len(world.data)
    each = most_of_a_row(config, stages)
    at_most = rows * (each + (endpoint.levels is None)) + PROBES  # what is rounded to 8 bits may be new
    if config.max_forwards is not None:
        at_most = min(at_most, config.max_forwards + PROBES)
    expected = None if config.rehearse is None else min(at_most, _rehearsed(name, config, world, endpoint))
    early = any(map(stops_early, stages)) or config.max_forwards is not None
    world.say(forecast_in_words(expected, at_most, endpoint.spending.terms, early))
    return {"expected": expected, "at_most": at_most}


def most_of_a_row(config: Batched, stages: tuple[Stage, ...]) -> int:
    """Forwards that the searches of a row take, if it does not fall."""
    each = (config.draws or 1) * (1 + sum(stage.attack.looks * stage.restarts for stage in stages))
    return each if config.row_budget is None else min(each, config.row_budget)


def foreseen(config: Batched, world: World, endpoint: Endpoint, stages: tuple[Stage, ...]) -> Foreseen:
    """What makes the forecasts of this process."""

    def make() -> Foreseen:
        limits = [config.max_forwards, endpoint.spending.terms.most]
        limit = min((n for n in limits if n is not None), default=None)
        each, draws = most_of_a_row(config, stages), config.draws or 1
        return Foreseen(endpoint, each, draws, len(world.data), limit)

    return world.once("foreseen", make)


def forecast_in_words(expected: int | None, at_most: int, terms: Terms, early: bool) -> str:
    """In queries, and in money where they have a price. `early`: whether rows may leave before the end."""

    def cost(queries: int) -> str:
        return f"{queries:,} queries" + (f" for {money(terms.cost(queries))}" if terms.price else "")

    if not early:
        return f"Forecast: {cost(at_most)}, since every row is searched to the end, if none has to be sent again."
    most = f"at most {cost(at_most)}, if no row falls and none has to be sent again"
    return f"Forecast: {most}." if expected is None else f"Forecast: {cost(expected)}, as in the rehearsal; {most}."


class _Rehearsal(BlackBox):
    """A model here that answers as an endpoint would, and counts different inputs."""

    def __init__(self, model: Model, endpoint: Endpoint) -> None:
        labels, self._levels = endpoint.access is Need.LABEL, endpoint.levels
        self.inner, self.seen = model, set[bytes]()
        super().__init__(
            self._answer, "labels" if labels else "scores", endpoint.classes, (0.0, 1.0), name=model.name,
            class_names=endpoint.class_names,
        )  # fmt: skip
        self.box = endpoint.box

    @property
    def levels(self) -> int | None:
        return self._levels

    def _answer(self, x: Any) -> Any:
        self.seen.update(hashlib.sha256(row.tobytes()).digest() for row in x)
        with self.inner.borrowed(), torch.no_grad():
            scores = self.inner.logits(torch.from_numpy(x))
        return scores.argmax(1).numpy() if self.access is Need.LABEL else scores.numpy()


def _rehearsed(name: str, config: Batched, world: World, endpoint: Endpoint) -> int:
    """Queries that the same run takes of another model, which costs nothing."""
    model = _Rehearsal(load_model(str(config.rehearse), world.say), endpoint)
    free = {"price": None, "max_queries": None, "max_paid": None, "answers": None, "rehearse": None}
    given = {**world.given, "model": model, "data": world.data}
    world.say(f"Rehearsing on {model.name}, which costs nothing.")
    run(name, config.model_copy(update={**free, "whole": True}), given, How())
    return len(model.seen) + PROBES - 1


# ------------------------------------------------------------------ on the way


def probed(config: Batched, world: World, endpoint: Endpoint) -> Preflight:
    """Five answers to one row, and the first look at all rows: so their clean accuracy is known whatever happens."""
    began = time.monotonic()
    endpoint.begin(began + (math.inf if config.max_seconds is None else config.max_seconds))
    scores, answered = endpoint.probe(world.data.rows(0, 1)[0]), 0
    for start in range(0, len(world.data), _FIRST):
        seen = endpoint.logits(world.data.rows(start, min(start + _FIRST, len(world.data)))[0])
        answered += int((~seen.isnan().all(1)).sum())
    if endpoint.spent:
        raise InputError(
            f"expected a budget in which {endpoint.name} answers to {len(world.data):,} rows, got one that was spent "
            f"after {answered:,}: raise --max-seconds, --max-queries or --max-paid, or take fewer rows"
        )
    if endpoint.silent:
        raise InputError(endpoint.failure)
    endpoint.spending.mark(_LOOKED, repr(time.monotonic() - began))
    searches_begin(endpoint)
    return Preflight([_about_probes(scores, endpoint)], PROBES, 0)


def seconds_left(config: Batched, endpoint: Endpoint) -> float:
    """Seconds of the run that its first look at all rows has left for searches."""
    if config.max_seconds is None:
        return math.inf
    return max(0.0, config.max_seconds - float(endpoint.spending.marked(_LOOKED) or 0))


def _about_probes(scores: Tensor, endpoint: Endpoint) -> Finding:
    refused = 0 if endpoint.reader is None else int(endpoint.reader.refused(scores).sum())
    if refused and not endpoint.is_random:
        return Finding(
            code="endpoint-watches",
            severity="warning",
            saw=f"{refused} of {PROBES} questions about one and the same input were refused.",
            do="It watches for repeated queries: rows that stand may do so only while it does.",
        )
    if not endpoint.is_random:
        saw = f"{PROBES} answers to the same input were the same, but for rounding."
        return Finding(code="endpoint-steady", severity="note", saw=saw, do="Nothing to do: every input is asked once.")
    labels = len(set(scores.argmax(1).tolist()))
    return Finding(
        code="endpoint-varies",
        severity="warning",
        saw=f"{PROBES} answers to the same input differed, with {labels} different predictions among them.",
        do="The model answers at random: average over several answers, which are all paid for, with --draws 20.",
    )


def counted(endpoint: Endpoint) -> Columns:
    """What was asked by now."""
    counts = endpoint.spending.counts
    said = [[f.after, f.expected, f.least, f.most] for f in made(endpoint)]
    return {
        "counts": torch.tensor([getattr(counts, name) for name in COUNTS]),
        "forecasts": torch.tensor(said, dtype=torch.int64).reshape(-1, 4),
    }


def queries_part(config: Batched, world: World, shards: list[Part]) -> list[Part]:
    """Made last."""
    return [] if endpoint_of(world) is None else [Part(QUERIES, needs=tuple(part.name for part in shards))]


# ------------------------------------------------------------------ after


def watched(model: Model, parts: Parts) -> dict[str, Any]:
    """Fields of the verdict on a model behind a guard of queries."""
    if not isinstance(model, GuardedQueries):
        return {}
    shared = torch.cat([columns["shared"] for columns in parts.below("shards")])
    return {"queries": len(shared), "refused": int((shared > model.guard.threshold).sum())}


def concluded(config: Batched, parts: Parts, evaluations: int) -> dict[str, Any]:
    """Fields of the verdict; `evaluations`: forwards in all."""
    if QUERIES not in parts:
        return {}
    counts = Counts(**dict(zip(COUNTS, parts[QUERIES]["counts"].tolist(), strict=True)))
    terms = Terms(config.price or Decimal(0), config.free)
    asked = Asked(
        answered=counts.answered, failed=counts.failed, lost=counts.lost + counts.open, again=counts.again,
        stored=max(0, evaluations - counts.answered - counts.refused), billed=counts.billed,
        price=money(terms.price), expected=config.expected, at_most=config.at_most or 0,
        expected_paid=None if config.expected is None else money(terms.cost(config.expected)),
        at_most_paid=money(terms.cost(config.at_most or 0)),
        forecasts=tuple(
            Forecast(after=after, expected=expected, least=least, most=most)
            for after, expected, least, most in parts[QUERIES]["forecasts"].tolist()
        ),
    )  # fmt: skip
    paid = money(terms.cost(counts.billed))
    return {"queries": counts.sent, "paid": paid, "refused": counts.refused, "endpoint": asked}


def remarks(queries: int | None, refused: int | None) -> Iterator[Finding]:
    """What to doubt."""
    if queries and refused and refused > _MANY * queries:
        yield Finding(
            code="queries-refused",
            severity="note",
            saw=f"{refused:,} of {queries:,} queries were refused, which counts as no success.",
            do="The model may watch for similar queries: rows that stand may do so only while it does.",
        )
