"""What blindspots says to servers that somebody else wrote, and what it makes of their answers and their moods."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import blindspots as bs
from blindspots.errors import InputError
from blindspots.models.endpoints.spending import Spending, Terms
from spec_server import CLASSES, NAMES, SHAPE, scores, softmax, speaking, tensors

pytest.importorskip("httpx2")

X = torch.rand(5, *SHAPE, generator=torch.Generator().manual_seed(0))
LEVELS = (X * 255).round() / 255
FRAME = '{"dataframe_split": {"columns": COLUMNS, "data": {xs}}}'.replace(
    "COLUMNS", json.dumps([f"pixel {i}" for i in range(60)])
)


OPEN: list[Any] = []


@pytest.fixture(autouse=True)
def closed_in_the_end(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("BLINDSPOTS_TOKEN", raising=False)
    yield
    while OPEN:
        OPEN.pop().close()


def opened(folder: Path, server: Any, said: str) -> Any:
    """A model by its name, or by what its template says."""
    if said.startswith("{"):
        path = folder / "service.toml"
        lines = [f"{key} = {_toml(value)}" for key, value in json.loads(said).items()]
        path.write_text("\n".join(lines).replace("URL", server.url))
        said = f"template:{path}"
    OPEN.append(bs.load_model(said.replace("{url}", server.url)))
    return OPEN[-1]


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {json.dumps(one)}" for key, one in value.items()) + "}"
    return json.dumps(value)


def described(**said: Any) -> str:
    return json.dumps({"wait": 0.01, "retries": 3, "timeout": 1.0, **said})


OIP, TF, HF = "oip:{url}/v2/models/m", "kserve1:{url}/v1/models/m", "hf:{url}/hf"
INFER, PREDICT = "URL/v2/models/m", "URL/v1/models/m:predict"
NO_TENSORS = {"name": "m", "versions": [], "platform": "", "inputs": [], "outputs": []}
WAYS: dict[str, tuple[str, dict[str, Any], str]] = {
    "oip": (OIP, {}, "logits"),
    "oip in 64 bits": (OIP, {"metadata": tensors("FP64")}, "logits"),
    "oip in whole levels": (OIP, {"metadata": tensors("UINT8")}, "levels"),
    "oip in 16 bits, binary": (OIP, {"metadata": tensors("FP16")}, "half"),
    "oip, 16 bits come back": (OIP, {"metadata": tensors(outputs=("half",))}, "logits of 16 bits"),
    "oip, channels last": (OIP, {"metadata": tensors(shape=(-1, 4, 5, 3))}, "logits"),
    "oip, one at a time": (OIP, {"metadata": tensors(shape=(1, *SHAPE))}, "logits"),
    "oip, one of several outputs": (
        described(url=INFER, protocol="oip", tensors={"output": "logits"}),
        {"metadata": tensors(outputs=("logits", "label"))}, "logits",
    ),
    "oip, labels": (
        described(url=INFER, protocol="oip", classes=CLASSES), {"metadata": tensors(outputs=("label",))}, "labels"
    ),
    "oip without a description": (
        described(url=INFER, protocol="oip", classes=CLASSES), {"metadata": NO_TENSORS}, "labels"
    ),
    "oip without a description, output": (
        described(url=INFER, protocol="oip", tensors={"output": "logits"}), {"metadata": NO_TENSORS}, "logits"
    ),
    "mlflow": ("mlflow:{url}", {}, "logits"),
    "mlflow, probabilities": ("mlflow:{url}", {"answer": "probabilities"}, "probabilities"),
    "mlflow, labels": (described(url="URL", protocol="mlflow", classes=CLASSES), {"answer": "labels"}, "labels"),
    "mlflow, names": (
        described(url="URL", protocol="mlflow", class_names=NAMES), {"answer": "names"}, "labels"
    ),
    "mlflow, records": (
        described(url="URL", protocol="mlflow", class_names=NAMES), {"answer": "records"}, "probabilities"
    ),
    "mlflow, data frame": (
        described(url="URL/invocations", body=FRAME, scores="predictions"), {}, "logits"
    ),
    "tf": (TF, {}, "logits"),
    "tf, several outputs": (
        described(url=PREDICT, body='{"instances": {xs}}', scores="predictions[*].p"),
        {"several": True}, "probabilities",
    ),
    "tf, by columns, with a signature": (
        described(
            url=PREDICT, scores="outputs.p", body='{"signature_name": "mine", "inputs": {"image": {xs}}}'
        ), {"signature": "mine"}, "probabilities",
    ),
    "hf": (described(url="URL/hf", protocol="hf", class_names=NAMES), {}, "levels, probabilities"),
}  # fmt: skip


def expected(kind: str) -> np.ndarray:
    x = {"levels": LEVELS, "half": X.half().float()}.get(kind.partition(",")[0], X)
    found = np.stack([scores(one.numpy()) for one in x])
    if "probabilities" in kind:
        return np.log(softmax(found))
    if kind == "labels":
        return np.eye(CLASSES)[found.argmax(1)]
    return found.astype(np.float16).astype(np.float32) if "16 bits" in kind else found


@pytest.mark.parametrize("way", WAYS)
def test_servers_by_their_specifications_get_what_they_expect_and_are_understood(way: str, tmp_path: Path) -> None:
    said, ways, kind = WAYS[way]
    with speaking(**ways) as server:
        model = opened(tmp_path, server, said)
        answers = model.logits(X).numpy()
        assert max(server.asked.values()) == 1, "it was asked twice"
    np.testing.assert_allclose(answers, expected(kind), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("said", "ways", "words"),
    [
        (
            OIP,
            {"metadata": tensors(outputs=("logits", "label"))},
            "expected one output of the model at .*logits, label",
        ),
        (OIP, {"metadata": {"inputs": 3}}, "expected the metadata of a model"),
        (OIP, {"metadata": tensors("BYTES")}, "expected a model that takes UINT8, FP16, BF16, FP32 or FP64, got BYTES"),
        (OIP, {"metadata": tensors(outputs=("label",))}, "expected to know the classes of"),
        (TF, {"signature": "mine"}, "to take these inputs, got status 400, .*no such signature"),
        (TF, {"several": True}, "expected scores, labels, or labels with scores"),
        (HF, {"most": 1}, "which does not name all of them"),
    ],
)
def test_what_a_service_needs_besides_is_said(said: str, ways: dict[str, Any], words: str, tmp_path: Path) -> None:
    with speaking(**ways) as server, pytest.raises(InputError, match=words):
        opened(tmp_path, server, said).logits(X)


# ------------------------------------------------------------------ moods


def test_a_wait_that_a_service_asks_for_holds_for_all_requests(tmp_path: Path) -> None:
    """The second request, and the first of four at once, is told to wait: what comes later waits as long."""
    with speaking(status=lambda n: (429, {"Retry-After": "1"}) if n == 2 else None) as server:
        model = opened(tmp_path, server, described(url="URL", protocol="mlflow", batch=1, concurrency=4))
        answers = model.logits(X)
        counts, times = model.spending.counts, np.diff(server.times)
    assert times.max() >= 0.9
    assert (counts.failed, counts.again, counts.billed) == (1, 1, 5)
    np.testing.assert_allclose(answers.numpy(), expected("logits"), atol=1e-5)


def test_a_wait_that_is_too_long_is_said_and_not_begun(tmp_path: Path) -> None:
    with speaking(status=lambda n: (503, {"Retry-After": "3600"})) as server:
        model = opened(tmp_path, server, described(url="URL", protocol="mlflow"))
        with pytest.raises(InputError, match=r"got status 503, to be asked again in 3,600 s"):
            model.logits(X)
        assert server.requests == 1


def test_a_request_ends_in_time_even_if_its_answer_comes_byte_by_byte(tmp_path: Path) -> None:
    with speaking(drip=0.05) as server:
        model, began = (
            opened(tmp_path, server, described(url="URL", protocol="mlflow", timeout=0.3, retries=0)),
            time.monotonic(),
        )
        with pytest.raises(InputError, match=r"got no answer within 0.3 s"):
            model.logits(X)
        assert time.monotonic() - began < 2
        assert model.spending.counts.lost == 1


def test_processes_share_the_pace(tmp_path: Path) -> None:
    """Two accounts on one file take turns a tenth of a second apart, and a hold keeps both back."""
    one, other = (Spending(tmp_path / "queries.sqlite", Terms()) for _ in range(2))
    waits = [account.turn(10.0) for account in (one, other, one, other)]
    np.testing.assert_allclose(np.diff(waits), 0.1, atol=0.05)
    one.hold(5.0)
    assert 4 < other.turn(None) <= 5
    other.deadline = time.monotonic() + 0.5
    assert other.turn(None) <= 0.5
    one.close()
    other.close()
