"""What a masked language model reads into a gap."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from blindspots.errors import InputError
from blindspots.texts.sources.source import Source, cased, unique
from blindspots.texts.tables import digest
from blindspots.texts.words import Span

if TYPE_CHECKING:
    from blindspots.texts.masking import MaskedModel


@dataclass(frozen=True)
class Masked(Source):
    """The likeliest words at a place, given the text around it, from a model of Hugging Face in a local folder.

    "replace": the word is masked (BAE-R; Garg and Ramakrishnan 2020, arXiv 2004.01970). "insert": the mask comes after
    the word (BAE-I). "unmasked": the word stays visible (BERT-Attack; Li et al. 2020, arXiv 2004.09984); where it has
    several tokens, theirs are combined by a beam of `count`, where the paper goes through all products.

    Candidates are words of letters alone; places behind the model's longest input have none.

    Args:
        count: how many candidates a place gets at most.
        folder: with config.json, model.safetensors and a fast tokenizer. Nothing is downloaded or unpickled.
        at: which of the three.

    Raises InputError: transformers is missing, or there is no such model in the folder.
    """

    folder: str | None = None
    at: Literal["replace", "insert", "unmasked"] = "replace"

    title = "words of a masked language model"
    contextual: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _ = self.model  # so that errors come early

    def of(self, word: str) -> Iterable[str]:
        """Candidates for a word without any text around it."""
        return self.offers(word, [(0, len(word))])[0]

    def offers(self, text: str, spans: Sequence[Span]) -> list[Sequence[str]]:
        if self.at == "unmasked":
            found = self.model.likely(text, spans, self.count + 1)  # the word is likely, too
        else:
            found = self.model.fills([self._masked(text, span) for span in spans], self.count + 1)
        own = [text[a:b] for a, b in spans]
        return [self._written(likely, word) for likely, word in zip(found, own, strict=True)]

    @cached_property
    def model(self) -> "MaskedModel":
        """What is asked."""
        from blindspots.texts.masking import masked_model  # it needs torch

        if self.folder is None or not (Path(self.folder) / "config.json").is_file():
            raise InputError(f"expected the folder of a masked language model, got {self.folder!r}: write folder=PATH")
        return masked_model(Path(self.folder))

    @property
    def resources(self) -> Mapping[str, str]:
        return {str(path): digest(path) for path in sorted(Path(str(self.folder)).iterdir()) if path.is_file()}

    def __str__(self) -> str:
        return f"{self.title} ({self.at})"

    def _masked(self, text: str, span: Span) -> str:
        a, b = span
        mask = self.model.tokenizer.mask_token
        return f"{text[:b]} {mask}{text[b:]}" if self.at == "insert" else f"{text[:a]}{mask}{text[b:]}"

    def _written(self, likely: Sequence[str], word: str) -> tuple[str, ...]:
        written = (f"{word} {other}" if self.at == "insert" else cased(other, word) for other in likely)
        return unique(written, word, self.count)
