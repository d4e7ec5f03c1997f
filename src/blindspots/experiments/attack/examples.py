"""What an attack made, as files: pictures that still fool, the exact tensors, a contact sheet, a table."""

from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from io import BytesIO
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from safetensors.torch import save
from torch import Tensor

from blindspots.attacks import Lattice
from blindspots.box import to_8bit
from blindspots.engine.jobs import Jobs, Samples, fixed
from blindspots.engine.ledger import Ledger
from blindspots.engine.loop import Search, Settings
from blindspots.experiments.attack.found import Found, as_csv, safe
from blindspots.goals import Goal
from blindspots.models.model import Model
from blindspots.objective import Objective
from blindspots.oracle import Oracle
from blindspots.pictures import is_image, picture, picture_of_change
from blindspots.problem import Need, Problem
from blindspots.rows import Around
from blindspots.tables.encoding import decoded
from blindspots.tables.threat import TableThreat
from blindspots.threat import Threat

_SHEET, _ABREAST = 24, 3  # examples on the contact sheet, and in one line of it
_SIDE = 128  # px of a picture in it


@dataclass(frozen=True)
class Example:
    """One line of the table. `norm`, `norm_8bit`: distances from the clean input in the run's threat."""

    row: int
    label: str
    prediction: str
    confidence: float
    norm: float
    norm_8bit: float
    survives_8bit: bool  # the stored 8-bit picture fools the model within the threat, into the same class
    picture: str  # file name; empty where there is none


def example_files(
    found: Found, model: Model, threat: Threat, goal: Goal, names: Sequence[str] | None, pictures: int
) -> dict[str, bytes]:
    """The adversarial examples of a run as files, by name.

    `examples.safetensors` holds all of them exactly (`adversarial`) and as 8-bit levels (`adversarial_8bit`, uint8
    between the model's bounds); `examples.csv` one line each; for images `pictures/` the first `pictures` as PNG, and
    `contact_sheet.png` some of them: original, amplified change, adversarial. Of a table there are `rows.csv` with its
    columns instead, and no levels. Where rounding to 8 bits would undo an
    example, it is repaired on the levels (see `attacks.Lattice`), if it can be.
    """
    if isinstance(threat, TableThreat):
        return _row_files(threat, names, found)
    rounded, survives = _on_levels(model, threat, goal, found)
    table = _table(names, threat, found, rounded, survives, pictures)
    files = {
        "examples.safetensors": _tensors(model, found, rounded),
        "examples.csv": as_csv((f.name for f in fields(Example)), map(astuple, table)),
    }
    if is_image(found.x.shape[1:]):
        for line, x in zip(table[:pictures], rounded, strict=False):
            files[f"pictures/{line.picture}"] = _png(_scaled(model, x))
        files["contact_sheet.png"] = _png(_contact_sheet(model, table, found, rounded))
    return files


def _row_files(threat: TableThreat, names: Sequence[str] | None, found: Found) -> dict[str, bytes]:
    """The examples of a table: the exact tensors, and `rows.csv` with every column after and before."""
    name = (lambda k: names[k]) if names else str
    after, before = (decoded(threat.table, x.numpy()) for x in (found.adversarial, found.x))
    sizes = threat.distance(found.adversarial, found.x).tolist()
    head = ["row", "label", "prediction", f"change ({threat.name})", *after, *(f"{column} before" for column in before)]
    columns = (*after.values(), *before.values())
    lines = [
        (int(found.id[i]), name(int(found.y[i])), name(int(found.prediction[i])), size, *(_cell(c[i]) for c in columns))
        for i, size in enumerate(sizes)
    ]
    return {"examples.safetensors": save(found.tensors), "rows.csv": as_csv(head, lines)}


def _cell(value: Any) -> Any:
    """As a person wrote it: a float32 has no more digits than these."""
    return str(np.float32(value)) if isinstance(value, float) else value


def _on_levels(model: Model, threat: Threat, goal: Goal, found: Found) -> tuple[Tensor, Tensor]:
    """The examples on the 256 levels, and whether they still are examples: (k, ...), (k,) bool."""
    box = model.box.to(found.adversarial.device)
    nearest = box.clip(to_8bit(found.adversarial, box))
    # Nothing more is asked of a model that counts its answers; levels mean little where outputs are numbers, or where
    # every feature has its own.
    if model.access is not Need.GRAD or not goal.classifies or not threat.even or not len(nearest):
        same = found.prediction_8bit == found.prediction
        return nearest, same & threat.holds(nearest, Around(found.x, threat.reach(found.x)))
    oracle = Oracle(model)
    with oracle.session():
        ledger = _repair(oracle, threat, found)
    return torch.where(_wide(ledger.won, nearest), ledger.best, nearest), ledger.won


