"""A certification of texts: bounds or votes for every row, and an attack on what they are about."""

from collections.abc import Mapping
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from blindspots.errors import InputError
from blindspots.experiments.certify.additive import additive
from blindspots.experiments.certify.bounds import ABSTAINS, voted
from blindspots.experiments.certify.config import CertifyConfig, Method
from blindspots.experiments.certify.exchanges import SmoothedTexts
from blindspots.experiments.certify.intervals import followable, reading_of, withstood
from blindspots.experiments.certify.noise import COUNTING, JUDGING, SELECTING
from blindspots.experiments.certify.smoothed import check_samples
from blindspots.experiments.certify.verdict import CertifyVerdict, OfTexts
from blindspots.experiments.evaluate.config import EvaluateConfig
from blindspots.experiments.evaluate.setup import threat_of
from blindspots.experiments.evaluate.texts import named
from blindspots.goals import check_labels
from blindspots.models.texts import TextModel
from blindspots.random import keys
from blindspots.records import Share
from blindspots.runs.experiment import Columns, Part, shards
from blindspots.runs.store import Parts
from blindspots.runs.world import Progress, World
from blindspots.sizes import check_radius
from blindspots.texts.codes import as_texts
from blindspots.texts.lattice import Lattice, packed
from blindspots.texts.threats import TextThreat, Trigger

ATTACKED = "attacked"  # the part that is an evaluation of what is certified
RADII = (0, 1, 2, 3, 5, 8)  # exchanges
_ROWS = 16  # per part


def fitted(config: CertifyConfig, world: World) -> CertifyConfig:
    """Everything filled in. Raises InputError: it cannot be done."""
    threat = _threat(world)
    if isinstance(threat, Trigger):
        raise InputError(f"expected exchanges of words to certify, got {threat.spec}: write words:2")
    check_radius(threat, world.data.shape)
    if threat.radius is None:
        raise InputError(f"expected how many words may be exchanged, got {threat.spec}: write {threat.spec}:2")
    method = _chosen(config.method or "auto", world.named("model"))
    if method == "votes":
        check_samples(config.samples, config.alpha)
    radii = tuple(sorted({0.0, *(_usual(threat) if config.radii is None else config.radii)}))
    return config.model_copy(update={"method": method, "radii": radii, **named(threat)})


def _usual(threat: TextThreat) -> list[float]:
    """Up to the threat's own number, if it has one."""
    assert threat.radius is not None
    own = [threat.radius] if threat.radius >= 1 else []
    return [float(k) for k in (*RADII, *own) if not own or k <= own[0]]


def _threat(world: World) -> TextThreat:
    threat = threat_of(world)
    assert isinstance(threat, TextThreat)
    return threat


def _chosen(asked: Method, model: Any) -> Method:
    """The method, if the model allows it; of "auto" the sharpest one that it allows."""
    able: dict[Method, Any] = {"exact": additive, "interval": followable}
    if asked in able:
        able[asked](model)
    return next((name for name in able if _allows(able[name], model)), "votes") if asked == "auto" else asked


def _allows(check: Any, model: Any) -> bool:
    try:
        check(model)
    except InputError:
        return False
    return True


def passes(config: CertifyConfig, world: World) -> float:
    """About how many texts the model is asked about."""
    return float(len(world.data)) * (config.samples if config.method == "votes" else 1)


# ------------------------------------------------------------------ parts


def parts(config: CertifyConfig, world: World) -> list[Part]:
    """Certificates, the attack as an evaluation, and where a vote was attacked, votes on what that found."""
    rows = shards("rows", len(world.data), _ROWS)
    if not config.draws:
        return rows
    attacked = Part(ATTACKED, run=("evaluate", _evaluation(config, world)))
    judged = Part("judged", (ATTACKED,), range(len(world.data)))
    return [*rows, attacked, *([judged] if config.method == "votes" else [])]


