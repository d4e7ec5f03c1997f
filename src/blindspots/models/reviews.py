"""Four small networks for the embedded reviews, trained on this machine when they are first used.

`reviews` is linear in the words that occur (a bag of words), `reviews-cnn` looks at two to four words in a row (Kim
2014), `reviews-lstm` reads from left to right (Hochreiter and Schmidhuber 1997), and `reviews-transformer` has two
layers of attention (Vaswani et al. 2017). Training is deterministic: same machine, same bits.

All take embeddings (B, T, E) and a mask (B, T) that is False behind the end of a text, and none sees what lies there.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from blindspots.models.cache import kept
from blindspots.models.texts import TokenModel
from blindspots.models.training import alone
from blindspots.texts.reviews import CLASSES, reviews
from blindspots.texts.tokens import WordTokenizer

Say = Callable[[str], None]


class Network(nn.Module, ABC):
    """A table of embeddings, and what reads them. Its last layer is `out`."""

    out: nn.Linear

    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.table = nn.Embedding(tokens, width, padding_idx=WordTokenizer.pad)

    def forward(self, ids: Tensor) -> Tensor:
        """Logits (B, C) of tokens (B, T)."""
        logits: Tensor = self.head(self.table(ids), ids != WordTokenizer.pad)
        return logits

    @abstractmethod
    def head(self, z: Tensor, mask: Tensor) -> Tensor:
        """Logits (B, C) of embeddings (B, T, E); the mask (B, T) is False behind the end of a text."""


class Bag(Network):
    """The mean of all words, then a linear layer."""

    def __init__(self, tokens: int, width: int = 16) -> None:
        super().__init__(tokens, width)
        self.out = nn.Linear(width, len(CLASSES))

    def head(self, z: Tensor, mask: Tensor) -> Tensor:
        scores: Tensor = self.out(_mean(z, mask))
        return scores


class Cnn(Network):
    """Filters over 2, 3 and 4 words in a row, and the largest response of each in the text."""

    def __init__(self, tokens: int, width: int = 32, filters: int = 32) -> None:
        super().__init__(tokens, width)
        self.windows = nn.ModuleList(nn.Conv1d(width, filters, k, padding=k - 1) for k in (2, 3, 4))
        self.drop = nn.Dropout(0.3)
        self.out = nn.Linear(3 * filters, len(CLASSES))

    def head(self, z: Tensor, mask: Tensor) -> Tensor:
        z = (z * mask[..., None]).transpose(1, 2)
        largest = [self._largest(window(z).relu(), mask) for window in self.windows]
        scores: Tensor = self.out(self.drop(torch.cat(largest, 1)))
        return scores

    @staticmethod
    def _largest(responses: Tensor, mask: Tensor) -> Tensor:
        """Over windows that touch the text; responses are at least 0."""
        touching = F.pad(mask, (responses.shape[2] - mask.shape[1], 0), value=True)
        return (responses * touching[:, None]).amax(2)


class Lstm(Network):
    """The state of an LSTM after the last word."""

    def __init__(self, tokens: int, width: int = 32, state: int = 64) -> None:
        super().__init__(tokens, width)
        self.reader = nn.LSTM(width, state, batch_first=True)
        self.drop = nn.Dropout(0.3)
        self.out = nn.Linear(state, len(CLASSES))

    def head(self, z: Tensor, mask: Tensor) -> Tensor:
        states, _ = self.reader(z)
        last = states[torch.arange(len(z), device=z.device), mask.sum(1) - 1]  # what follows cannot change it
        scores: Tensor = self.out(self.drop(last))
        return scores


class Transformer(Network):
    """Two layers of attention, then the mean of all words."""

    def __init__(self, tokens: int, width: int = 48, heads: int = 4) -> None:
        super().__init__(tokens, width)
        nn.init.normal_(self.table.weight, std=0.1)  # small beside the places, or their order is not learnt
        self.layers = nn.ModuleList(Layer(width, heads) for _ in range(2))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, len(CLASSES))

    def head(self, z: Tensor, mask: Tensor) -> Tensor:
        z = z + places(z.shape[1], z.shape[2]).to(z)
        for layer in self.layers:
            z = layer(z, mask)
        scores: Tensor = self.out(_mean(self.norm(z), mask))
        return scores


class Layer(nn.Module):
    """Attention and two linear layers, each added to what it was given, normalised first."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.asks = nn.Linear(width, 3 * width)
        self.answers = nn.Linear(width, width)
        self.thinks = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.drop = nn.Dropout(0.1)

    def forward(self, z: Tensor, mask: Tensor) -> Tensor:
        z = z + self.drop(self._attended(self.norms[0](z), mask))
        added: Tensor = z + self.drop(self.thinks(self.norms[1](z)))
        return added

    def _attended(self, z: Tensor, mask: Tensor) -> Tensor:
        rows, words, width = z.shape
        q, k, v = self.asks(z).view(rows, words, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        found = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None])
        answer: Tensor = self.answers(found.transpose(1, 2).reshape(rows, words, width))
        return answer


