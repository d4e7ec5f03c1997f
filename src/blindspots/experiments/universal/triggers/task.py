"""What all updates of a search for a trigger have in common: how texts are looked at with words in them."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from blindspots.capabilities import Embed
from blindspots.data.splits import Rows
from blindspots.experiments.universal.triggers.looks import codes_of, scores_of
from blindspots.experiments.universal.triggers.placing import Placing
from blindspots.experiments.universal.triggers.vocabulary import Vocabulary
from blindspots.models.texts import TextModel, TokenModel
from blindspots.objective import Objective, own
from blindspots.oracle import Oracle
from blindspots.problem import Need, Problem, Question
from blindspots.rows import Around
from blindspots.texts.codes import as_texts


@dataclass(frozen=True)
class Texts:
    """Texts, and what the model takes them for as they are."""

    texts: list[str]
    clean: Tensor  # (N,) int64

    def __len__(self) -> int:
        return len(self.texts)

    def at(self, places: Tensor) -> "Texts":
        """Some of them."""
        return Texts([self.texts[i] for i in places.tolist()], self.clean[places])


@dataclass(frozen=True)
class Looked:
    """What several triggers do to the same texts."""

    loss: Tensor  # (M,) to be made small: mean probability of what the texts were taken for, or less that of the target
    won: Tensor  # (M, N) bool


@dataclass(frozen=True)
class Exchanges:
    """A trigger whose words may each become any of the vocabulary: what the oracle asks of a threat for slopes."""

    words: str
    space: Placing
    reader: TokenModel
    tokens: Tensor  # (V,) int64: of the vocabulary

    def slopes(self, x: Tensor, around: Around, g: Tensor, embed: Embed) -> Tensor:
        """<g_k, e(word)> for every place k and word: (B, K V). A place that the network does not read has 0."""
        at = torch.tensor([self._places(text) for text in as_texts(x)], device=g.device)
        along = g.gather(1, at.clamp_min(0)[:, :, None].expand(-1, -1, g.shape[2])) * (at >= 0)[:, :, None]
        table = self.reader.table_of_tokens[self.tokens.to(g.device)]
        return (along @ table.T).flatten(1)

    def _places(self, painted: str) -> list[int]:
        """The first token of each of the words; -1 for none."""
        return [at[0] if at else -1 for at in self.reader.tokens_at(painted, self.space.spans(self.words, painted))]


@dataclass
class TriggerTask:
    """What all updates of a search have in common.

    Args:
        space: how words get into texts.
        vocabulary: the words.
        target: the class that all texts are to be taken for; None: any but their own.
    """

    oracle: Oracle
    model: TextModel
    space: Placing
    vocabulary: Vocabulary
    target: int | None
    seed: int

    def texts(self, rows: Rows) -> Texts:
        """Rows that say something of a trigger: those that are not taken for the target as they are."""
        texts = as_texts(rows.take(torch.arange(len(rows)))[0])
        clean = scores_of(self.oracle, texts).argmax(1)
        found = Texts(texts, clean)
        return found if self.target is None else found.at((clean != self.target).nonzero()[:, 0])

    def look(self, triggers: Tensor, batch: Texts) -> Looked:
        """At every text with each of the triggers (M, K): one forward for each pair."""
        phrases = map(self.vocabulary.phrase, triggers)
        scores = scores_of(self.oracle, [text for words in phrases for text in self.space.paint(words, batch.texts)])
        y, target = (t.repeat(len(triggers)) for t in (batch.clean, self._targets(batch)))
        chance = own(scores.softmax(1), target)
        loss = chance if self.target is None else -chance
        won = self._objective.margin(scores, y, target) < 0
        return Looked(loss.view(len(triggers), -1).mean(1), won.view(len(triggers), -1))

    def slopes(self, trigger: Tensor, batch: Texts) -> Tensor:
        """What each word of the vocabulary at each place does to the sum of the losses, to first order: (K, V).

        Up to a number of each place, which decides no order. One forward and one backward per text.
        """
        assert isinstance(self.model, TokenModel)
        words = self.vocabulary.phrase(trigger)
        tokens = torch.tensor([t[0] for t in self.model.tokens_of(self.vocabulary.words)])
        x = codes_of(self.space.paint(words, batch.texts)).to(self.oracle.device)
        y, target = (t.to(x.device) for t in (batch.clean, self._targets(batch)))
        problem: Problem[Any] = Problem[Any](self._objective, Exchanges(words, self.space, self.model, tokens))
        question = Question(y, target, around=Around(x, torch.ones(len(x), device=x.device)))
        seen = self.oracle.look(problem, question, x, Need.SLOPES)
        assert seen.grad is not None
        return seen.grad.sum(0).view(len(trigger), -1).cpu()

    @property
    def _objective(self) -> Objective:
        return Objective(targeted=self.target is not None, loss="ce")

    def _targets(self, batch: Texts) -> Tensor:
        return batch.clean if self.target is None else torch.full_like(batch.clean, self.target)
