"""Time series: the published numbers of Fawaz et al. 2019 (arXiv 1903.07054), on ResNets of our own training.

    python -m benchmarks.series AEON.whl [SET ...] [--width 64] [--epochs 100] [--seed 1]

The data sets of the UCR archive are read from aeon's wheel (`pip download aeon --no-deps`), of which nothing is run.
Series are z-normalised as they are stored, so inputs have no bounds of their own: the box is the range of all series,
widened by the radius, and stops nothing.
"""

import argparse
import hashlib
import json
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import blindspots as bs
from blindspots.attacks import PGD

RADIUS = 0.1
PUBLISHED = {  # accuracy in %: clean, FGSM, BIM (10 steps of 0.05)
    "GunPoint": (99.3, 31.3, 6.7),
    "ItalyPowerDemand": (95.9, 92.5, 91.6),
    "ArrowHead": (85.1, 33.1, 14.3),
    "OSULeaf": (97.9, 15.7, 0.0),
}
RESULTS = Path(__file__).parent / "results" / "series.json"


def read_set(wheel: Path, name: str, part: str) -> tuple[Tensor, Tensor]:
    """The series (N, 1, T) and labels (N,) of a .ts file in the wheel; `part` is TRAIN or TEST."""
    with zipfile.ZipFile(wheel) as files:
        text = files.read(f"aeon/datasets/data/{name}/{name}_{part}.ts").decode()
    rows = [line.rsplit(":", 1) for line in text.split("@data", 1)[1].split("\n") if line.strip()]
    classes = sorted({label.strip() for _, label in rows})
    x = np.array([[float(value) for value in values.split(",")] for values, _ in rows], np.float32)
    return torch.from_numpy(x)[:, None], torch.tensor([classes.index(label.strip()) for _, label in rows])


