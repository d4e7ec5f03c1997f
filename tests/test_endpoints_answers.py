"""What endpoints may answer, and what is said where that is no answer: without a model behind them."""

import base64
import json
import math
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch

import blindspots as bs
from blindspots.errors import InputError
from blindspots.models.endpoints.oip import OpenInference
from blindspots.models.endpoints.reading import REFUSED, Reader, Said, kind_of, names_in, parsed, tells_all
from blindspots.models.endpoints.secrets import checked_headers, cleaned, filled_url, secrets_in
from blindspots.models.endpoints.spending import Counts, Spending, SpentError, Terms, money
from blindspots.models.endpoints.template import Template, found
from blindspots.models.endpoints.transport import first_words, retry_after
from blindspots.problem import Need

pytest.importorskip("httpx2")


def reader(kind: Said, classes: int | None = 3, names: list[str] | None = None, rejects: bool = False) -> Reader:
    return Reader(kind, classes, names, rejects, "the service")


def scores(said: Any, kind: Said, **more: Any) -> list[float]:
    return reader(kind, **more).scores([json.dumps(said).encode()])[0].tolist()


# ------------------------------------------------------------------ what is answered


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ([0.2, 0.7, 0.1], "probabilities"),
        ([0.2, 0.701, 0.1], "probabilities"),
        ([0.2, 0.9, 0.1], "logits"),
        ([-1.5, 3.0, 0.0], "logits"),
        (2, "labels"),
        ([2], "labels"),
        (2.0, "labels"),
        ("cat", "labels"),
        ([0.3], "probabilities"),
        ([{"label": "cat", "score": 0.6}, {"label": "dog", "score": 0.3}], "probabilities"),
        ([{"label": "cat", "score": 0.6}], "labels"),
        ({"cat": 2.5, "dog": -1.0}, "logits"),
    ],
)
def test_what_numbers_mean_is_seen(said: Any, kind: str) -> None:
    assert kind_of(parsed(said, "the service")) == kind


@pytest.mark.parametrize("said", [None, True, [], {}, [[1.0, 2.0]], [None, None], [1.0, "a"], [{"label": 1}]])
def test_what_is_no_answer_is_refused(said: Any) -> None:
    with pytest.raises(InputError, match="expected scores, labels, or labels with scores from the service"):
        parsed(said, "the service")


def test_probabilities_become_their_logarithms_and_logits_stay() -> None:
    assert scores([0.2, 0.7, 0.1], "probabilities") == pytest.approx([math.log(0.2), math.log(0.7), math.log(0.1)])
    assert scores([-1.0, 3.0, 0.5], "logits") == [-1.0, 3.0, 0.5]
    assert all(map(math.isfinite, scores([0.0, 1.0, 0.0], "probabilities")))


def test_a_single_number_is_that_of_the_second_of_two_classes() -> None:
    assert scores([0.25], "probabilities", classes=2) == pytest.approx([math.log(0.75), math.log(0.25)])
    assert scores([3.5], "logits", classes=2) == [-1.75, 1.75]


def test_a_score_that_happens_to_be_whole_is_no_label_and_a_label_is_no_score() -> None:
    assert scores(1.0, "probabilities", classes=2)[1] == 0.0
    assert scores([0.0], "probabilities", classes=2)[0] == 0.0
    assert scores(3, "logits", classes=2) == [-1.5, 1.5]
    with pytest.raises(InputError, match=r'got 0\.7: if it answers with the score of one of two .*"probabilities"'):
        scores(0.7, "labels", classes=2)


def test_answers_that_contradict_the_first_one_are_said() -> None:
    for said in ([-3.0, -1.0, 0.5], [0.2, 1.2, 0.1], {"a": 2.0, "b": 0.1, "c": 0.1}):
        with pytest.raises(InputError, match=r'expected probabilities from the service.*answers = "logits"'):
            scores(said, "probabilities", names=["a", "b", "c"])
    assert scores([0.2, 1.0 + 1e-6, 0.0], "probabilities")[1] == pytest.approx(0.0, abs=1e-5)


