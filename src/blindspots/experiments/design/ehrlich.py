"""Ehrlich functions: sequences with motifs, epistasis and constraints, whose optimum is 1 by construction.

Stanton et al. 2024, "Closed-Form Test Functions for Biophysical Sequence Design Benchmarking" (arXiv 2407.00236), whose
code is holo-bench. The choices that are made here:

- Transitions: logits are standard normal, divided by 0.5, as in the code. Its band reaches int(0.4 n) letters to either
  side, so that n - 1 - 2 int(0.4 n) of n letters are banned after each: 3 of 20. (It then allows every repetition, so
  some letters have one ban less.) The paper asks for an ergodic matrix. Here a letter may always be repeated and be
  followed by the next letter of a random cycle, so every letter is reached from every other, at any time: the chain is
  ergodic by construction.
- Motifs: one walk of the chain, cut into pieces, so that every motif is feasible and can follow the one before. It
  moves on at every step: a letter that is meant twice could not be told from one that fills a gap.
- Spacings: offsets 0 < s_2 < ... < s_k below positions // motifs, uniform among all such sets, so that all motifs fit
  side by side. (The code draws them from a simplex and rounds down.)
- Quantisation q divides the length k: a motif that has i of its k letters counts floor(i q / k) / q.
- The value is the product over motifs of the best count at any position; 0 where a transition is banned. (The paper has
  0, the code minus infinity, which no surrogate could learn. The code's epistasis factor is 0 here, as by default.)
- Random designs are walks of the chain from a uniform first letter: all of them are feasible.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from blindspots.errors import InputError
from blindspots.random import keys, normal, uniform
from blindspots.runs.experiment import Columns

_TEMPERATURE, _BAND = 0.5, 0.4
_ONE = torch.zeros(1, dtype=torch.int64)
_LOGITS, _CYCLE, _BANS, _MOTIFS, _SPACINGS, _WALKS = 0, 2, 3, 4, 5, 6  # streams


@dataclass(frozen=True)
class Ehrlich:
    """Args: `positions` of a sequence, `letters` of the alphabet, `motifs` of `length` letters each, `quantisation`
    levels of a motif, and the `seed` of its transitions, motifs and spacings.

    Raises InputError: motifs do not fit.
    """

    positions: int = 32
    letters: int = 20
    motifs: int = 4
    length: int = 4
    quantisation: int = 4
    seed: int = 0
    points: int = 100

    optimum = 1.0
    unit = ""

    def __post_init__(self) -> None:
        sizes = (self.positions, self.letters, self.motifs, self.length, self.quantisation, self.points)
        if min(sizes) < 1 or not 0 <= self.seed < 2**63:
            raise InputError(f"expected sizes of at least 1 and a seed from 0 on, got {self}: change them")
        if self.motifs * self.length > self.positions or not 3 <= self.letters <= 256:
            raise InputError(
                f"expected motifs * length of at most the positions, and 3 to 256 letters, got {self.spec}: change them"
            )
        if self.length % self.quantisation:
            raise InputError(
                f"expected a quantisation that divides the length {self.length}, got {self.quantisation}: change it"
            )

    @property
    def spec(self) -> str:
        sizes = {name: value for name, value in vars(self).items() if name in self.__dataclass_fields__}
        return "ehrlich:" + ",".join(f"{name}={value}" for name, value in sizes.items())

    @property
    def name(self) -> str:
        return f"an Ehrlich function of {self.positions} positions and {self.letters} letters"

    @property
    def size(self) -> int:
        return self.positions

    # -------------------------------------------------------------- how it is made

    @cached_property
    def transitions(self) -> Tensor:
        """(letters, letters) float64: the probability that a letter follows a letter; 0: it is banned."""
        n = self.letters
        rows = keys(self.seed, torch.arange(n))
        zero = torch.zeros_like(rows)
        order = uniform(keys(self.seed, _ONE), _ONE, _CYCLE, (n,))[0].argsort()
        wanted = uniform(rows, zero, _BANS, (n,))
        wanted[order, order.roll(-1)] = 2.0  # never banned
        wanted.fill_diagonal_(2.0)
        banned = wanted.argsort(1)[:, : n - 1 - 2 * int(_BAND * n)]
        logits = normal(rows, zero, _LOGITS, (n,)).double() / _TEMPERATURE
        return logits.scatter(1, banned, -torch.inf).softmax(1)

    @cached_property
    def patterns(self) -> Tensor:
        """(motifs, length) int64 letters."""
        moving = self.transitions.clone().fill_diagonal_(0)
        walk = self._walks(moving, keys(self.seed, _ONE), self.motifs * self.length, _MOTIFS)
        return walk.view(self.motifs, self.length)

    @cached_property
    def offsets(self) -> Tensor:
        """(motifs, length) int64: where the letters of a motif stand, from its first on."""
        room = self.positions // self.motifs - 1
        rows = keys(self.seed, torch.arange(self.motifs))
        order = uniform(rows, torch.zeros_like(rows), _SPACINGS, (room + 1,))[:, :room].argsort(1)
        later = order[:, : self.length - 1]
        return torch.cat([torch.zeros(self.motifs, 1, dtype=torch.int64), 1 + later.sort(1).values], 1)

    def _walks(self, transitions: Tensor, key: Tensor, steps: int, stream: int) -> Tensor:
        """(N, steps) int64 walks from a uniform first letter, one for each key (N,)."""
        draws = uniform(key, torch.zeros_like(key), stream, (steps,)).double().T.contiguous()
        upto = (transitions / transitions.sum(1, keepdim=True)).cumsum(1)
        letters = [(draws[0] * self.letters).long()]
        for draw in draws[1:]:
            letters.append(torch.searchsorted(upto[letters[-1]], draw[:, None], right=True)[:, 0])
        return torch.stack(letters, 1)

    def best(self) -> Tensor:
        """(1, positions) uint8: a sequence of value 1, motif after motif, gaps filled with the letter before them."""
        places = self.offsets + (self.positions // self.motifs) * torch.arange(self.motifs)[:, None]
        found = torch.searchsorted(places.flatten(), torch.arange(self.positions), right=True) - 1
        return self.patterns.flatten()[found][None].to(torch.uint8)

    def columns(self) -> Columns:
        """What its values follow from."""
        return {
            "transitions": self.transitions, "patterns": self.patterns, "offsets": self.offsets,
            "quantisation": torch.tensor([self.quantisation]),
        }  # fmt: skip

    # -------------------------------------------------------------- designs

    def drawn(self, seed: int, repeat: int, count: int) -> Tensor:
        key = keys(seed, torch.arange(count), repeat)
        return self._walks(self.transitions, key, self.positions, _WALKS).to(torch.uint8)

    def feasible(self, designs: Tensor) -> Tensor:
        """(N,) bool: no transition is banned."""
        at = designs.long()
        return (self.transitions[at[:, :-1], at[:, 1:]] > 0).all(1)

    def values(self, designs: Tensor) -> Tensor:
        at, found = designs.long(), torch.ones(len(designs), dtype=torch.float64)
        for pattern, offsets in zip(self.patterns, self.offsets, strict=True):
            starts = torch.arange(self.positions - int(offsets[-1]))
            hits = (at[:, starts[:, None] + offsets] == pattern).sum(2).amax(1)
            found *= (hits * self.quantisation // self.length).double() / self.quantisation
        return torch.where(self.feasible(designs), found, 0.0)

    def seen(self, designs: Tensor) -> Tensor:
        return one_hot(designs.long(), self.letters).flatten(1).float()
