"""Transfer between models of texts: the matrix, noise beside it, its page and proof, and what is refused."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from torch import nn
from typer.testing import CliRunner

import blindspots as bs
from blindspots.cli.app import app
from blindspots.errors import InputError
from blindspots.experiments.transfer.changes import noise_beside
from blindspots.experiments.transfer.experiment import Transferred
from blindspots.texts.codes import as_texts
from blindspots.texts.reviews import CLASSES, reviews
from blindspots.threats import parse_threat

ROWS = 40


@cache
def pipeline() -> Any:
    texts, labels = reviews("train")
    return make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(texts[:500], [CLASSES[k] for k in labels[:500]])


@cache
def matrix() -> Transferred:
    data = bs.load_data("reviews", ROWS)
    return bs.transfer(["reviews", "reviews-cnn", pipeline()], data=data, threat="words:2")


def test_examples_fool_their_source_most_and_others_more_than_noise() -> None:
    done = matrix()
    assert done.models == ["reviews", "reviews-cnn", "LogisticRegression"]
    for i, row in enumerate(done.error):
        assert row[i] > done.verdict.clean_error[i].share
        assert row[i] >= done.verdict.noise[i][i]
    assert done.verdict.metrics()["transfer_error"].value > done.verdict.metrics()["noise_error"].value
    assert {source.attack for source in done.config.sources} == {"Greedy(queries=5000)"}
    assert {source.access for source in done.config.sources} == {"scores"}
    assert not {"black-box-source", "substitute"} & {finding.code for finding in done.findings}


def test_what_is_fed_lies_in_one_lattice_and_noise_has_as_many_exchanges() -> None:
    done, threat = matrix(), parse_threat("words:2")
    x = done.parts["clean"]["x"].float()
    for i, name in enumerate(done.models, 1):
        moved, made = done.adversarial(name), done.source(name)
        sizes = threat.distance(moved, x)
        assert bool((sizes <= 2).all())
        assert torch.equal(sizes, made["norm"])
        noise = noise_beside(x, moved, 0, i, threat)
        assert torch.equal(threat.distance(noise, x), sizes)
        assert as_texts(noise) != as_texts(moved)
    assert 0 < done.verdict.distortion[0] <= 2


def test_the_command_shows_the_matrix_and_its_proof_holds(tmp_path: Path) -> None:
    out = tmp_path / "run"
    how = "--data=reviews --rows=30 --threat=words:0.15 --candidates=synonyms --attack=rankedbygradient"
    result = CliRunner().invoke(app, ["transfer", "reviews", "reviews-cnn", *how.split(), "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert "1 reviews" in result.output
    assert "words of a text are changed" in result.output
    assert CliRunner().invoke(app, ["verify", str(out)]).exit_code == 0
    page = (out / "report.html").read_text("utf-8")
    assert "<ins>" in page
    assert "RMS" not in page
    assert "of the words" in page


def test_candidates_and_their_files_are_part_of_the_run(tmp_path: Path) -> None:
    (tmp_path / "mine.tsv").write_text("film\tmovie\ngood\tfine\ngreat\tgrand\nbad\tpoor\n")
    asked = {"data": "reviews", "rows": 20, "threat": "words:1", "out": tmp_path / "run"}
    done = bs.transfer(["reviews", "reviews-cnn"], candidates=f"synonyms:file={tmp_path / 'mine.tsv'}", **asked)
    assert done.config.limits
    assert done.config.candidates == f"synonyms:file={tmp_path / 'mine.tsv'}"
    assert bs.verify(tmp_path / "run")


def test_classes_in_another_order_and_labels_alone_are_matched_by_name() -> None:
    def turned(texts: list[str]) -> Any:
        return pipeline().decision_function(texts)[:, None] * [[0.5, -0.5]]

    models = [
        pipeline(),
        bs.TextModel(turned, class_names=CLASSES[::-1], name="turned"),
        bs.TextModel(lambda texts: pipeline().predict(texts), "labels", class_names=CLASSES, name="labels"),
    ]
    data = bs.load_data("reviews", ROWS)
    done = bs.transfer(models, data=data, threat="words:2")
    assert done.error[0][0] == done.error[0][1] == done.error[0][2]
    assert done.error[1] == done.error[0]
    assert done.config.sources[2].attack == "Sampling(queries=500)"
    assert done.config.sources[2].access == "labels"
    assert done.error[2][2] <= done.error[0][0]


class Net(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(4, 2))


@pytest.mark.parametrize(
    ("models", "asked", "said"),
    [
        (["reviews", Net()], {}, "expected threat, model and data all for texts"),
        (["reviews", "reviews-cnn"], {"threat": "linf:0.1"}, "expected threat, model and data all for texts"),
        (["reviews", "reviews-cnn"], {"ensemble": True}, "expected no ensemble for words:1.0"),
        (["reviews", "reviews-cnn"], {"surrogate": 100}, "expected no surrogate for"),
        (["reviews", "reviews-cnn"], {"resize": (8, 8)}, "expected no resize for"),
        (["reviews", "reviews-cnn"], {"candidates": "vocabulary"}, "neither a file nor a model"),
        (["reviews", "reviews-cnn"], {"attack": "pgd"}, "expected a threat that is a ball of a norm"),
        (["reviews", "reviews-cnn"], {"threat": "wrds:1"}, "expected a threat, one of"),
        (["reviews"], {}, "expected at least two models"),
    ],
)
def test_what_means_nothing_for_texts_is_refused(models: list[Any], asked: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        bs.transfer(models, data="reviews", rows=10, **{"threat": "words:1", **asked})
