"""Pictures of channels beside lucent's recipe at equal steps, and pictures of classes under a third network."""

import argparse
import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import blindspots as bs
from benchmarks.cases import zoo
from benchmarks.clock import clock
from benchmarks.page import Section, percent, table
from blindspots.data import ArrayData, digits_arrays
from blindspots.experiments.inspect.pictures.verdict import Recognised
from blindspots.models import Model, load_model
from blindspots.models.training import alone
from blindspots.random import keys, normal

CHANNELS = {"cifar10_resnet20": "1.layer3.1.conv2", "cifar10_marabou_large": "1.2", "cifar10_cnn_a_adv": "1.2"}
UNITS, STEPS, ROWS = 64, 256, 500
JUDGED = {"fourier": STEPS, "plain": 64}
NATURAL, ROBUST = "rvb_cifar_cnn_small_NOR", ("cifar10_cnn_a_adv", "cifar10_kw_small_l2_36px")  # one architecture
JUDGES = ("cifar10_resnet2b_pgd", "cifar10_resnet32")  # a robust and a natural network
READ = f"""{UNITS} channels of one layer each, {STEPS} steps, before any activation. "lucent" is its recipe as it is
described: spectra as ours, Adam 0.05, a padding of 12 pixels, jitter by 8 and 4 pixels, a scale of 0.9 to 1.1, a turn
of up to 10 degrees, one draw for all pictures of a step, then resized to the network's input. Reached: way from the
median of {ROWS} test rows, where the largest row goes 1. Ours are judged as pictures of 8 bits, lucent's as floats."""
READ_CLASSES = """Three pictures of every class, drawn in the same way on a natural and on a robust network, and what a
third network takes them for."""


def measure(args: argparse.Namespace) -> Section:
    """Both tables; without the real models the digits of the second alone."""
    loader = zoo()
    drawn = [] if loader is None else [_beside_lucent(loader, *pair) for pair in CHANNELS.items()]
    judged = [_judged(*trio) for trio in _trios(loader)]
    head = ("network, layer", "reached", "lucent reached", "channels where ours reaches more", "CPU s", "lucent CPU s")
    classes = [row for trio in judged for row in trio]
    text = f"{READ}\n\n{table(head, [list(row.values()) for row in drawn])}\n\n" if drawn else ""
    text += f"{READ_CLASSES}\n\n{table(list(classes[0]), [list(row.values()) for row in classes])}"
    return Section("Pictures of features", text, {"channels": drawn, "classes": classes})


# ------------------------------------------------------------------ beside lucent


def _beside_lucent(loader: Any, name: str, layer: str) -> dict[str, Any]:
    net, (x, y) = loader.load(name), loader.images("cifar10", "test", ROWS)
    settings = {"layer": layer, "picture_units": UNITS, "ascent_steps": STEPS, "fooling": False}
    ours = clock(lambda: bs.inspect.pictures(net, x, y, **settings))
    answers = ours.result.parts["answers/0"]
    values, middle = answers["values"], answers["values"].median(0).values
    theirs = clock(lambda: lucent(net, layer, answers["targets"], x.shape[1:], STEPS))
    way = values.amax(0) - middle
    reached = (ours.result.parts["pictures/0"]["value"][:, 0] - middle) / way
    lucents = (_channels(net, layer, theirs.result)[torch.arange(len(way)), answers["targets"]] - middle) / way
    return {
        "network, layer": f"{name}, {layer}", "reached": float(reached.mean()), "lucent": float(lucents.mean()),
        "more": percent(float((reached >= lucents).float().mean())), "cpu": ours.cpu, "lucent cpu": theirs.cpu,
    }  # fmt: skip


def _channels(net: nn.Module, layer: str, x: Tensor) -> Tensor:
    """Means over positions of all channels of a layer, (B, C)."""
    found: list[Tensor] = []
    hook = dict(net.named_modules())[layer].register_forward_hook(lambda m, args, out: found.append(out))
    net(x)
    hook.remove()
    return found[0].flatten(2).mean(2) if found[0].ndim > 2 else found[0]