def _evaluation(config: CertifyConfig, world: World) -> EvaluateConfig:
    """Of what is certified: the model, or the vote."""
    data = world.data
    assert config.threat is not None
    return EvaluateConfig(
        whole=True, model=f"{config.model}-smoothed" if config.method == "votes" else config.model,
        data=data.spec or data.name, rows=len(data), layout=getattr(data, "layout", None), classes=config.classes,
        threat=config.threat, candidates=config.candidates, seed=config.seed, device=config.device,
        threads=config.threads, chunk=config.chunk,
    )  # fmt: skip


def inside(config: CertifyConfig, world: World) -> Mapping[str, Any]:
    """What the evaluation is given."""
    threat = {"threat": world.given["threat"]} if "threat" in world.given else {}
    return {"model": certified_model(config, world), "data": world.data, **threat}


def certified_model(config: CertifyConfig, world: World) -> TextModel:
    """The model, or the vote as a model."""
    model = cast(TextModel, world.model)
    if config.method != "votes":
        return model
    return SmoothedTexts(model, _threat(world), draws=max(config.draws, 1), seed=config.seed)


def rows(config: CertifyConfig, world: World, part: Part) -> Columns:
    """Certificates of some texts."""
    model, threat, found = cast(TextModel, world.model), _threat(world), []
    x, y = world.data.rows(part.rows.start, part.rows.stop)
    texts = as_texts(x)
    _prover(config, world)  # asks the model once in a process: no part's cost, which would hang on who makes it
    for k, (i, text) in enumerate(zip(part.rows, texts, strict=True), 1):
        model.forget()  # so that costs are those of this row, whatever was asked before
        before = model.forwarded
        scores = model.of([text])
        check_labels(y[k - 1 : k], scores.shape[1], torch.tensor([i]))
        found.append({
            **_row(config, world, text, i, int(scores.argmax())),
            **_sizes(threat, threat.lattice(text)), "base": int(scores.argmax()), "cost": model.forwarded - before,
        })  # fmt: skip
        world.tell(Progress(part.name, "certifying", k, len(texts)))
    columns = {name: _column([row[name] for row in found]) for name in found[0] if name != "cost"}
    lattices = torch.frombuffer(bytearray(packed(map(threat.lattice, texts))), dtype=torch.uint8)
    cost = torch.tensor([sum(row["cost"] for row in found), 0])
    return {**columns, "y": y, "lattices": lattices, "cost": cost}


def _column(values: list[Any]) -> Tensor:
    if isinstance(values[0], list):
        return torch.tensor([one for several in values for one in several], dtype=torch.float64)
    return torch.stack(values) if isinstance(values[0], Tensor) else torch.tensor(values)


def _sizes(threat: TextThreat, lattice: Lattice) -> dict[str, int]:
    places = len(lattice.spans)
    return {"allowed": int(min(threat.allowed(lattice), places)), "places": places}


def _row(config: CertifyConfig, world: World, text: str, i: int, top: int) -> dict[str, Any]:
    """What is proved of one text, and what proves it."""
    lattice = _threat(world).lattice(text)
    if config.method == "votes":
        smoothed = certified_model(config, world)
        assert isinstance(smoothed, SmoothedTexts)
        key = [int(keys(config.seed, torch.tensor([i]), purpose)[0]) for purpose in (SELECTING, COUNTING)]
        return {"read": True, **vars(smoothed.certificate(text, key, (config.n0, config.samples), config.alpha))}
    prover = _prover(config, world)
    if config.method == "exact":
        return {
            "read": prover.read(lattice) is not None,
            "prediction": top,
            "withstood": prover.withstood(lattice, top),
        }
    followed = reading_of(prover, lattice) is not None
    return {"read": followed, "prediction": top, "withstood": withstood(prover, lattice, top)}


def _prover(config: CertifyConfig, world: World) -> Any:
    """What is read off the model once: its sums, or its network as bounds can follow it; of votes nothing."""
    known = {"exact": additive, "interval": followable}
    if config.method not in known:
        return None
    return world.once("prover", partial(known[config.method], cast(TextModel, world.model)))


