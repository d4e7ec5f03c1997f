"""What `blindspots serve` answers: to whom, in which protocols, and to what it does not understand."""

import base64
import json
from http.client import HTTPConnection
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from blindspots.cli.app import app
from blindspots.cli.serving import _is_loopback, _name
from blindspots.serving import Served, Server
from stand_ins import TOKEN, data, listening, model

X = data(2).rows(0, 2)[0]
EXPECTED = model().logits(X).detach().numpy()
FEW = 5


def served() -> Server:
    return Server(Served(model(), data(), "small", TOKEN))


def asked(server: Any, method: str, path: str, content: bytes = b"", **headers: str) -> tuple[int, Any]:
    connection = HTTPConnection("127.0.0.1", server.server_address[1], timeout=10)
    sent = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json", **headers}
    connection.request(method, path, content, sent)
    reply = connection.getresponse()
    status, said = reply.status, json.loads(reply.read())
    connection.close()
    return status, said


def test_every_protocol_gives_the_scores_of_the_model() -> None:
    with listening(served()) as server:
        tensor = {"name": "x", "shape": list(X.shape), "datatype": "FP32", "data": X.flatten().tolist()}
        _, about = asked(server, "GET", "/v2/models/small")
        assert about["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 1, 8, 8]}]
        assert about["outputs"][0]["shape"] == [-1, FEW]
        _, oip = asked(server, "POST", "/v2/models/small/infer", json.dumps({"inputs": [tensor]}).encode())
        first = np.reshape(oip["outputs"][0]["data"], oip["outputs"][0]["shape"])
        _, kserve = asked(server, "POST", "/v1/models/small:predict", json.dumps({"instances": X.tolist()}).encode())
        _, mlflow = asked(server, "POST", "/invocations", json.dumps({"inputs": X.tolist()}).encode())
        for scores in (first, kserve["predictions"], mlflow["predictions"]):
            np.testing.assert_allclose(scores, EXPECTED, rtol=1e-5, atol=1e-5)


def test_pictures_come_as_bytes_or_base64_and_the_best_labels_go_back() -> None:
    file = BytesIO()
    pixels = (X[0, 0].numpy() * 255).round().astype(np.uint8)
    Image.fromarray(pixels).save(file, "PNG")
    scores = model().logits(X.new_tensor(pixels / 255)[None, None]).detach().softmax(1)[0]
    wrapped = {"inputs": base64.b64encode(file.getvalue()).decode(), "parameters": {"top_k": 2}}
    with listening(served()) as server:
        kind = {"Content-Type": "image/png"}
        _, all_of_them = asked(server, "POST", "/hf/small", file.getvalue(), **kind)
        _, two = asked(server, "POST", "/hf/small", json.dumps(wrapped).encode())
    best = scores.argsort(descending=True).tolist()
    assert [one["label"] for one in all_of_them] == [f"LABEL_{i}" for i in best]
    assert two == all_of_them[:2]
    assert all_of_them[0]["score"] == pytest.approx(float(scores.max()), rel=1e-5)


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("/invocations", b"no JSON"),
        ("/invocations", b"[1]"),
        ("/invocations", b'{"inputs": [[1, 2]]}'),
        ("/invocations", b'{"inputs": "x"}'),
        ("/v2/models/small/infer", b'{"inputs": []}'),
        ("/v2/models/small/infer", b'{"inputs": [{"shape": [1], "datatype": "BYTES", "data": ["a"]}]}'),
        ("/hf/small", b'{"inputs": "no picture"}'),
    ],
)
def test_what_is_no_request_is_refused_in_a_sentence(path: str, content: bytes) -> None:
    with listening(served()) as server:
        status, said = asked(server, "POST", path, content)
    assert status == 400
    assert said["error"].startswith("expected")


def test_only_who_has_the_token_is_let_in() -> None:
    with listening(served()) as server:
        for wrong in ("", "Bearer", f"Bearer {TOKEN[:-1]}", TOKEN):
            assert asked(server, "GET", "/v2/models/small", Authorization=wrong)[0] == 401
            assert asked(server, "POST", "/invocations", b"{}", Authorization=wrong)[0] == 401
        assert asked(server, "GET", "/nothing")[0] == 404


def test_only_loopback_is_taken_for_this_machine() -> None:
    assert [_is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "10.0.0.1", "me.example")] == [
        True, True, True, False, False, False,
    ]  # fmt: skip
    assert _name("a model/of:mine") == "a-model-of-mine"


def test_a_port_that_is_taken_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BLINDSPOTS_TOKEN", TOKEN)
    with listening(served()) as server:
        port = str(server.server_address[1])
        done = CliRunner().invoke(app, ["serve", "digits", "--data", "digits", "--port", port])
    assert done.exit_code == 2
    assert "expected to listen at 127.0.0.1:" in done.output
    assert TOKEN not in done.output
