"""What is stored of a shard once its cascade has ended."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from blindspots.box import to_8bit
from blindspots.engine.cascade import SEVERAL, Board
from blindspots.engine.jobs import Samples
from blindspots.engine.result import Result
from blindspots.goals import Goal, Measures
from blindspots.oracle import Oracle
from blindspots.packing import pack_inputs, packed_text
from blindspots.records import NO_TARGET, REJECTED
from blindspots.rows import Rows
from blindspots.scenes import FINAL
from blindspots.sounds import Depth, towards

LOOKS_AFTER = 3


def looks_after(goal: Goal) -> int:
    """The most evaluations of a row once its search has ended."""
    return LOOKS_AFTER + (not goal.classifies)


def shard_columns(
    oracle: Oracle, samples: Samples, board: Board, seed: int = 0, *, depth: Depth | None = None
) -> dict[str, Tensor]:
    """The columns that `SHARD` of evaluations names: every success is evaluated again from the bytes that are kept.

    That takes at most `looks_after` evaluations per row. In a scene they are of draws that no search has seen, so what
    is said of a success is not flattered by the search for it; `seed`: of the run; `depth`: of sounds, what their files
    keep.
    """
    goal, ledger = oracle.goal, board.ledger
    calls, judged = oracle.forwards, samples.judged(goal, board.output)
    broken = (board.right & ledger.won).nonzero()[:, 0]
    # In a ball the strongest example is the most telling; without a ball it would be far away, so the nearest is kept.
    unbounded = bool(samples.r.isinf().all()) or _silent(oracle)
    strongest = ledger.best if unbounded else ledger.near
    draws = samples.draws(oracle, seed, FINAL)
    seen = _seen(oracle, judged, board, strongest, broken, draws)
    fools = seen.fools
    if not unbounded:
        fools = fools & _seen(oracle, judged, board, ledger.best, broken, draws).fools
    broken, seen = broken[fools], seen[fools]
    won = torch.zeros_like(board.right).index_fill(0, broken, True)
    stage, counts = torch.where(won, board.stage, -1).to(torch.int16), board.counts.clone()
    counts[:, 1] = stage[broken].long().bincount(minlength=len(counts))
    result = _unconfirmed(oracle, ledger.result, board.right & ledger.won & ~won)
    adversarial = strongest[broken]
    in_8bit = seen.prediction.clone()
    if oracle.model.in_levels:
        rounded = _as_sounds(adversarial, samples.x[broken], depth) if depth else _in_8_bits(adversarial, oracle)
        in_8bit = _said(oracle, judged, board, rounded, broken, draws)
    more = {} if goal.classifies else _measured(oracle, samples, board, draws)
    unbilled = board.unbilled + torch.tensor([oracle.forwards - calls, 0], device=broken.device)
    prediction = goal.predict(board.output, judged.truth)
    columns = {
        "id": samples.id,
        "y": judged.y,
        "x": pack_inputs(samples.x),
        "prediction": prediction,
        "confidence": _confidence(oracle, board.output),
        "right": board.right,
        "won": won,
        "result": result.to(torch.uint8),
        "target": _target(board, prediction, broken, seen.prediction),
        "stage": stage,
        "norm": torch.where(won, ledger.norm, torch.inf),
        "margin": torch.where(board.right & ~won, ledger.margin.clamp_min(0), ledger.margin),
        "forwards": ledger.forwards,
        "backwards": ledger.backwards,
        "broken": broken,
        "adversarial": adversarial,
        "nearest": ledger.best[broken],
        "adversarial_prediction": seen.prediction,
        "adversarial_confidence": seen.confidence,
        "prediction_8bit": in_8bit,
        "stage_counts": counts,
        "unbilled": unbilled,
        **more,
    }
    return {name: t.cpu().contiguous() for name, t in columns.items()}


@dataclass(frozen=True)
class _Seen(Rows):
    """What the model says of adversarial examples."""

    prediction: Tensor  # (k,) int64
    confidence: Tensor  # (k,) float32, NaN where there is no probability
    fools: Tensor  # (k,) bool: the goal is reached, at the target where there is one


def _seen(oracle: Oracle, judged: Samples, board: Board, points: Tensor, at: Tensor, draws: Tensor | None) -> _Seen:
    """What is said of the `points` (N, ...) of the rows `at` (k,)."""
    truth, target = judged.truth[at], board.target[at]
    if _silent(oracle):
        said = board.ledger.said[at]
        return _Seen(said, torch.full_like(board.ledger.norm[at], torch.nan), (target < 0) | (said == target))
    output = _outputs(oracle, points[at], board, _at(draws, at))
    said, reached = oracle.goal.predict(output, truth), oracle.goal.margin(output, truth) < 0
    return _Seen(said, _confidence(oracle, output), reached & ((target < 0) | (said == target)))


def _in_8_bits(points: Tensor, oracle: Oracle) -> Tensor:
    return to_8bit(points, oracle.model.box.to(points.device))


def _as_sounds(points: Tensor, x: Tensor, depth: Depth) -> Tensor:
    return torch.from_numpy(towards(points.cpu().numpy(), x.cpu().numpy(), depth)).to(points.device)


def _said(oracle: Oracle, judged: Samples, board: Board, rounded: Tensor, at: Tensor, draws: Tensor | None) -> Tensor:
    """What is said of points (k, ...) of the rows `at` (k,) as a file keeps them: (k,) int64."""
    if _silent(oracle):
        return torch.full_like(at, REJECTED)
    output = _outputs(oracle, rounded, board, _at(draws, at))
    unanswered = output.isnan().reshape(len(output), math.prod(output.shape[1:])).any(1)
    return oracle.goal.predict(output, judged.truth[at]).masked_fill(unanswered, REJECTED)


def _measured(oracle: Oracle, samples: Samples, board: Board, draws: Tensor | None) -> dict[str, Tensor]:
    """What goals that do not classify report: of the clean inputs, and of the worst points that were found."""
    goal, y, clean, worst = oracle.goal, samples.y, board.output, board.ledger.near
    before = goal.measures(clean, y, clean)
    after = before if _silent(oracle) else goal.measures(_outputs(oracle, worst, board, draws), y, clean)
    names = packed_text("\n".join(before))
    columns = {"measures": _table(before, y), "worst_measures": _table(after, y), "measure_names": names}
    return {"truth": y, "worst": worst, **columns}


def _table(measures: Measures, y: Tensor) -> Tensor:
    """One column (n,) per measure: (n, m)."""
    return torch.stack(list(measures.values()), 1).float() if measures else torch.zeros(len(y), 0)


def _confidence(oracle: Oracle, output: Tensor) -> Tensor:
    if oracle.goal.classifies:
        return output.softmax(1).amax(1)
    return torch.full((len(output),), torch.nan, device=output.device)


def _unconfirmed(oracle: Oracle, result: Tensor, lost: Tensor) -> Tensor:
    """Results (B,) with those of the rows that are `lost`, whose success could not be repeated."""
    service = oracle.model.service
    failed = service is not None and service.failure != ""
    result = torch.where(lost, int(Result.NO_ANSWER if failed else Result.UNCONFIRMED), result)
    return torch.where(result == Result.NONFINITE, int(Result.NO_ANSWER), result) if failed else result


def _silent(oracle: Oracle) -> bool:
    """Whether nothing can be evaluated again: then a success is what the engine itself saw at the nearest example."""
    return oracle.model.service is not None and oracle.model.service.silent


def _outputs(oracle: Oracle, x: Tensor, board: Board, draws: Tensor | None) -> Tensor:
    return oracle.logits(x, draws) if len(x) else board.output[:0]


def _at(draws: Tensor | None, at: Tensor) -> Tensor | None:
    return None if draws is None else draws[at]


def _target(board: Board, prediction: Tensor, broken: Tensor, said: Tensor) -> Tensor:
    """Each row's target; where there are several, the one reached or predicted initially, or none."""
    reached = torch.where(board.carries, prediction, NO_TARGET).index_copy(0, broken, said)
    return torch.where(board.target == SEVERAL, reached, board.target.clamp_min(NO_TARGET))
