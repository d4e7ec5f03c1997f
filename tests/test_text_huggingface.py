"""Classifiers of transformers from a folder: what padding does to them."""

from pathlib import Path
from typing import Any

import pytest
import torch

import blindspots as bs

PIECES = "[PAD] [UNK] [CLS] [SEP] [MASK] a film good bad"
SIZE = PIECES.count(" ") + 1


def saved(folder: Path, net: Any) -> str:
    transformers = pytest.importorskip("transformers")
    (folder / "vocab.txt").write_text(PIECES.replace(" ", "\n"))
    transformers.BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    net.save_pretrained(folder)
    return f"hf:{folder}"


def test_an_encoder_says_the_same_padded_and_alone(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=SIZE, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    model = bs.load_model(saved(tmp_path, transformers.BertForSequenceClassification(config)))
    texts = ["a good film", "bad", "a bad bad film a film"]
    together, alone = (model.of(part) for part in (texts, texts[1:2]))  # type: ignore[attr-defined]
    assert torch.allclose(together[1], alone[0], atol=1e-5)


def test_a_decoder_that_sees_no_padding_is_refused(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=SIZE, n_embd=16, n_layer=1, n_head=2, n_positions=32, pad_token_id=0)
    with pytest.raises(bs.InputError, match="GPT2ForSequenceClassification, which sees no padding"):
        bs.load_model(saved(tmp_path, transformers.GPT2ForSequenceClassification(config)))


def test_positions_may_begin_behind_that_of_padding(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.RobertaConfig(
        vocab_size=SIZE, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=14, pad_token_id=1,
    )  # fmt: skip
    model = bs.load_model(saved(tmp_path, transformers.RobertaForSequenceClassification(config)))
    assert model.tokenizer.longest == 12  # type: ignore[attr-defined]
    assert model.of(["a good film " * 10]).shape == (1, 2)  # type: ignore[attr-defined]
