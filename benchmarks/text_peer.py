"""TextAttack on the victims and lattices of the benchmark: a program for an environment that has it.

    python -m benchmarks.text_peer JOB.json

It holds a list of jobs. Each names a victim, a search, whether texts are padded to the victim's longest, and rows:
text, label, lattice and how many words may change. One line of JSON is printed per row.
"""

import json
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import torch


class Absent(ModuleType):
    """Stands in for flair, which tags parts of speech, as no search here needs, and pins an old transformers."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return sys.modules.get(f"{self.__name__}.{name}", object)


for absent in ("flair", "flair.data", "flair.models"):
    sys.modules[absent] = Absent(absent)

from textattack import Attack
from textattack.constraints.overlap import MaxWordsPerturbed
from textattack.constraints.pre_transformation import RepeatModification
from textattack.goal_functions import UntargetedClassification
from textattack.models.wrappers import ModelWrapper
from textattack.search_methods import (
    AlzantotGeneticAlgorithm,
    BeamSearch,
    GreedySearch,
    GreedyWordSwapWIR,
    ParticleSwarmOptimization,
)
from textattack.shared import AttackedText
from textattack.transformations import WordSwap

from benchmarks.victims import victim
from blindspots.texts.lattice import Lattice

SEARCHES = {
    "greedy": GreedySearch,
    "beam": lambda: BeamSearch(beam_width=8),
    "ranked": lambda: GreedyWordSwapWIR(wir_method="delete"),
    "genetic": lambda: AlzantotGeneticAlgorithm(pop_size=60, max_iters=20, temp=0.3),
    "swarm": lambda: ParticleSwarmOptimization(pop_size=60, max_iters=20),
}


class Wrapped(ModelWrapper):
    """The victim, which counts the texts that it is sent."""

    def __init__(self, name: str, shipped: bool) -> None:
        self.victim, self.shipped, self.forwards = victim(name), shipped, 0
        self.model = self.victim.net.eval().requires_grad_(False)

    def __call__(self, texts: list[str]) -> torch.Tensor:
        self.forwards += len(texts)
        v = self.victim
        encoded = v.tokenizer.encode(texts)
        width = v.tokenizer.longest if self.shipped else max(map(len, encoded))
        ids = torch.tensor([row + [v.tokenizer.pad] * (width - len(row)) for row in encoded])
        mask = torch.arange(width) < torch.tensor([len(row) for row in encoded])[:, None]
        with torch.no_grad():
            return v.reads(v.tokens(ids), ids, mask)


class OfLattice(WordSwap):
    """Exchanges words for the candidates of a text's lattice."""

    def on(self, lattice: Lattice) -> None:
        text, start, self.candidates = AttackedText(lattice.text), 0, {}
        begins = []
        for word in text.words:
            start = lattice.text.index(word, start)
            begins.append((start, start + len(word)))
            start += len(word)
        for span, words in zip(lattice.spans, lattice.candidates, strict=True):
            self.candidates[begins.index(tuple(span))] = words

    def _get_transformations(self, current_text: Any, indices_to_modify: Any) -> list[Any]:
        return [
            current_text.replace_word_at_index(i, word)
            for i in sorted(indices_to_modify)
            for word in self.candidates.get(i, ())
        ]


def main() -> None:
    torch.set_num_threads(1)
    for number, job in enumerate(json.loads(Path(sys.argv[1]).read_text("utf-8"))):
        run(number, job)


def run(number: int, job: dict[str, Any]) -> None:
    model, swaps = Wrapped(job["victim"], job["shipped"]), OfLattice()
    limit = MaxWordsPerturbed(max_num_words=1)
    goal = UntargetedClassification(model, use_cache=True)
    attack = Attack(goal, [RepeatModification(), limit], swaps, SEARCHES[job["search"]]())
    for row in job["rows"]:
        swaps.on(Lattice.from_json(row["lattice"]))
        limit.max_num_words = row["most"]
        sent, began = model.forwards, time.process_time()
        found = attack.attack(row["text"], row["label"])
        print(json.dumps({
            "job": number, "outcome": type(found).__name__, "text": found.perturbed_text(),
            "queries": found.num_queries, "forwards": model.forwards - sent, "cpu": time.process_time() - began,
        }), flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
