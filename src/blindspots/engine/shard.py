"""What is stored of a shard once its cascade has ended."""

import torch
from torch import Tensor

from blindspots.engine.cascade import SEVERAL, Board
from blindspots.engine.jobs import Samples
from blindspots.engine.result import Result
from blindspots.objective import Objective
from blindspots.oracle import Oracle
from blindspots.packing import pack_inputs
from blindspots.records import NO_TARGET, REJECTED
from blindspots.threat import to_8bit

LOOKS_AFTER = 3


def shard_columns(oracle: Oracle, samples: Samples, board: Board) -> dict[str, Tensor]:
    """The columns that `SHARD` of evaluations names: every success is evaluated again from the bytes that are kept.

    That takes at most `LOOKS_AFTER` evaluations per row.
    """
    ledger = board.ledger
    calls = oracle.forwards
    broken = (board.right & ledger.won).nonzero()[:, 0]
    # In a ball the strongest example is the most telling; without a ball it would be far away, so the nearest is kept.
    strongest = ledger.best if bool(samples.r.isinf().all()) else ledger.near
    logits = _scores(oracle, strongest[broken], board)
    if _silent(oracle):
        strongest, logits = ledger.best, _remembered(ledger.said[broken], board.logits)
    target = board.target[broken]
    fools = _fools(oracle, logits, samples.y[broken], target)
    if strongest is not ledger.best:
        fools &= _fools(oracle, _scores(oracle, ledger.best[broken], board), samples.y[broken], target)
    broken, logits = broken[fools], logits[fools]
    won = torch.zeros_like(board.right).index_fill(0, broken, True)
    stage, counts = torch.where(won, board.stage, -1).to(torch.int16), board.counts.clone()
    counts[:, 1] = stage[broken].long().bincount(minlength=len(counts))
    result = _unconfirmed(oracle, ledger.result, board.right & ledger.won & ~won)
    adversarial = strongest[broken]
    rounded = _scores(oracle, to_8bit(adversarial, oracle.model.bounds), board)
    confidence = logits.softmax(1).amax(1) + (torch.nan if _silent(oracle) else 0)
    in_8bit = torch.full_like(broken, REJECTED) if _silent(oracle) else oracle.predict(rounded)
    unbilled = board.unbilled + torch.tensor([oracle.forwards - calls, 0], device=broken.device)
    probability = board.logits.softmax(1).amax(1)
    columns = {
        "id": samples.id,
        "y": samples.y,
        "x": pack_inputs(samples.x),
        "prediction": oracle.predict(board.logits),
        "confidence": probability,
        "right": board.right,
        "won": won,
        "result": result.to(torch.uint8),
        "target": _target(oracle, board, broken, logits),
        "stage": stage,
        "norm": torch.where(won, ledger.norm, torch.inf),
        "margin": torch.where(board.right & ~won, ledger.margin.clamp_min(0), ledger.margin),
        "forwards": ledger.forwards,
        "backwards": ledger.backwards,
        "broken": broken,
        "adversarial": adversarial,
        "nearest": ledger.best[broken],
        "adversarial_prediction": oracle.predict(logits),
        "adversarial_confidence": confidence,
        "prediction_8bit": in_8bit,
        "stage_counts": counts,
        "unbilled": unbilled,
    }
    return {name: t.cpu().contiguous() for name, t in columns.items()}


def _unconfirmed(oracle: Oracle, result: Tensor, lost: Tensor) -> Tensor:
    """Results (B,) with those of the rows that are `lost`, whose success could not be repeated."""
    service = oracle.model.service
    failed = service is not None and service.failure != ""
    result = torch.where(lost, int(Result.NO_ANSWER if failed else Result.UNCONFIRMED), result)
    return torch.where(result == Result.NONFINITE, int(Result.NO_ANSWER), result) if failed else result


def _silent(oracle: Oracle) -> bool:
    """Whether nothing can be evaluated again: then a success is what the engine itself saw at the nearest example."""
    return oracle.model.service is not None and oracle.model.service.silent


def _remembered(said: Tensor, like: Tensor) -> Tensor:
    """Scores (k, C) of which only the position of the largest is known."""
    scores = torch.full((len(said), like.shape[1]), -torch.inf, device=like.device)
    return scores.scatter(1, said[:, None], 0.0)


def _scores(oracle: Oracle, x: Tensor, board: Board) -> Tensor:
    return oracle.logits(x) if len(x) else board.logits[:0]


def _fools(oracle: Oracle, logits: Tensor, y: Tensor, target: Tensor) -> Tensor:
    """Whether rows are misclassified, and as the target (B,) where there is one."""
    wrong = Objective().margin(oracle.fold(logits, y), y, y) < 0
    return wrong & ((target < 0) | (oracle.predict(logits) == target))


def _target(oracle: Oracle, board: Board, broken: Tensor, logits: Tensor) -> Tensor:
    """Each row's target; where there are several, the one reached or predicted initially, or none."""
    had = torch.where(board.carries, oracle.predict(board.logits), NO_TARGET)
    reached = had.index_copy(0, broken, oracle.predict(logits))
    return torch.where(board.target == SEVERAL, reached, board.target.clamp_min(NO_TARGET))
