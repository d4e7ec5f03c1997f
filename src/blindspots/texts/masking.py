"""A masked language model in a local folder: which words are likely at a place."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, lru_cache
from operator import itemgetter
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from blindspots.errors import InputError
from blindspots.texts.optional import optional
from blindspots.texts.words import Span

_CHUNK = 32  # texts per call of the model
_FOLLOWING, _BEGINNING = "##", ("\u0120", "\u2581")  # how tokenizers mark pieces of words
_LETTERS = re.compile(r"[^\W\d_]+")


@lru_cache(maxsize=2)
def masked_model(folder: Path) -> "MaskedModel":
    """The model of a folder, opened once however many sources ask it."""
    return MaskedModel(folder)


class MaskedModel:
    """A model of Hugging Face with its fast tokenizer. Nothing is downloaded or unpickled, no code of others is run.

    Args:
        folder: with config.json, model.safetensors and the tokenizer's files.

    Raises InputError: transformers is missing, or there is no such model in the folder.
    """

    def __init__(self, folder: Path) -> None:
        hub = optional("transformers", "which opens masked language models")
        try:
            with _silent(hub.utils.logging):
                self.tokenizer = hub.AutoTokenizer.from_pretrained(folder, local_files_only=True)
                model = hub.AutoModelForMaskedLM.from_pretrained(folder, local_files_only=True, use_safetensors=True)
        except (OSError, ValueError, KeyError) as error:
            said = str(error).partition("\n")[0]
            raise InputError(
                f"expected a masked language model in {str(folder)!r}, got: {said}: name another folder"
            ) from error
        if not self.tokenizer.is_fast or self.tokenizer.mask_token is None:
            raise InputError(
                f"expected a fast tokenizer with a mask in {str(folder)!r}, got none: save tokenizer.json there"
            )
        self.model = model.eval()
        self.longest = min(self.tokenizer.model_max_length, getattr(model.config, "max_position_embeddings", 1 << 30))

    def fills(self, texts: Sequence[str], count: int) -> list[list[str]]:
        """The `count` likeliest words for the first mask of every text; none where it is behind the longest input."""
        chunks = (texts[start : start + _CHUNK] for start in range(0, len(texts), _CHUNK))
        return [found for chunk in chunks for found in self._fills(chunk, count)]

    def likely(self, text: str, spans: Sequence[Span], count: int) -> list[list[str]]:
        """The `count` likeliest words for each place of a text that is seen as it is."""
        scores, given = self._scores([text])
        ends = given["offset_mapping"][0].tolist()
        tokens = [[i for i, (a, b) in enumerate(ends) if a < end and start < b] for start, end in spans]
        return [self._spelled(scores[0, of], count) if of else [] for of in tokens]

    def _fills(self, texts: Sequence[str], count: int) -> Iterator[list[str]]:
        scores, given = self._scores(texts)
        for row, masked in zip(scores, given["input_ids"] == self.tokenizer.mask_token_id, strict=True):
            yield self._spelled(row[masked][:1], count) if masked.any() else []

    @torch.inference_mode()
    def _scores(self, texts: Sequence[str]) -> tuple[Tensor, Any]:
        """Logarithms of probabilities (B, L, V), and what the tokenizer made of the texts."""
        given = self.tokenizer(
            list(texts), padding=True, truncation=True, max_length=self.longest, return_tensors="pt",
            return_offsets_mapping=True,
        )  # fmt: skip
        taken = {name: given[name] for name in self.tokenizer.model_input_names if name in given}
        return self.model(**taken).logits.log_softmax(2), given

    def _spelled(self, scores: Tensor, count: int) -> list[str]:
        """The likeliest words of as many tokens as there are rows in `scores` (n, V), by a beam of `count`."""
        begins, follows = self._begins, self._follows
        best, beam = scores[0, begins].topk(min(count, len(begins)))
        pieces = begins[beam][:, None]
        for row in scores[1:]:
            total = (best[:, None] + row[follows]).flatten()
            best, beam = total.topk(min(count, len(total)))
            pieces = torch.cat([pieces[beam // len(follows)], follows[beam % len(follows)][:, None]], 1)
        words = (self.tokenizer.decode(ids).strip() for ids in pieces.tolist())
        return [word for word in words if _LETTERS.fullmatch(word)]

    @cached_property
    def _begins(self) -> Tensor:
        return torch.tensor([i for i, begins in self._letters.items() if begins], dtype=torch.int64)

    @cached_property
    def _follows(self) -> Tensor:
        return torch.tensor([i for i, begins in self._letters.items() if not begins], dtype=torch.int64)

    @cached_property
    def _letters(self) -> dict[int, bool]:
        """Tokens of letters alone, and whether a word begins with each: BERT marks what follows, others what begins."""
        special = set(self.tokenizer.all_special_ids)
        vocabulary = {token: i for token, i in self.tokenizer.get_vocab().items() if i not in special}
        marks_beginnings = any(token.startswith(_BEGINNING) for token in vocabulary)
        return {
            i: token.startswith(_BEGINNING) if marks_beginnings else not token.startswith(_FOLLOWING)
            for token, i in sorted(vocabulary.items(), key=itemgetter(1))
            if _LETTERS.fullmatch(token.removeprefix(_FOLLOWING).lstrip("".join(_BEGINNING)))
        }


@contextmanager
def _silent(logging: Any) -> Iterator[None]:
    """Without the bars that transformers shows while it loads weights."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