def test_numbers_that_are_none_stay_none_as_those_of_a_model_here() -> None:
    nan, inf = float("nan"), float("inf")
    assert scores([-inf, 1.0, 2.0], "logits") == [-inf, 1.0, 2.0]
    assert scores(["-Infinity", 1.0, 2.0], "logits") == [-inf, 1.0, 2.0]
    assert scores([10**400, 1.0, 2.0], "logits") == [inf, 1.0, 2.0]
    for none in ([nan, 1.0, 2.0], [None, 1.0, 2.0], ["NaN", 1.0, 2.0]):
        for kind in ("logits", "probabilities", "labels"):
            said = [one if one is None or one != one or one == "NaN" else one / 4 for one in none]
            assert math.isnan(scores(said, kind)[0])  # type: ignore[arg-type]


def test_values_may_have_names_and_words_are_none() -> None:
    read = reader("values", classes=None)
    assert read.scores([b'{"price": 3.5}', b"[4]", b"2.5"])[:, 0].tolist() == [3.5, 4.0, 2.5]
    with pytest.raises(InputError, match="expected numbers from the service, got 'cat'"):
        read.scores([b'"cat"'])


def test_a_damaged_answer_is_said() -> None:
    with pytest.raises(InputError, match="got one that is not JSON: it was damaged"):
        reader("logits").scores([b"[1.0, 2"])


def test_probabilities_of_a_few_classes_do_not_tell_how_many_there_are() -> None:
    few = parsed([{"label": "cat", "score": 0.6}, {"label": "dog", "score": 0.3}], "")
    assert not tells_all(few)
    assert tells_all(parsed([{"label": "cat", "score": 0.6}, {"label": "dog", "score": 0.4}], ""))


def test_classes_that_are_left_out_get_an_upper_bound_below_those_that_are_not() -> None:
    best = [{"label": "c", "score": 0.5}, {"label": "a", "score": 0.3}]
    a, b, c = scores(best, "probabilities", names=["a", "b", "c"])
    assert (a, c) == pytest.approx((math.log(0.3), math.log(0.5)))
    assert b == pytest.approx(math.log(0.2))  # all that is left
    crowded = [{"label": "a", "score": 0.3}, {"label": "b", "score": 0.2}]
    assert scores(crowded, "probabilities", names=["a", "b", "c"])[2] < math.log(0.2)
    assert scores({"a": 5.0, "b": -2.0}, "logits", names=["a", "b", "c"])[2] < -2.0


def test_rounded_scores_tie_and_a_tie_is_no_success() -> None:
    """Two decimals: the truth is 0.504 against 0.496, which nobody can tell."""
    tie = torch.tensor([scores([0.5, 0.5, 0.0], "probabilities")])
    assert float(bs.goals.Classify().margin(tie, torch.tensor([0]))) == 0.0


def test_names_are_matched_to_classes_whatever_their_order() -> None:
    for said in ("Dog", "dog"):
        assert scores(said, "labels", names=["cat", "dog", "fish"]) == [0, 1, 0]
    assert scores("LABEL_2", "labels") == [0, 0, 1]
    assert scores(1, "labels") == [0, 1, 0]
    assert names_in(parsed({"10": 0.1, "9": 0.9}, "")) == ["9", "10"]
    with pytest.raises(InputError, match="expected one of the classes cat, dog, fish from the service, got 'bird'"):
        scores("bird", "labels", names=["cat", "dog", "fish"])
    with pytest.raises(InputError, match="expected classes from 0 to 2 from the service, got 7"):
        scores(7, "labels")
    with pytest.raises(InputError, match="expected 3 scores for an input from the service, got 2"):
        scores([0.5, 0.5], "probabilities")


def test_a_refusal_is_a_class_of_its_own_and_no_answer_is_no_number() -> None:
    read = reader("logits", rejects=True).scores([b"[1.0, 2.0, 3.0]", json.dumps({REFUSED: 403}).encode(), None])
    goal = bs.goals.Classify(rejects=True)
    assert goal.predict(read[:2], torch.tensor([0, 0])).tolist() == [2, -1]
    assert goal.margin(read[:2], torch.tensor([0, 0])).tolist() == [-2.0, 1e4]
    assert read[2].isnan().all()