class Block(nn.Module):
    """Three convolutions with kernels of 8, 5 and 3, and the way past them."""

    def __init__(self, entering: int, leaving: int) -> None:
        super().__init__()
        widths = (entering, leaving, leaving)
        layers: list[nn.Module] = []
        for i, kernel in enumerate((8, 5, 3)):
            layers += [nn.ConstantPad1d(((kernel - 1) // 2, kernel // 2), 0.0), nn.Conv1d(widths[i], leaving, kernel)]
            layers += [nn.BatchNorm1d(leaving), nn.ReLU()]
        self.body = nn.Sequential(*layers[:-1])
        past = [nn.Conv1d(entering, leaving, 1)] if entering != leaving else []
        self.past = nn.Sequential(*past, nn.BatchNorm1d(leaving))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.past(x))


def resnet(classes: int, width: int) -> nn.Sequential:
    """The ResNet of Wang et al. 2017 (arXiv 1611.06455), which Fawaz et al. attack, there with a width of 64."""
    blocks = (Block(1, width), Block(width, 2 * width), Block(2 * width, 2 * width))
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(2 * width, classes))


def trained(x: Tensor, y: Tensor, epochs: int, width: int, seed: int = 0) -> nn.Sequential:
    """Adam, batches of 16, the learning rate falling as a cosine from 0.001; no row of the test set is looked at."""
    torch.manual_seed(seed)
    net = resnet(int(y.max()) + 1, width)
    adam = torch.optim.Adam(net.parameters(), 1e-3)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(adam, epochs)
    for _ in range(epochs):
        for at in torch.randperm(len(x)).split(16):
            if len(at) > 1:
                adam.zero_grad()
                nn.functional.cross_entropy(net(x[at]), y[at]).backward()
                adam.step()
        falling.step()
    return net.eval()


def theirs(net: nn.Module, x: Tensor, steps: int, stride: float) -> Tensor:
    """Classes (N,) after their attack, cleverhans' BIM (FGSM is one step of the radius), as their code calls it:
    away from what the network says of the clean series, right or wrong, and the last point counts."""
    with torch.no_grad():
        said = net(x).argmax(1)
    moved = x.clone()
    for _ in range(steps):
        moved.requires_grad_()
        loss = nn.functional.cross_entropy(net(moved), said, reduction="sum")
        step = stride * torch.autograd.grad(loss, moved)[0].sign()
        moved = (moved.detach() + step).clamp(x - RADIUS, x + RADIUS)
    with torch.no_grad():
        return net(moved).argmax(1)


def measured(wheel: Path, name: str, epochs: int, width: int, seed: int) -> dict[str, Any]:
    """One line of the table: shares in %, of all test rows where nothing else is said."""
    (x, y), (test, labels) = (read_set(wheel, name, part) for part in ("TRAIN", "TEST"))
    began = time.perf_counter()
    net = trained(x, y, epochs, width, seed)
    took = time.perf_counter() - began
    print(f"{name}: trained in {took:.0f} s", flush=True)
    low, high = float(test.min()) - RADIUS, float(test.max()) + RADIUS
    model, threat = bs.Model(net, bounds=(low, high), name=f"ResNet on {name}"), bs.Linf(RADIUS)
    fgsm, last = (theirs(net, test, *how).eq(labels).double().mean() for how in ((1, RADIUS), (10, 0.05)))
    bim = bs.attack(model, test, labels, PGD(10, stride=0.5, random_start=False), threat=threat)
    began = time.perf_counter()
    v = bs.evaluate(model, test, labels, threat=threat).verdict
    right = v.robust_of_right
    return {
        "set": name, "rows": v.rows, "epochs": epochs, "width": width, "seed": seed, "trained_in": round(took, 1),
        "attacked_in": round(time.perf_counter() - began, 1), "clean": 100 * v.clean_accuracy,
        "fgsm": 100 * float(fgsm), "last": 100 * float(last), "bim": 100 * bim.verdict.robust_accuracy,
        "fast": 100 * v.robust_accuracy, "interval": [100 * bound for bound in v.interval],
        "right": right.rows, "fast_of_right": 100 * right.share,
        "interval_of_right": [100 * bound for bound in right.interval], "published": PUBLISHED[name],
    }  # fmt: skip


HEAD = (
    "set", "width, seed", "test rows", "clean: published", "ours", "FGSM: published", "ours", "BIM: published", "ours",
    "any point of BIM", "`fast`", "95 % interval", "of right rows",
)  # fmt: skip


def lines(found: list[dict[str, Any]]) -> Iterator[str]:
    """A Markdown table."""
    yield f"| {' | '.join(HEAD)} |"
    yield "|---" * len(HEAD) + "|"
    for f in found:
        pairs = zip(f["published"], (f["clean"], f["fgsm"], f["last"]), strict=True)
        shares = [f"{share:.1f}" for pair in pairs for share in pair]
        low, high = f["interval"]
        cells = [
            f["set"],
            f"{f['width']}, {f['seed']}",
            f"{f['rows']:,}",
            *shares,
            f"{f['bim']:.1f}",
            f"{f['fast']:.1f}",
        ]
        yield f"| {' | '.join(cells)} | {low:.1f} to {high:.1f} | {f['fast_of_right']:.1f} |"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.series", description=__doc__.partition("\n")[0])
    parser.add_argument("wheel", type=Path)
    parser.add_argument("sets", nargs="*", metavar="SET", help=f"of {', '.join(PUBLISHED)}; none: all")
    parser.add_argument("--width", type=int, default=16, help="filters of the first block; published: 64")
    parser.add_argument("--epochs", type=int, default=100, help="published: 1500")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    args = arguments()
    kept = json.loads(RESULTS.read_text())["sets"] if RESULTS.exists() else {}
    for name in args.sets or PUBLISHED:
        found = measured(args.wheel, name, args.epochs, args.width, args.seed)
        kept[f"{name} {args.width} {args.seed}"] = found
        said = {"wheel": args.wheel.name, "sha256": hashlib.sha256(args.wheel.read_bytes()).hexdigest(), "sets": kept}
        RESULTS.write_text(json.dumps(said, indent=1) + "\n")
        print(found, flush=True)
    print("\n".join(lines(list(kept.values()))))


if __name__ == "__main__":
    main()
