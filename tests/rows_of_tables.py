"""Tables whose answers are known, for tests."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import blindspots as bs
from blindspots.ball import Ball
from blindspots.tables.features import Features
from blindspots.tables.threat import TableThreat, ball_of


def features(columns: Mapping[str, Mapping[str, Any]], *relations: str) -> Features:
    """A feature file, from Python."""
    return Features.model_validate({"columns": columns, "relations": [{"holds": text} for text in relations]})


def threat(ball: Ball, table: Features) -> TableThreat:
    return TableThreat(ball_of(ball, table), table)


def write(path: Path, head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A csv file; its name."""
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([head, *rows])
    return str(path)


def quick(folder: Path) -> str:
    """The stages of "tables" that cost least, as a file; its name."""
    stages = (
        ("ignoring", "apgd:steps=10", 'ignores = true\nloss = "ce"'),
        ("gradients", "capgd:steps=8", ""),
        ("columns", "beam:width=2,queries=60", ""),
    )
    kinds = 'threats = ["linf", "l2", "l1", "cost"]'
    text = "\n".join(f'[[stage]]\nname = "{n}"\nattack = "{a}"\n{kinds}\n{more}\n' for n, a, more in stages)
    (folder / "quick.toml").write_text(text)
    return str(folder / "quick.toml")


class Linear(nn.Module):
    """Two classes, by the sign of <w, x> + b: class 1 where it is positive."""

    def __init__(self, w: Sequence[float], b: float) -> None:
        super().__init__()
        self.w, self.b = nn.Parameter(torch.tensor(w)), b

    def forward(self, x: Tensor) -> Tensor:
        z = (x * self.w).sum(1) + self.b
        return torch.stack([-z, z], 1)


URLS = """
[columns.length]
type = "integer"
range = [10, 250]
cost = 0.2
unit = "characters"

[columns.digits]
type = "integer"
range = [0, 200]
cost = 0.5

[columns.digit_ratio]
range = [0, 1]
cost = 1

[columns.scheme]
type = "category"
values = ["ftp", "http", "https"]
cost = 10

[columns.age]
change = "never"
unit = "years"

[[relations]]
holds = "digit_ratio == digits / length"

[[relations]]
holds = "digits <= length - 5"
"""


def urls(folder: Path, rows: int = 40) -> tuple[str, str]:
    """A csv file of addresses, of which the share of digits tells the class, and its feature file."""
    draw = np.random.RandomState(0)
    length, share = draw.randint(20, 200, rows), draw.beta(3, 8, rows)
    digits = np.minimum((length * share).astype(int), length - 5)
    ratio = (digits / length).astype(np.float32)
    scheme = draw.choice(["ftp", "http", "https"], rows)
    label = np.where(ratio > 0.25, "phishing", "legitimate")
    cells = zip(length, digits, ratio, scheme, draw.exponential(3, rows).round(2), label, strict=True)
    data = write(folder / "urls.csv", ["length", "digits", "digit_ratio", "scheme", "age", "status"], list(cells))
    (folder / "features.toml").write_text(URLS)
    return data, str(folder / "features.toml")


def url_model() -> bs.Model:
    """Looks at the share of digits alone, which nothing else but the digits can change."""
    return bs.Model(Linear([0, 0, 20.0, 0, 0, 0, 0], -5.0), name="ratio", class_names=["legitimate", "phishing"])