def test_paths_lead_to_answers() -> None:
    said = {"out": [{"p": [0.1, 0.9]}, {"p": [0.8, 0.2]}], "n": {"a-b": [5]}}
    assert found(said, "out[*].p") == [[0.1, 0.9], [0.8, 0.2]]
    assert found(said, "out[1].p[0]") == [0.8]
    assert found(said, "n.a-b") == [[5]]
    assert found(said, "nowhere.else", missing=True) == []
    with pytest.raises(LookupError):
        found(said, "nowhere")
    with pytest.raises(InputError, match="expected a path such as"):
        found(said, "out[x]")


@pytest.mark.parametrize(
    ("body", "path", "reply", "inputs", "answers"),
    [
        ("{x}", "scores", {"scores": [0.1, 0.9]}, 1, [[0.1, 0.9]]),
        ("{x}", "label", {"label": 3}, 1, [3]),
        ("{x}", "all[*].score", {"all": [{"score": 0.1}, {"score": 0.9}]}, 1, [[0.1, 0.9]]),
        ("{xs}", "p", {"p": [[1, 2], [3, 4]]}, 2, [[1, 2], [3, 4]]),
        ("{xs}", "p", {"p": [[1, 2]]}, 1, [[1, 2]]),
        ("{xs}", "p[*].q", {"p": [{"q": "a"}, {"q": "b"}]}, 2, ["a", "b"]),
        ("{xs}", "p", {"state": "blocked"}, 2, [{REFUSED: 200}] * 2),
    ],
)
def test_templates_find_the_answer_to_every_input(
    body: str, path: str, reply: Any, inputs: int, answers: list[Any]
) -> None:
    rule = {"path": "state", "is": "blocked"}
    said = Template(url="http://host", body=f'{{"in": {body}}}', scores=path, refused=rule)
    made = said.protocol_at(said.url, said.body)
    assert made.answers(reply, inputs) == answers
    sent = json.loads(made.body([b"[0, 1]"] * inputs, (2,)))["in"]
    assert sent == ([0, 1] if body == "{x}" else [[0, 1]] * inputs)


def test_tensors_take_the_shape_that_the_service_wants() -> None:
    x = torch.arange(12.0).view(3, 2, 2).numpy()
    made = OpenInference("http://host/v2/models/m", "x", "y")
    for shape, first in (([-1, 3, 2, 2], 1.0), ([-1, 2, 2, 3], 4.0), ([-1, 12], 1.0), ([1, -1, -1, -1], 1.0)):
        made.shape = tuple(shape)
        assert json.loads(b"[" + made.row(x) + b"]")[1] == first
    made.shape = (-1, 5)
    with pytest.raises(InputError, match=r"expected inputs of shape \[5\]"):
        made.row(x)


# ------------------------------------------------------------------ money


def test_money_is_exact() -> None:
    terms = Terms(Decimal("0.0015"), free=1000)
    assert [money(terms.cost(n)) for n in (0, 1000, 1001, 3000, 101_000)] == [
        "0.00",
        "0.00",
        "0.0015",
        "3.00",
        "150.00",
    ]
    assert Terms(Decimal("0.1"), paid=Decimal("0.3")).most == 3  # in floats 0.3 // 0.1 is 2
    assert Terms(Decimal("0.1"), free=5, queries=7, paid=Decimal("0.3")).most == 7


def test_an_account_counts_what_was_begun_and_never_lets_more_begin(tmp_path: Path) -> None:
    account = Spending(tmp_path / "queries.sqlite", Terms(Decimal(1), queries=10))
    with account.sending(4, again=False) as sending:
        sending.outcome = "answered"
    with account.sending(5, again=True) as sending:
        pass  # no word: lost
    with pytest.raises(SpentError), account.sending(2, again=False):
        pass
    other = Spending(tmp_path / "queries.sqlite", Terms(Decimal(1), queries=10))
    assert other.counts == Counts(answered=4, lost=5, again=5)
    assert (other.counts.sent, other.counts.billed, other.affords(1), other.affords(2)) == (9, 9, True, False)
    other.close()
    account.close()