def lucent(net: nn.Module, layer: str, channels: Tensor, shape: Sequence[int], steps: int) -> Tensor:
    """Pictures (T, 3, H, W) of channels (T,), by the recipe that lucent shares with lucid."""
    net.requires_grad_(False)
    colours, scale = _colours(), _scale(shape[1:])
    key = keys(0, channels)
    spectrum = 0.01 * normal(key, torch.zeros_like(key), 0, (3, *scale.shape, 2))
    spectrum.requires_grad_()
    optimiser = torch.optim.Adam([spectrum], 0.05)
    generator = torch.Generator().manual_seed(0)

    def image() -> Tensor:
        waves = torch.fft.irfft2(torch.view_as_complex(spectrum) * scale, tuple(shape[1:]), norm="ortho") / 4
        return torch.einsum("dc,bchw->bdhw", colours, waves).sigmoid()

    for _ in range(steps):
        optimiser.zero_grad()
        seen = F.interpolate(disturbed(image(), generator), tuple(shape[1:]), mode="bilinear", align_corners=True)
        answers = _channels(net, layer, seen)
        (-answers.gather(1, channels[:, None]).sum()).backward()
        optimiser.step()
    return image().detach()


def _colours() -> Tensor:
    root = torch.tensor([[0.26, 0.09, 0.02], [0.27, 0.0, -0.05], [0.27, -0.09, 0.03]])
    return root / root.norm(dim=0).max()


def _scale(size: Sequence[int]) -> Tensor:
    high, wide = size
    frequency = (torch.fft.fftfreq(high)[:, None] ** 2 + torch.fft.rfftfreq(wide) ** 2).sqrt()
    return 1 / frequency.clamp_min(1 / max(size))


def disturbed(x: Tensor, generator: torch.Generator) -> Tensor:
    """Pad, jitter, scale, turn, jitter: one draw for all."""
    x = _jittered(F.pad(x, (12,) * 4, value=0.5), 8, generator)
    x = F.interpolate(x, scale_factor=1 + (_drawn(11, generator) - 5) / 50, mode="bilinear")
    angle = math.radians(([*range(-10, 11), *[0] * 5])[_drawn(26, generator)])
    turn = torch.tensor([[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0]])
    grid = F.affine_grid(turn.expand(len(x), 2, 3), list(x.shape), align_corners=False)
    return _jittered(F.grid_sample(x, grid, align_corners=False), 4, generator)


def _jittered(x: Tensor, by: int, generator: torch.Generator) -> Tensor:
    down, across = _drawn(by + 1, generator), _drawn(by + 1, generator)
    return x[..., down : x.shape[-2] - by + down, across : x.shape[-1] - by + across]


def _drawn(below: int, generator: torch.Generator) -> int:
    return int(torch.randint(below, (), generator=generator))


# ------------------------------------------------------------------ robust and natural


Trio = tuple[Model, Model, Model, ArrayData]


def _trios(loader: Any) -> list[Trio]:
    """A natural network, a robust one, a third one, and rows."""
    rows = ArrayData(*digits_arrays("test"), "digits")
    digits = (load_model("digits"), load_model("digits-robust"), Model(_third(), name="third"), rows)
    if loader is None:
        return [digits]
    photographs = ArrayData(*loader.images("cifar10", "test", 100), "CIFAR-10")
    trios = [(NATURAL, robust, judge) for judge in JUDGES for robust in ROBUST]
    return [digits, *((*(Model(loader.load(n), name=n) for n in trio), photographs) for trio in trios)]


def _third() -> nn.Module:
    """Digits by a network of another kind, trained here in a second."""
    x, y = digits_arrays("train")
    with alone(5):
        net = nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
        optimiser = torch.optim.Adam(net.parameters(), 3e-3)
        for _ in range(150):
            optimiser.zero_grad()
            F.cross_entropy(net(x), y).backward()
            optimiser.step()
    return net


def _judged(natural: Model, robust: Model, third: Model, rows: ArrayData) -> list[dict[str, Any]]:
    return [
        {"drawn by": f"{by}, {steps} steps", "third network": third.name, "made on": r.made_on,
         "recognised": percent(r.right.share), "by itself": percent(r.own.share)}
        for by, steps in JUDGED.items()
        for r in _recognised(natural, robust, third, rows, by, steps)
    ]  # fmt: skip


def _recognised(
    natural: Model, robust: Model, third: Model, rows: ArrayData, by: str, steps: int
) -> Sequence[Recognised]:
    settings: dict[str, Any] = {"picture": ("class",), "diverse": 3, "fooling": False, "pictures_by": by}
    done = bs.inspect.pictures(natural, data=rows, beside=robust, against=third, ascent_steps=steps, **settings)
    return done.verdict.recognised
