"""Models of texts: functions of strings, and networks behind a tokenizer."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import takewhile
from typing import Any, Literal, Protocol, get_args

import numpy as np
import torch
from torch import Tensor, nn

from blindspots.data.names import shown
from blindspots.errors import InputError
from blindspots.models.foreign import call
from blindspots.models.model import Model
from blindspots.problem import Need
from blindspots.texts.codes import LARGEST, as_texts
from blindspots.texts.vectors import Vectors

Answers = Literal["labels", "scores", "probabilities"]
_KEPT = 1 << 17  # answers that are remembered
_TOKENS = 1 << 12  # in one call of a network, padding included
_ROWS = 64
_ROUNDING = 1e-4  # of probabilities


class TextModel(Model):
    """A function of texts. Inputs are their code points (B, L), see `texts.codes`.

    A text is asked about once: its answer is remembered. So `forwarded`, the texts that were really sent, is less than
    the number of evaluations.

    Args:
        function: from a list of strings to scores or probabilities (B, C), or (B,) of the second of two classes; or
            labels (B,): the places of classes, or their names. The same text has to get the same answer again.
        answers: what it returns; "scores" are logits or anything else whose largest entry is the prediction.
        classes: the number of classes; where it returns labels, this or `class_names` is required.
        name, spec, class_names: as of `Model`.

    Raises:
        InputError: a value above does not fit, or, when called, what the function returns does not.
    """

    def __init__(
        self,
        function: nn.Module | Callable[[list[str]], Any],
        answers: Answers = "scores",
        classes: int | None = None,
        name: str | None = None,
        spec: str | None = None,
        class_names: Iterable[str] | None = None,
    ) -> None:
        if answers not in get_args(Answers):
            raise InputError(f"expected answers to be one of {', '.join(get_args(Answers))}, got {answers!r}: pick one")
        names = None if class_names is None else list(class_names)
        classes = len(names) if names and classes is None else classes
        if answers == "labels" and (classes is None or classes < 2):
            raise InputError(f"expected the number of classes of a model that returns labels, got {classes}: pass it")
        named: Any = function  # of strings, where other models take tensors
        super().__init__(named, (0.0, float(LARGEST)), name=name, spec=spec, class_names=names)
        self.access = Need.LABEL if answers == "labels" else Need.VALUE
        self.answers, self.classes = answers, classes
        self.forwarded = 0
        self._known: dict[str, Tensor] = {}

    @property
    def padded(self) -> bool:
        return False  # a text's own length decides its calls

    @property
    def in_levels(self) -> bool:
        return False

    def logits(self, x: Tensor) -> Tensor:
        """Scores (B, C) of the texts whose code points are the rows of `x` (B, L)."""
        return self.of(as_texts(x)).to(x.device)

    def forget(self) -> None:
        self._known.clear()

    def remember(self, x: Tensor, output: Tensor) -> None:
        self._known.update(zip(as_texts(x), output.cpu(), strict=True))

    def of(self, texts: Sequence[str]) -> Tensor:
        """Scores (B, C), float32 on the CPU, of texts."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if len(self._known) + len(new) > _KEPT:
            self._known.clear()
            new = list(dict.fromkeys(texts))
        if new:
            self._known.update(zip(new, self._asked(new), strict=True))
        return torch.stack([self._known[text] for text in texts]) if texts else torch.zeros(0, self.classes or 2)

    def _asked(self, texts: list[str]) -> Tensor:
        self.forwarded += len(texts)
        answer = call(self.net, texts, f"a function {self.name!r}")
        array = answer.detach().cpu().numpy() if isinstance(answer, Tensor) else np.asarray(answer)
        if self.answers == "labels":
            return self._one_hot(self._numbered(array), len(texts))
        self._check_scores(array)
        scores = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
        return self._as_logits(_logs(scores) if self.answers == "probabilities" else scores, len(texts))

    def _check_scores(self, answer: Any) -> None:
        """Raises InputError: it looks like labels, or like anything but probabilities where these were promised."""
        if answer.dtype.kind not in ("f" if answer.ndim == 1 else "fiu"):
            raise InputError(
                f"expected {self.answers} (B, C) from {self.name}, got {answer.dtype} of shape {answer.shape}: pass "
                "answers='labels' and the number of classes for a function that returns labels"
            )
        if self.answers == "probabilities" and np.any((answer < -_ROUNDING) | (answer > 1 + _ROUNDING)):
            raise InputError(
                f"expected probabilities from 0 to 1 from {self.name}, got {answer.min():.4g} to {answer.max():.4g}: "
                "pass answers='scores'"
            )

    def _numbered(self, labels: Any) -> Any:
        """Names of classes as their places; anything else as it is."""
        names = self.class_names
        if not names or labels.dtype.kind not in "UO":
            return labels
        if strange := set(labels.tolist()) - set(names):
            raise InputError(
                f"expected labels among {shown(names)} from {self.name}, got {min(strange, key=repr)!r}: name all its "
                "classes"
            )
        return np.array([names.index(name) for name in labels.tolist()], dtype=np.int64)

    def _one_hot(self, answer: Any, rows: int) -> Tensor:
        assert self.classes is not None
        good = answer.shape == (rows,) and np.issubdtype(answer.dtype, np.integer)
        if not good or (rows and not 0 <= answer.min() <= answer.max() < self.classes):
            raise InputError(
                f"expected labels of shape ({rows},), integers from 0 to {self.classes - 1}, got {answer.dtype} of "
                f"shape {answer.shape}: let the function return one class per text"
            )
        return torch.nn.functional.one_hot(torch.from_numpy(answer.astype(np.int64)), self.classes).float()