def judged(config: CertifyConfig, world: World, needs: Parts) -> Columns:
    """Votes of other draws on what an attack on the mean probabilities found."""
    smoothed = certified_model(config, world)
    assert isinstance(smoothed, SmoothedTexts)
    found = needs.run(ATTACKED).parts.joined("shards")
    broken = found["won"].nonzero()[:, 0]
    smoothed.forget()
    before, votes = smoothed.model.forwarded, []
    for key, text in zip(keys(config.seed, broken, JUDGING).tolist(), as_texts(found["nearest"]), strict=True):
        votes.append(smoothed.votes(text, key, config.judged))
        world.tell(Progress("judged", "judging", len(votes), len(broken)))
    classes = smoothed.of([as_texts(world.data.rows(0, 1)[0])[0]]).shape[1] if not votes else len(votes[0])
    counted = torch.stack(votes) if votes else torch.zeros(0, classes, dtype=torch.int64)
    return {"broken": broken, "votes": counted, "cost": torch.tensor([smoothed.model.forwarded - before, 0])}


# ------------------------------------------------------------------ the end


def conclude(config: CertifyConfig, parts: Parts) -> CertifyVerdict:
    """Counts over all texts."""
    c = {name: t.numpy() for name, t in parts.joined("rows").items()}
    rows, right = len(c["y"]), c["prediction"] == c["y"]
    clean, sure = Share.of(int(right.sum()), rows), np.where(right, c["withstood"], -1)
    fell, valid = fallen(config, parts, c["y"])
    radii = config.radii or ()

    def standing(where: Any) -> Share:
        return Share.of(int((right & where).sum()), rows)

    noisy = None
    if config.method == "votes":
        hits = np.take_along_axis(c["counts"], c["y"][:, None], 1)
        noisy = float(hits.sum() / (rows * config.samples))
    forwards, backwards = _costs(parts)
    attacked = config.draws > 0
    return CertifyVerdict(
        rows=rows,
        clean_accuracy=clean.share,
        clean_interval=clean.interval,
        abstained=Share.of(int((c["prediction"] == ABSTAINS).sum()), rows),
        base=Share.of(int((c["base"] == c["y"]).sum()), rows),
        noisy_accuracy=noisy,
        certified=[(k, standing(sure >= np.minimum(k, c["places"]))) for k in radii],
        empirical=[(k, standing(fell > k)) for k in radii] if attacked else [],
        mean_radius=float(np.maximum(sure, 0).mean()),
        forwards=forwards,
        backwards=backwards,
        texts=OfTexts(
            certified=standing(sure >= c["allowed"]),
            attacked=standing(np.isinf(fell)) if attacked else None,
            adjusted=standing(np.isinf(fell) | ~valid) if attacked else None,
            unread=int((~c["read"]).sum()),
        ),
    )


def fallen(config: CertifyConfig, parts: Parts, y: Any) -> tuple[Any, Any]:
    """(n,) with how many exchanges an attack found another class, inf where it did not; and whether that is valid."""
    size, valid = np.full(len(y), np.inf), np.zeros(len(y), dtype=bool)
    if not config.draws:
        return size, valid
    found = {name: t.numpy() for name, t in parts.run(ATTACKED).parts.joined("shards").items()}
    counts = found["won"].copy()
    if config.method == "votes":
        said = [voted(votes.numpy(), config.alpha) for votes in parts["judged"]["votes"]]
        labels = y[parts["judged"]["broken"].numpy()]
        counts[counts] = [vote not in (label, ABSTAINS) for vote, label in zip(said, labels, strict=True)]
    size[counts] = found["norm"][counts]
    valid[found["won"]] = found["valid"]
    return size, valid & counts


def _costs(parts: Parts) -> tuple[int, int]:
    own = [parts[name]["cost"].tolist() for name in parts if name != ATTACKED]
    forwards, backwards = (sum(column) for column in zip(*own, strict=True))
    if ATTACKED in parts:
        verdict = parts.run(ATTACKED).verdict
        forwards, backwards = forwards + verdict.forwarded, backwards + verdict.backwards
    return forwards, backwards
