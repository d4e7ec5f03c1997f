"""What runs on services were said to cost, against what they came to: before the first query and on the way."""

import argparse
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any

import torch
from torch import nn

import blindspots as bs
from benchmarks.page import Section, table
from blindspots.ball import Ball
from blindspots.serving import Served, Server
from blindspots.serving.server import Handler

ROWS, EVERY, TOKEN = 60, 10, "for-a-measurement"
WHEN = (0.1, 0.25, 0.5, 0.75)
HEAD = (
    "model", "search", "charged", "at most, before", "rehearsed on itself",
    *(f"after {when:.0%} of what may come" for when in WHEN), "bounds held",
)  # fmt: skip
READ = f"""One request of {EVERY} fails: refused as too fast, a fault of the service, a torn connection. All in queries
that are charged. "At most" is before the first query; a rehearsal is the same run on the model itself, here. The other
forecasts are those that the run makes on the way, when so much was charged of what it may still come to if no row falls
any more, with its bounds. All forecasts are shares of what
was charged; empty where the run left a step out. The networks called
random have random weights and predict their own labels; the law of the forecasts was chosen on other searches.
"""


@dataclass(frozen=True)
class Case:
    """A search of a model's rows."""

    model: str
    threat: Ball
    budget: int
    labels: bool = False
    attack: str | None = None

    @property
    def spec(self) -> str:
        return f"{__file__}:{self.model}" if self.model.startswith("random") else self.model

    def open(self, rows: int) -> tuple[bs.Model, Any]:
        model = bs.load_model(self.spec)
        if not self.model.startswith("random"):
            return model, bs.load_data("digits", rows=rows)
        x = torch.rand(rows, 3, 5, 5, generator=torch.Generator().manual_seed(5))
        return model, bs.ArrayData(x, model.logits(x).argmax(1))

    @property
    def searched(self) -> str:
        seen = self.attack or ("labels" if self.labels else "scores")
        return f"{seen}, {self.threat.norm} {self.threat.radius}, {self.budget} per row"


def network(seed: int) -> bs.Model:
    """With random weights: 75 inputs, 5 classes."""
    draw = torch.Generator().manual_seed(seed)
    net = nn.Sequential(nn.Flatten(), nn.Linear(75, 24), nn.Tanh(), nn.Linear(24, 5))
    for weights in net.parameters():
        nn.init.normal_(weights, std=2.0 / weights.shape[-1] ** 0.5, generator=draw)
    return bs.Model(net.requires_grad_(False))


random_1, random_2, random_3, random_4 = (partial(network, seed) for seed in range(1, 5))

CASES = (
    Case("digits", bs.Linf(0.12), 250),
    Case("digits", bs.L2(1.0), 350, labels=True),
    Case("digits-robust", bs.Linf(0.2), 250),
    Case("digits-robust", bs.L2(1.5), 350),
    Case("random_1", bs.Linf(0.04), 250),
    Case("random_2", bs.L2(0.4), 350, labels=True),
    Case("random_3", bs.Linf(0.05), 250, attack="nes"),
    Case("random_4", bs.Linf(0.02), 400),
)


class Failing(Handler):
    """Now and then it does not answer."""

    count = 0

    def do_POST(self) -> None:  # noqa: N802
        Failing.count += 1
        kind = Failing.count // EVERY % 3 if Failing.count % EVERY == 0 else None
        if kind is None:
            super().do_POST()
            return
        self.rfile.read(int(self.headers["Content-Length"]))
        if kind == 2:
            self.close_connection = True
        else:
            self.answer((429, 503)[kind], {"error": "not now"})


@contextmanager
def service(model: bs.Model, data: Any, labels: bool) -> Iterator[str]:
    """The name of a template of a service with faults."""
    os.environ["BLINDSPOTS_TOKEN"] = TOKEN
    server = Server(Served(model, data, "m", TOKEN), handler=Failing)
    with tempfile.TemporaryDirectory() as folder, server:
        Thread(target=server.serve_forever, daemon=True).start()
        said = {"url": server.url, "protocol": "mlflow", "price": "0.0015", "wait": 0.002}
        said |= {"answers": "labels", "classes": 10 if data.shape[0] == 1 else 5} if labels else {}
        lines = [f"{key} = {json.dumps(value)}" for key, value in said.items()]
        path = Path(folder) / "m.toml"
        path.write_text("\n".join([*lines, "[headers]", 'Authorization = "Bearer ${BLINDSPOTS_TOKEN}"']))
        yield f"template:{path}"
        server.shutdown()


def measure(args: argparse.Namespace) -> Section:
    numbers = [_measured(case, args.rows or ROWS) for case in CASES]
    text = table(HEAD, [_row(n) for n in numbers])
    return Section("Forecasts of what a service costs", f"{text}\n\n{READ.strip()}", numbers)


def _measured(case: Case, rows: int) -> dict[str, Any]:
    model, data = case.open(rows)
    settings: dict[str, Any] = {"threat": case.threat, "row_budget": case.budget, "threads": 1}
    if case.attack:
        settings["attack"] = case.attack
    run = bs.attack if case.attack else bs.evaluate
    with service(model, data, case.labels) as spec:
        asked = run(spec, data=data, rehearse=case.spec, **settings).verdict.endpoint
    assert asked is not None
    return {
        "model": case.model, "search": case.searched, "charged": asked.billed, "at_most": asked.at_most,
        "rehearsed": asked.expected, "forecasts": [f.model_dump() for f in asked.forecasts],
    }  # fmt: skip


def _row(n: dict[str, Any]) -> list[Any]:
    charged, said = n["charged"], n["forecasts"]
    steps = [next((f for f in said if f["after"] >= when * f["most"]), None) for when in WHEN]
    held = all(f["least"] <= charged <= f["most"] for f in said)
    cells = ["" if f is None else _shares(f, charged) for f in steps]
    rehearsed = f"{n['rehearsed'] / charged:.0%}"
    return [
        n["model"],
        n["search"],
        charged,
        f"{n['at_most'] / charged:.0%}",
        rehearsed,
        *cells,
        "yes" if held else "no",
    ]


def _shares(forecast: dict[str, int], charged: int) -> str:
    expected, least, most = (f"{forecast[key] / charged:.0%}" for key in ("expected", "least", "most"))
    return f"{expected} ({least} to {most})"
