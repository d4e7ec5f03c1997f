"""Sequence classifiers of Hugging Face transformers from a local folder; nothing is downloaded, nothing unpickled."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from blindspots.errors import InputError
from blindspots.models.texts import TokenModel
from blindspots.texts.pairs import SEPARATOR, parted

_PROBE = "a"
_MOST = 1 << 20  # tokenizers without a limit say a larger number


class FastTokenizer:
    """A fast tokenizer of transformers. Pairs (see `texts.pairs`) are given to it as pairs.

    Args:
        inner: of transformers.
        longest: the most tokens that the network takes; None: any number.
    """

    def __init__(self, inner: Any, longest: int | None) -> None:
        self._inner, self.longest = inner, longest
        self.pad, self.size = int(inner.pad_token_id or 0), len(inner)
        # At once, since calls leave their settings in the rules.
        self._digest = hashlib.sha256(f"{longest} {inner.backend_tokenizer.to_str()}".encode()).hexdigest()

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of its vocabulary and rules."""
        return self._digest

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The tokens of each text, the special ones included."""
        found: list[list[int]] = self._read(texts)["input_ids"]
        return found

    def whole_words(self) -> dict[str, int]:
        """Words that are one token inside a text, with its number, in the order of these."""
        tokens = sorted(self._inner.get_vocab().items(), key=lambda item: item[1])
        begins = "\u0120" if any(token.startswith("\u0120") for token, _ in tokens) else ""  # of byte-level BPE
        whole = ((token.removeprefix(begins), n) for token, n in tokens if token.startswith(begins))
        return {word: n for word, n in whole if word.isalpha()}

    def spans(self, text: str) -> list[tuple[int, int]]:
        """The characters of each token of `encode([text])[0]`; (0, 0) for the special ones."""
        read = self._read([text], return_offsets_mapping=True)
        second = len(parted(text)[0]) + 1 if SEPARATOR in text else 0
        sides = read.sequence_ids(0)
        return [
            (a + second * (side == 1), b + second * (side == 1)) if side is not None else (0, 0)
            for (a, b), side in zip(read["offset_mapping"][0], sides, strict=True)
        ]

    def _read(self, texts: Sequence[str], **more: Any) -> Any:
        pairs = [parted(text) if SEPARATOR in text else text for text in texts]
        if all(isinstance(pair, tuple) for pair in pairs) or all(isinstance(pair, str) for pair in pairs):
            return self._inner(pairs, truncation=self.longest is not None, max_length=self.longest, **more)
        raise InputError("expected pairs of texts or texts alone in one call, got both: pass data of one kind")


class HuggingFace(TokenModel):
    """A network of transformers with its tokenizer."""

    def reads(self, z: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        """Logits (B, C); in pairs, the second side has another type where the network tells them apart."""
        given: dict[str, Tensor] = {"inputs_embeds": z, "attention_mask": mask.long()}
        if getattr(self.net.config, "type_vocab_size", 0) > 1:
            given["token_type_ids"] = _types(ids, mask, self._between)
        logits: Tensor = self.net(**given).logits
        return logits

    @torch.no_grad()
    def check_padding(self) -> None:
        """Raises InputError: padded embeddings get another answer than tokens alone.

        So it is with decoders, which answer at the last position, and find that only among tokens.
        """
        encoded = self.tokenizer.encode([_PROBE, " ".join([_PROBE] * 8)])
        tokens = torch.tensor(encoded[:1], device=self.device)
        alone, padded = self._as_logits(self.net(input_ids=tokens).logits, 1).cpu()[0], self._scores(encoded)[0]
        if not torch.allclose(padded, alone, rtol=1e-3, atol=1e-3 * float(alone.abs().max())):
            raise InputError(
                f"expected a network whose answers padding does not change, as those of encoders, got "
                f"{type(self.net).__name__}, which sees no padding in embeddings: wrap it in a function of strings, "
                "bs.TextModel"
            )

    @property
    def _between(self) -> int | None:
        found: int | None = getattr(self.net.config, "sep_token_id", None)
        return found


def _types(ids: Tensor, mask: Tensor, between: int | None) -> Tensor:
    """0 up to the first separating token, 1 behind it as far as there is text: (B, T) int64."""
    if between is None:
        return torch.zeros_like(ids)
    passed = (ids == between).cumsum(1) - (ids == between).long()
    return (passed > 0).long() * mask


@contextmanager
def quiet() -> Iterator[None]:
    """Without the library's progress bars."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def load_folder(folder: str, spec: str) -> HuggingFace:
    """The classifier that `save_pretrained` wrote to a folder, with its fast tokenizer.

    Raises InputError: transformers is not installed, or the folder has no weights in safetensors or no fast tokenizer.
    """
    try:
        from transformers import AutoModelForSequenceClassification, AutoTokenizer
    except ImportError as error:
        raise InputError(
            f"expected transformers to be installed, to read {spec!r}: pip install 'blindspots[text]'"
        ) from error
    if not Path(folder).is_dir():
        raise InputError(f"expected a local folder of save_pretrained, got {folder!r}: nothing is downloaded")
    only = {"local_files_only": True, "trust_remote_code": False}
    try:
        with quiet():
            net = AutoModelForSequenceClassification.from_pretrained(folder, use_safetensors=True, **only).eval()
            tokenizer = AutoTokenizer.from_pretrained(folder, use_fast=True, **only)
    except (OSError, ValueError, KeyError) as error:
        said = " ".join(str(error).split())
        raise InputError(
            f"expected model.safetensors, config.json and a fast tokenizer in {folder!r}, got {said[:200]}: save the "
            "model and its tokenizer there with save_pretrained"
        ) from error
    if not tokenizer.is_fast:
        raise InputError(f"expected a fast tokenizer in {folder!r}, got a slow one: save it as tokenizer.json")
    return _model(net, tokenizer, spec)


def _positions(net: Any) -> int:
    """How many tokens have a position of their own, 0 if that is not said; RoBERTa's begin behind that of padding."""
    tables = (part for name, part in net.named_modules() if name.endswith("position_embeddings"))
    before = next((table.padding_idx + 1 for table in tables if getattr(table, "padding_idx", None) is not None), 0)
    return max((getattr(net.config, "max_position_embeddings", 0) or 0) - before, 0)


def _model(net: Any, tokenizer: Any, spec: str) -> HuggingFace:
    net.config.sep_token_id = tokenizer.sep_token_id
    limits = (_positions(net), tokenizer.model_max_length)
    longest = min((n for n in limits if n and n < _MOST), default=None)
    name = Path(spec.partition(":")[2]).name
    model = HuggingFace(net, net.get_input_embeddings(), None, FastTokenizer(tokenizer, longest), name, spec)
    model.check_padding()
    return model
