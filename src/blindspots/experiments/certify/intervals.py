"""Interval bounds: how many exchanges a text withstands at least, whatever stands at the exchanged places.

Interval bound propagation over what may stand at each place (Jia et al. 2019, arXiv 1909.00986; Huang et al. 2019,
arXiv 1909.01492) bounds all exchanges at once. Here a budget of exchanges is followed through the layers, by what each
place can change on its own: see `following`.
"""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from blindspots.errors import InputError
from blindspots.experiments.certify.additive import ROUNDING
from blindspots.experiments.certify.exchanges import Exchanges
from blindspots.experiments.certify.following import Bounds, Followed, Sums
from blindspots.experiments.certify.reading import Reading, check_words, read, tokens_of
from blindspots.models.foreign import call
from blindspots.models.texts import TextModel, TokenModel
from blindspots.texts.lattice import Lattice
from blindspots.texts.threats import TextThreat

LAYERS = (nn.Embedding, nn.Conv1d, nn.Linear, nn.ReLU, nn.Dropout, nn.Identity)
_ALIKE = 1e-4  # of the largest score: how far what is followed may be from what the model says
_PROBE = Lattice("a film", ((0, 1),), (("the",),))


def certify_interval(model: TextModel, threat: TextThreat, texts: Sequence[str]) -> Exchanges:
    """How many exchanges each text withstands at least.

    Args:
        model: a network of `LAYERS`, with maxima, sums and means over time, behind a tokenizer of words.
        threat: its lattices; the radius does not matter. Of a text where an exchange changes the number of tokens, so
            that others move, nothing is proved.

    Raises InputError: the network has other layers, which are named.
    """
    network = followable(model)
    tops = model.of(texts).argmax(1)
    rows = [withstood(network, threat.lattice(text), top) for text, top in zip(texts, tops.tolist(), strict=True)]
    return Exchanges(tops, torch.tensor(rows, dtype=torch.int64))


def followable(model: TextModel) -> TokenModel:
    """The model. Raises InputError: bounds cannot be followed through it."""
    if not isinstance(model, TokenModel):
        raise InputError(
            f"expected a network and its tokenizer for bounds, got {model.name}, which shows its answers alone: "
            "certify the vote under exchanges instead (votes)"
        )
    check_words(model)
    for name, layer in model.net.named_modules():
        if not any(True for _ in layer.children()) and not isinstance(layer, LAYERS):
            known = ", ".join(kind.__name__ for kind in LAYERS)
            raise InputError(
                f"expected layers among {known} for bounds, got {type(layer).__name__} ({name or 'all of it'}) in "
                f"{model.name}: certify the vote under exchanges instead (votes)"
            )
    probe = reading_of(model, _PROBE)
    assert probe is not None
    said, followed = model.of([_PROBE.text])[0].double(), _followed(model, probe, 1).bounds().value[0].cpu()
    if followed.shape != said.shape or (followed - said).abs().max() > _ALIKE * said.abs().max().clamp_min(1):
        raise InputError(
            f"expected a network whose head says all that {model.name} answers, got other scores when it was followed: "
            "certify the vote under exchanges instead (votes)"
        )
    return model


def withstood(model: TokenModel, lattice: Lattice, top: int) -> int:
    """How many exchanges leave the class `top`, at least: all places there are if none matter."""
    reading = reading_of(model, lattice)
    if reading is None:
        return 0
    most = sum(len(place) > 1 for place in reading.choices)
    if most == 0 or _stays(model, reading, most, top):
        return len(lattice.spans)
    sure, open_ = 0, most  # what holds for more exchanges holds for fewer
    while open_ - sure > 1:
        middle = (sure + open_) // 2
        sure, open_ = (middle, open_) if _stays(model, reading, middle, top) else (sure, middle)
    return sure


def reading_of(model: TokenModel, lattice: Lattice) -> Reading | None:
    """The tokens of all texts of a lattice; None where exchanges move others, or are part of longer words."""
    reading = read(partial(tokens_of, check_words(model)), lattice)
    return reading if reading is not None and reading.even else None


def _stays(model: TokenModel, reading: Reading, most: int, top: int) -> bool:
    """Whether the score of `top` is above all others, for all texts within so many exchanges."""
    out = _followed(model, reading, most)
    value = out.bounds().value[0]
    lead = _differences(out, top).low[0]
    others = torch.arange(len(lead), device=lead.device) != top
    return bool((lead[others] > ROUNDING * value.abs().max()).all())


def _differences(out: Followed, top: int) -> Bounds:
    """Of the score of one class and each other one, as one layer with the last one if that is linear."""
    classes = out.shape[1]
    eye = torch.eye(classes, dtype=torch.float64, device=out.bounds().value.device)
    each = eye[top] - eye
    if isinstance(out, Bounds) and out.last is not None:
        before, weight, bias = out.last
        return before.affine(torch.nn.functional.linear, each @ weight, None if bias is None else each @ bias)
    return out.affine(torch.nn.functional.linear, each, None).bounds()


@torch.no_grad()
def _followed(model: TokenModel, reading: Reading, most: int) -> Followed:
    """The scores of all texts within `most` exchanges."""
    ids = torch.tensor([reading.clean], device=model.device)
    z = _embedded(model, reading, ids[0])
    counts = tuple(len(place) - 1 for place in reading.choices if len(place) > 1)
    started = Sums(z, counts, most)

    def reads(z: Followed) -> Followed:
        scores: object = model.reads(z, ids, torch.ones_like(ids, dtype=torch.bool))  # type: ignore[arg-type]
        if not isinstance(scores, Followed) or scores.ndim != 2:
            raise InputError(f"expected scores (B, C) that depend on the embeddings, got others from {model.name}")
        return scores

    with model.borrowed():
        return call(reads, started, f"a network {model.name!r}")


def _embedded(model: TokenModel, reading: Reading, clean: Tensor) -> Tensor:
    """The embeddings (1 + D, T, E) of the text as it is, and of each text with one exchange."""
    rows = [clean]
    for start, (_, *others) in zip(reading.starts(), reading.choices, strict=True):
        for tokens in others:
            row = clean.clone()
            row[start : start + len(tokens)] = torch.tensor(tokens, dtype=clean.dtype, device=clean.device)
            rows.append(row)
    embedded: Tensor = model.tokens(torch.stack(rows))
    return embedded.double()