def places(words: int, width: int) -> Tensor:
    """Sines and cosines of each word's place (T, E), for texts of any length (Vaswani et al. 2017, section 3.5)."""
    angle = torch.arange(words)[:, None] / 10000 ** (torch.arange(0, width, 2) / width)
    return torch.stack([angle.sin(), angle.cos()], 2).flatten(1)


def _mean(z: Tensor, mask: Tensor) -> Tensor:
    return (z * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


# ------------------------------------------------------------------ training


NETWORKS: dict[str, Callable[[int], Network]] = {"bag": Bag, "cnn": Cnn, "lstm": Lstm, "transformer": Transformer}


@dataclass(frozen=True)
class Recipe:
    """How a network is trained, with Adam. `unknown`: the share of words that are hidden while it learns."""

    kind: Callable[[int], Network]
    epochs: int
    learning_rate: float  # the peak of a one-cycle schedule
    batch: int = 64
    unknown: float = 0.05
    seed: int = 0


RECIPES = {
    "reviews": Recipe(Bag, epochs=10, learning_rate=3e-2),
    "reviews-cnn": Recipe(Cnn, epochs=8, learning_rate=5e-3),
    "reviews-lstm": Recipe(Lstm, epochs=8, learning_rate=1e-2),
    "reviews-transformer": Recipe(Transformer, epochs=8, learning_rate=5e-3),
}


@cache
def words() -> WordTokenizer:
    """The words of the training texts."""
    return WordTokenizer.of(reviews("train")[0])


def load_reviews_model(name: str, say: Say | None = None) -> TokenModel:
    """The model `name`, one of RECIPES, from the cache or freshly trained.

    Args:
        say: called now and then with a sentence on the progress of training; not called if the network is cached.
    """
    recipe = RECIPES[name]
    corpus = hashlib.sha256(repr(reviews("train")).encode()).hexdigest()
    net = kept(
        name,
        (recipe, corpus),
        lambda: recipe.kind(words().size),
        lambda: train(recipe, lambda text: say(f"{name}: {text}") if say else None),
    )
    return TokenModel(net, net.table, net.head, words(), name=name, spec=name, class_names=CLASSES)


def train(recipe: Recipe, say: Say = lambda _: None) -> Network:
    """Train on the 4,000 training texts; the global generator and the thread count stay as they are."""
    return trained(recipe, words(), *reviews("train"), say=say)


def trained(
    recipe: Recipe, tokenizer: WordTokenizer, texts: Sequence[str], labels: Sequence[int], say: Say = lambda _: None
) -> Network:
    """A network of the recipe's kind, trained on these texts; deterministic.

    Args:
        labels: a class of the network for each text.
    """
    ids, y = _padded(tokenizer.encode(texts)), torch.tensor(labels)
    with alone(recipe.seed):
        net = recipe.kind(tokenizer.size)
        batches = len(ids) // recipe.batch
        optimizer = torch.optim.Adam(net.parameters())
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.learning_rate, recipe.epochs * batches)
        for epoch in range(recipe.epochs):
            say(f"training, epoch {epoch + 1} of {recipe.epochs}")
            for at in torch.randperm(len(ids))[: batches * recipe.batch].view(batches, -1):
                _update(net, optimizer, _some_unknown(_cut(ids[at]), recipe.unknown), y[at])
                schedule.step()
    return net


def _padded(encoded: list[list[int]]) -> Tensor:
    rows = [torch.tensor(row) for row in encoded]
    return nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=WordTokenizer.pad)


def _cut(ids: Tensor) -> Tensor:
    """Without the columns that are padding in all rows."""
    return ids[:, : int((ids != WordTokenizer.pad).sum(1).max())]


def _some_unknown(ids: Tensor, share: float) -> Tensor:
    hidden = (torch.rand(ids.shape) < share) & (ids != WordTokenizer.pad)
    return ids.masked_fill(hidden, WordTokenizer.unknown)


def _update(net: Network, optimizer: torch.optim.Optimizer, ids: Tensor, y: Tensor) -> None:
    optimizer.zero_grad()
    torch.autograd.backward(F.cross_entropy(net(ids), y))
    nn.utils.clip_grad_norm_(net.parameters(), 1.0)
    optimizer.step()