# ------------------------------------------------------------------ what is no answer


class Fixed(BaseHTTPRequestHandler):
    """Says one thing to everybody."""

    status, headers_, content = 200, {}, b""  # type: tuple[int, dict[str, str], bytes]

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(self.status)
        for name, value in {"Content-Length": str(len(self.content)), **self.headers_}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(self.content)

    do_GET = do_POST  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def saying(status: int, content: bytes = b"", headers: dict[str, str] | None = None) -> Iterator[str]:
    kind = type("Says", (Fixed,), {"status": status, "content": content, "headers_": headers or {}})
    with ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        server.daemon_threads = True
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def asked(url: str, folder: Path, **more: Any) -> str:
    """What is said of such a service."""
    said = {"url": url, "protocol": "mlflow", "retries": 1, "wait": 0, "timeout": 1, **more}
    path = folder / "service.toml"
    path.write_text("\n".join(f"{key} = {json.dumps(value)}" for key, value in said.items()))
    model = bs.load_model(f"template:{path}")
    with pytest.raises(InputError) as error:
        model.logits(torch.zeros(1, 4))
    model.service.close()  # type: ignore[union-attr]
    return str(error.value)


@pytest.mark.parametrize(
    ("status", "content", "said"),
    [
        (200, b"<!doctype html><title>Sign in</title> to go on", "got a page that begins 'Sign in to go on'"),
        (200, b"not json at all", "got one that begins 'not json at all'"),
        (200, b'{"outputs": []}', "got one that begins '{\"outputs\": []}'"),
        (200, b'{"predictions": [[1.5, 2], [1, 2]]}', "expected 1 answers to 1 inputs"),
        (401, b"who are you", "expected to be let in"),
        (404, b"nothing here", "got status 404, 'nothing here'"),
        (422, b"wrong shape", "to take these inputs, got status 422, 'wrong shape'"),
        (403, b"", "it was refused with status 403: check the address and the token"),
        (503, b"", "got status 503, however often it was asked"),
    ],
)
def test_what_is_no_answer_is_said_in_a_sentence(status: int, content: bytes, said: str, tmp_path: Path) -> None:
    with saying(status, content) as url:
        assert said in asked(url, tmp_path)


def test_redirects_elsewhere_are_not_followed_and_their_secrets_are_not_shown(tmp_path: Path) -> None:
    with saying(200, b'{"predictions": [[1.5, 2.5]]}') as other:
        where = {"Location": f"{other}/invocations?token=hidden"}
        with saying(307, headers=where) as url:
            said = asked(url, tmp_path)
    assert f"got a redirect to {other}/invocations, which is not followed" in said
    assert "hidden" not in said