def _repair(oracle: Oracle, threat: Threat, found: Found) -> Ledger:
    """A search on the levels for points that are still taken for the same wrong class."""
    problem = Problem(Objective(targeted=True, loss="margin"), threat, oracle.model.rejects)
    samples = Samples(found.id, found.x, found.y, threat.reach(found.x)).to(oracle.device)
    logits = oracle.goal.scores(oracle.logits(samples.x), samples.y)
    jobs = Jobs(samples, logits, fixed(found.adversarial.to(oracle.device)), found.prediction[:, None], 1, 0, 0)
    ledger = Ledger.blank(samples.x, problem.objective.margin(logits, samples.y, found.prediction.to(oracle.device)))
    Search(Lattice(), oracle, problem, jobs, ledger, torch.arange(len(found.y)), Settings(stop_early=True)).run()
    return ledger.to(torch.device("cpu"))


def _wide(mask: Tensor, like: Tensor) -> Tensor:
    return mask.view(-1, *[1] * (like.ndim - 1))


def _table(
    names: Sequence[str] | None, threat: Threat, found: Found, rounded: Tensor, survives: Tensor, pictures: int
) -> list[Example]:
    name = (lambda k: names[k]) if names else str
    shown = is_image(found.x.shape[1:])
    norm, norm_8bit = threat.distance(found.adversarial, found.x), threat.distance(rounded, found.x)
    lines = []
    for i in range(len(found.y)):
        row, label, prediction = int(found.id[i]), name(int(found.y[i])), name(int(found.prediction[i]))
        file = f"{row:05d}-{safe(label)}-as-{safe(prediction)}.png" if shown and i < pictures else ""
        sizes = float(found.confidence[i]), float(norm[i]), float(norm_8bit[i])
        lines.append(Example(row, label, prediction, *sizes, bool(survives[i]), file))
    return lines


def _tensors(model: Model, found: Found, rounded: Tensor) -> bytes:
    box = model.box.to(rounded.device)
    columns = found.tensors
    columns["adversarial_8bit"] = ((rounded - box.lo) / box.width * 255).round().to(torch.uint8).contiguous()
    return save(columns)


def _png(image: Image.Image) -> bytes:
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _scaled(model: Model, x: Tensor) -> Image.Image:
    lo, hi = model.bounds
    return picture(((x - lo) / (hi - lo)).numpy())


def _contact_sheet(model: Model, table: list[Example], found: Found, rounded: Tensor) -> Image.Image:
    """Original, change and adversarial side by side, with what they are taken for; three examples in a line."""
    count, gap, text = min(len(table), _SHEET), 8, 18
    wide, high = 3 * _SIDE + 5 * gap, _SIDE + text + gap
    sheet = Image.new("RGB", (_ABREAST * wide, gap + -(-max(count, 1) // _ABREAST) * high), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for i in range(count):
        left, top = i % _ABREAST * wide + gap, i // _ABREAST * high + gap
        words = table[i].label, f"x {_factor(found.x[i], rounded[i], model):.0f}", table[i].prediction
        for image, word in zip(_three(model, found.x[i], rounded[i]), words, strict=True):
            sheet.paste(image, (left, top), image if image.mode == "RGBA" else None)
            draw.text((left, top + _SIDE + 1), word[:18], fill="black", font=font)
            left += _SIDE + gap
    return sheet


def _factor(x: Tensor, adversarial: Tensor, model: Model) -> float:
    lo, hi = model.bounds
    return (hi - lo) / max(float((adversarial - x).abs().max()), 1e-12)


def _three(model: Model, x: Tensor, adversarial: Tensor) -> Iterator[Image.Image]:
    lo, hi = model.bounds
    change = np.asarray((adversarial - x) / (hi - lo)) * _factor(x, adversarial, model)
    for image in (_scaled(model, x), picture_of_change(change), _scaled(model, adversarial)):
        yield image.resize(
            (_SIDE, _SIDE), Image.Resampling.NEAREST if max(image.size) < _SIDE else Image.Resampling.BOX
        )