class Tokenizer(Protocol):
    """How a network reads texts.

    Attributes:
        pad: the number of the token that fills up.
        longest: the most tokens that the network takes; None: any number.
        size: the number of tokens.
        digest: SHA-256 (hex) of everything that its encodings depend on.
    """

    pad: int
    longest: int | None
    size: int

    @property
    def digest(self) -> str: ...

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The tokens of each text, at least one and at most `longest`."""
        ...

    def spans(self, text: str) -> list[tuple[int, int]]:
        """The characters of each of its tokens; (0, 0) for those that stand for none."""
        ...

    def whole_words(self) -> dict[str, int]:
        """The words that are one token, with its number."""
        ...


class TokenModel(TextModel):
    """A network behind a tokenizer. Texts of like length share calls, each padded to the longest of its call.

    Args:
        net: the network, for its weights and its mode.
        table: its embedding of tokens.
        head: from embeddings (B, T, E) and what is no padding (B, T) to logits (B, C); None where a subclass `reads`.
        tokenizer: see `Tokenizer`.
        name, spec, class_names: as of `Model`.
    """

    def __init__(
        self,
        net: nn.Module,
        table: nn.Embedding,
        head: Callable[[Tensor, Tensor], Tensor] | None,
        tokenizer: Tokenizer,
        name: str | None = None,
        spec: str | None = None,
        class_names: Iterable[str] | None = None,
    ) -> None:
        super().__init__(net, name=name, spec=spec, class_names=class_names)
        self.tokens, self._head, self.tokenizer = table, head, tokenizer
        self._read: tuple[Tensor, Tensor, Tensor] | None = None  # the last texts, their tokens, and what is no padding
        self.access = Need.SLOPES
        self._words: dict[str, list[int]] = {}

    @property
    def digest(self) -> str:
        return hashlib.sha256(f"{super().digest} {self.tokenizer.digest}".encode()).hexdigest()

    def _asked(self, texts: list[str]) -> Tensor:
        self.forwarded += len(texts)
        return call(self._in_calls, self.tokenizer.encode(texts), f"a network {self.name!r}")

    @torch.no_grad()
    def _in_calls(self, encoded: list[list[int]]) -> Tensor:
        order = sorted(range(len(encoded)), key=lambda i: len(encoded[i]))
        scores = torch.cat([self._scores([encoded[i] for i in part]) for part in _calls(order, encoded)])
        return torch.empty_like(scores).index_copy_(0, torch.tensor(order), scores)

    def _scores(self, encoded: list[list[int]]) -> Tensor:
        ids, mask = self._padded(encoded)
        return self._as_logits(self.reads(self.tokens(ids), ids, mask), len(encoded)).cpu()

    def _padded(self, encoded: list[list[int]]) -> tuple[Tensor, Tensor]:
        """Tokens (B, T) int64, filled up, and which of them are no padding."""
        width = max(map(len, encoded))
        ids = torch.tensor([row + [self.tokenizer.pad] * (width - len(row)) for row in encoded], device=self.device)
        lengths = torch.tensor([len(row) for row in encoded], device=self.device)
        return ids, torch.arange(width, device=self.device) < lengths[:, None]

    # ------------------------------------------------------------------ gradients

    def embed(self, x: Tensor) -> Tensor:
        """The embeddings of the texts' tokens: (B, T, E)."""
        ids, _ = self._read_again(x)
        embedded: Tensor = self.tokens(ids)
        return embedded

    def head(self, z: Tensor, x: Tensor) -> Tensor:
        """Logits (B, C) of what `embed` returned for the same texts `x` (B, L)."""
        self.forwarded += len(x)
        return self._as_logits(self.reads(z, *self._read_again(x)), len(x))

    def reads(self, z: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        """What the network says of embeddings (B, T, E), of these tokens (B, T), where `mask` (B, T) is not False."""
        assert self._head is not None
        return self._head(z, mask)

    def _read_again(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The tokens of texts, and what is no padding: `embed` and `head` are asked about the same ones in turn."""
        if self._read is None or self._read[0] is not x:
            self._read = (x, *self._padded(self.tokenizer.encode(as_texts(x))))
        return self._read[1:]

    def reads_whole(self, text: str) -> bool:
        """Whether the network sees the text to its last character that is no white space."""
        return max((b for _, b in self.tokenizer.spans(text)), default=0) >= len(text.rstrip())

    def tokens_at(self, text: str, spans: Sequence[tuple[int, int]]) -> list[list[int]]:
        """For each span the places of the tokens that begin in it; none for what was cut off."""
        begins = [(a, i) for i, (a, b) in enumerate(self.tokenizer.spans(text)) if b > a]
        return [[i for a, i in begins if start <= a < stop] for start, stop in spans]

    @property
    def table_of_tokens(self) -> Tensor:
        return self.tokens.weight

    @cached_property
    def vectors(self) -> Vectors:
        """The words that are one token, as the network embeds them."""
        found = self.tokenizer.whole_words()
        table = self.tokens.weight.detach().cpu().numpy()
        return Vectors(tuple(found), table[list(found.values())])

    def tokens_of(self, words: Sequence[str]) -> list[list[int]]:
        """The tokens of each word as they are inside a text: what it adds to a text of another word."""
        new = [word for word in dict.fromkeys(words) if word not in self._words]
        if new:
            alone, *encoded = self.tokenizer.encode([_BEFORE, *(f"{_BEFORE} {word}" for word in new)])
            self._words.update({word: _added(alone, tokens) for word, tokens in zip(new, encoded, strict=True)})
        return [self._words[word] for word in words]


_BEFORE = "a"


def _logs(chances: Tensor) -> Tensor:
    """Logarithms (B, C) of probabilities (B, C), or of those (B,) or (B, 1) of the second of two classes."""
    if chances.ndim == 1 or chances.shape[1:] == (1,):
        chances = torch.stack([1 - chances.flatten(), chances.flatten()], 1)
    return chances.clamp_min(torch.finfo(torch.float32).tiny).log()


def _added(alone: list[int], tokens: list[int]) -> list[int]:
    """What stands in `tokens` between the beginning and the end that it shares with `alone`."""
    start = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(alone, tokens, strict=False)))
    behind = zip(alone[start:][::-1], tokens[start:][::-1], strict=False)
    end = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], behind))
    return tokens[start : len(tokens) - end]


def _calls(order: list[int], encoded: list[list[int]]) -> Iterator[list[int]]:
    """Texts in the order of their lengths, dealt out to calls of few enough tokens."""
    part: list[int] = []
    for i in order:
        if part and (len(part) >= _ROWS or (len(part) + 1) * len(encoded[i]) > _TOKENS):
            yield part
            part = []
        part.append(i)
    if part:
        yield part