def test_nobody_there_and_no_certificate_are_said(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert "ConnectError" in asked(f"http://127.0.0.1:{port}", tmp_path)
    with saying(200) as url:
        said = asked(url.replace("http", "https"), tmp_path)
    assert "expected a secure connection that this machine trusts" in said


def test_a_missing_variable_and_a_wrong_template_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOT_SET", raising=False)
    path = tmp_path / "service.toml"
    for text, said in (
        ('url = "http://host/${NOT_SET}"\nprotocol = "mlflow"', "expected the environment variable NOT_SET for url"),
        ('url = "http://host"', "a body, and either scores or labels"),
        ('url = "http://host"\nbody = "{}"\nscores = "a"', "a body with {x} or {xs} once"),
        ('url = "http://host"\nprotocol = "mlflow"\nprise = 3', "prise does not fit"),
        ("url = ", "expected a TOML file"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=said.replace("{", r"\{").replace("}", r"\}")):
            bs.load_model(f"template:{path}")


@pytest.mark.parametrize("spec", ["oip:host/v2/models/m", "mlflow:", "kserve1:ftp://host/m", "hf:https://"])
def test_what_is_no_address_is_refused(spec: str) -> None:
    with pytest.raises(InputError):
        bs.load_model(spec)


def test_labels_alone_make_a_model_of_labels_and_numbers_one_of_values(tmp_path: Path) -> None:
    path = tmp_path / "service.toml"
    for content, values, access, shape in (
        (b'{"predictions": [2]}', False, Need.LABEL, (1, 5)),
        (b'{"predictions": [2.5]}', True, Need.VALUE, (1, 1)),
    ):
        with saying(200, content) as url:
            path.write_text(f'url = "{url}"\nprotocol = "mlflow"\nclasses = 5\n')
            model = bs.load_model(f"template:{path}")
            model = model.of_values() if values else model
            out = model.logits(torch.zeros(1, 4))
            model.service.close()  # type: ignore[union-attr]
        assert (model.access, tuple(out.shape)) == (access, shape)
        assert out[0].argmax() == (0 if values else 2)


def test_a_service_that_draws_is_noticed_and_asked_anew(tmp_path: Path) -> None:
    class Draws(Fixed):
        count = 0

        def do_POST(self) -> None:
            Draws.count += 1
            self.content = json.dumps({"predictions": [[0.5 * Draws.count, 1.0]] * 1}).encode()
            super().do_POST()

    path = tmp_path / "service.toml"
    with ThreadingHTTPServer(("127.0.0.1", 0), Draws) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        path.write_text(f'url = "http://127.0.0.1:{server.server_address[1]}"\nprotocol = "mlflow"\nbatch = 1\n')
        model = bs.load_model(f"template:{path}")
        model.probe(torch.zeros(1, 4))  # type: ignore[attr-defined]
        assert model.varies  # type: ignore[attr-defined]
        before = Draws.count
        first, second = (model.logits(torch.ones(1, 4)) for _ in range(2))
        assert not torch.equal(first, second)
        assert Draws.count == before + 2
        model.service.close()  # type: ignore[union-attr]
        server.shutdown()
        thread.join()


def test_what_a_service_says_about_waiting_is_understood() -> None:
    assert retry_after("7") == 7.0
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0
    assert retry_after("soon") is None
    assert retry_after(None) is None


def test_secrets_are_taken_out_of_words_in_every_form(monkeypatch: pytest.MonkeyPatch) -> None:
    quoted = 'a "key" é'
    assert cleaned(f"x {json.dumps({'k': quoted})} y", {quoted}) == 'x {"k": "***"} y'
    assert secrets_in("http://me:pass%20word@host/x?key=a%2Bb") >= {"me", "pass%20word", "a+b", "a%2Bb"}
    assert base64.b64encode(b"me:pass word").decode() in secrets_in("http://me:pass%20word@host/x")
    monkeypatch.setenv("KEY", " a b/c&d=+%\n")
    url, found = filled_url("http://host/${KEY}?key=${KEY}&more", "url")
    assert url == "http://host/a%20b/c%26d%3D%2B%25?key=a%20b%2Fc%26d%3D%2B%25&more"
    assert found == {"a b/c&d=+%"}
    for bad in ("${KEY}", "http://host:${KEY}/", "http://[::1/x"):
        with pytest.raises(InputError, match="expected an address such as") as error:
            filled_url(bad, "url")
        assert "c&d" not in str(error.value)
    for name, value in (("X-Key", "a\nb"), ("X-Key", "schlüssel"), ("X Key", "a"), ("X-Key", "a–b")):
        with pytest.raises(InputError, match="expected a header of plain ASCII") as error:
            checked_headers({name: value})
        assert value == "a" or value not in str(error.value)
    secrets = frozenset({"a b/c&d", "tok"})
    assert cleaned("x a b/c&d y a%20b%2Fc%26d z", secrets) == "x *** y *** z"
    assert first_words(b"<p>Invalid: a b/c&d</p>", secrets) == "'Invalid: ***'"
