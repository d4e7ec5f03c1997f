"""Models behind addresses: five protocols, faults, money, secrets, and what is refused."""

import json
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import blindspots as bs
from blindspots.box import to_levels
from blindspots.data.levels import InLevels
from blindspots.errors import InputError
from blindspots.experiments.evaluate import money
from blindspots.experiments.evaluate.evidence import Evidence
from blindspots.runs.folder import Folder
from blindspots.runs.store import opened
from small_run import Net
from stand_ins import ROWS, TOKEN, data, itself, model, standing, template

pytest.importorskip("httpx2")

PROTOCOLS = ["oip", "kserve1", "mlflow", "hf", "json"]
SETTINGS: dict[str, Any] = {"row_budget": 36, "chunk": 8, "slots": 8, "threads": 1}
THREAT = bs.Linf(12 / 255)


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAND_TOKEN", TOKEN)
    monkeypatch.setenv("BLINDSPOTS_TOKEN", TOKEN)


def run(spec: Any, out: Path | None = None, **more: Any) -> bs.Evaluation:
    settings = {"threat": THREAT, "protocol": "blackbox-scores", "data": data(), **SETTINGS, **more}
    return bs.evaluate(spec, out=out, **settings)


def as_sent(protocol: str) -> Any:
    return InLevels(data(), model().box, 255) if protocol == "hf" else data()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_service_with_faults_gives_the_verdict_of_the_model_itself_at_the_cost_it_charges(
    protocol: str, tmp_path: Path
) -> None:
    own = run(itself(protocol), data=as_sent(protocol))
    with standing(share=0.1) as server:
        spec = template(tmp_path / "specs", server, protocol, price="0.0015", free=7)
        done = run(spec, tmp_path / "run")
        v = done.verdict
        assert set(server.met) == {"429", "500", "time-out", "torn"}, "too few requests to show anything"
        assert torch.equal(done.success, own.success)
        assert torch.equal(done.norms, own.norms)
        assert (v.robust_accuracy, v.clean_accuracy, v.outcomes) == (
            own.verdict.robust_accuracy, own.verdict.clean_accuracy, own.verdict.outcomes,
        )  # fmt: skip
        assert v.endpoint is not None
        assert v.endpoint.billed == server.billed
        assert Decimal(str(v.paid)) == Decimal("0.0015") * (server.billed - 7)
        assert v.endpoint.lost > 0
        assert v.endpoint.failed > 0
        assert v.queries == v.endpoint.answered + v.endpoint.lost + v.endpoint.failed
        assert v.endpoint.again == v.endpoint.lost + v.endpoint.failed
        assert bs.verify(tmp_path / "run", data=data()).ok
        assert v.endpoint.billed == server.billed, "verify asked again what was kept"


def test_the_forecast_of_a_rehearsal_is_what_it_comes_to(tmp_path: Path) -> None:
    with standing(share=0.1) as server:
        spec = template(tmp_path, server, "oip", price="0.0015")
        here = f"{Path(__file__).with_name('stand_ins.py')}:model"
        v = run(spec, rehearse=here).verdict
    assert v.endpoint is not None
    assert abs(v.endpoint.expected - v.endpoint.billed) <= 0.1 * v.endpoint.billed
    assert Decimal(v.endpoint.expected_paid) == Decimal("0.0015") * v.endpoint.expected
    assert v.endpoint.billed <= v.endpoint.at_most


def test_where_no_row_falls_the_forecast_is_the_budget_of_the_rows(tmp_path: Path) -> None:
    with standing(share=0.1) as server:
        spec = template(tmp_path, server, "mlflow", answers="logits")
        v = run(spec, threat=bs.Linf(1e-4), data=data(4), row_budget=60).verdict
    right = round(v.clean_accuracy * 4)
    assert v.outcomes["budget"] == right
    evaluations = v.forwards
    assert v.endpoint is not None
    assert evaluations <= v.endpoint.at_most <= 1.1 * evaluations + (4 - right) * 60 + 10


def test_nothing_secret_is_in_any_byte_that_is_written_or_said(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    key = "another-secret-in-the-address"
    with pytest.MonkeyPatch.context() as patch, standing(share=0.2) as server:
        patch.setenv("STAND_KEY", key)
        spec = template(tmp_path / "specs", server, "json", url=f"{server.url}/invocations")
        done = run(spec, tmp_path / "run", data=data(3))
        bad = template(tmp_path / "bad", server, "json", url=f"{server.url}/nowhere?key=${{STAND_KEY}}")
        patch.setenv("STAND_TOKEN", f"wrong-{key}")
        with pytest.raises(InputError) as error:
            run(bad, tmp_path / "other", data=data(3))
        assert "got status 401" in str(error.value)
    written = b"".join(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file() and p.suffix != ".toml")
    said = "".join(capfd.readouterr()) + str(error.value) + repr(done) + "".join(map(str, done.findings))
    for secret in (TOKEN, key):
        assert secret.encode() not in written
        assert secret not in said


@pytest.mark.parametrize(
    "url", ["http://me:word@host/v2/models/m", "http://host/v2/models/m?key=word", "http://h/m#word"]
)
def test_an_address_with_a_secret_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(InputError, match="without user, password, query and fragment") as error:
        bs.load_model(f"oip:{url}")
    assert "word@" not in str(error.value)
    assert "=word" not in str(error.value)


# ------------------------------------------------------------------ budgets


@pytest.mark.parametrize("limit", [50])
def test_a_budget_of_queries_is_never_exceeded_and_the_verdict_says_what_was_left(limit: int, tmp_path: Path) -> None:
    with standing(share=0.1) as server:
        done = run(template(tmp_path, server, "oip"), tmp_path / "run", max_queries=limit, row_budget=None)
    v = done.verdict
    assert server.billed <= v.queries <= limit
    assert v.outcomes["budget"] > 0
    assert v.clean_accuracy == run(itself("oip")).verdict.clean_accuracy
    assert any(finding.code == "budget-spent" for finding in done.findings)


def test_a_budget_of_money_is_never_exceeded(tmp_path: Path) -> None:
    with standing(share=0.1) as server:
        spec = template(tmp_path, server, "kserve1")
        v = run(spec, row_budget=None, price=Decimal("0.01"), max_paid=Decimal("0.9")).verdict
        assert Decimal("0.45") < Decimal(str(v.paid)) <= Decimal("0.90")
        assert Decimal(str(v.paid)) == server.billed * Decimal("0.01")
        with pytest.raises(InputError, match="expected a budget of at least 29 queries for 6 rows, got one of 20"):
            run(spec, price=Decimal("0.01"), max_paid=Decimal("0.2"))
        with pytest.raises(InputError, match="expected a price for --max-paid"):
            run(spec, max_paid=Decimal("0.2"))
    with pytest.raises(InputError, match="expected a model behind an address for --price"):
        run(Net(), price=Decimal("0.01"))


def test_answers_in_a_file_are_paid_for_once(tmp_path: Path) -> None:
    with standing() as server:
        spec, file = template(tmp_path, server, "oip"), str(tmp_path / "kept.sqlite")
        first = run(spec, answers=file)
        before = server.billed
        again = run(spec, answers=file)
    assert server.billed == before
    assert again.verdict.queries == 0
    assert torch.equal(first.success, again.success)
    Path(file).write_bytes(b"no database" * 200)
    with standing() as server, pytest.raises(InputError, match="expected a file that answers can be kept in"):
        run(template(tmp_path, server, "oip"), answers=file)


def test_forecasts_on_the_way_have_bounds_that_hold_and_are_verified(tmp_path: Path) -> None:
    with standing() as server:
        spec = template(tmp_path, server, "oip", price="0.0015", free=3)
        v = run(spec, tmp_path / "run", slots=2).verdict
    assert v.endpoint is not None  # now the service is gone
    assert v.endpoint.forecasts, "none was made"
    for said in v.endpoint.forecasts:
        assert said.least <= v.endpoint.billed <= said.most <= v.endpoint.at_most
        assert said.after == said.least <= said.expected <= said.most
    assert bs.verify(tmp_path / "run", data=data()).ok


def test_the_curve_of_the_page_is_what_runs_with_smaller_budgets_cost(tmp_path: Path) -> None:
    with standing() as server:
        spec = template(tmp_path, server, "oip")
        run(spec, tmp_path / "whole")
        evidence = Evidence(opened(Folder(tmp_path / "whole")))
        rows, asked = evidence.rows, evidence.verdict.endpoint
        assert asked is not None
        used, fell = rows.forwards[rows.right].astype(np.int64), rows.broken[rows.right]
        budgets = np.array([4, 12, 24])
        said = money._queries(used, fell, budgets, len(rows), asked.billed, 1)
        for budget, queries in zip(budgets.tolist(), said, strict=True):
            smaller = run(spec, row_budget=budget).verdict
            assert smaller.outcomes.get("won", 0) == (fell & (used <= budget)).sum()
            assert queries == pytest.approx(smaller.queries, rel=0.1, abs=4)


def test_a_run_that_asked_nothing_has_a_bill_without_a_curve(tmp_path: Path) -> None:
    with standing() as server:
        spec, file = template(tmp_path, server, "oip"), str(tmp_path / "kept.sqlite")
        run(spec, answers=file)
        run(spec, tmp_path / "again", answers=file)
    bill = money.bill(Evidence(opened(Folder(tmp_path / "again"))))
    assert bill is not None
    assert bill.curve is None


def test_answers_that_are_read_in_another_way_are_not_paid_for_again(tmp_path: Path) -> None:
    with standing() as server:
        file = str(tmp_path / "kept.sqlite")
        run(template(tmp_path, server, "kserve1"), answers=file, row_budget=8)
        before = server.billed
        again = run(template(tmp_path, server, "kserve1", answers="logits", classes=5), answers=file, row_budget=8)
    assert server.billed == before
    assert again.verdict.queries == 0


def test_seconds_include_the_first_look(tmp_path: Path) -> None:
    def slowly(content: bytes) -> None:
        time.sleep(0.1)

    with standing(before=slowly) as server:
        spec = template(tmp_path, server, "kserve1", batch=1, concurrency=1, timeout=5)
        with pytest.raises(
            InputError, match=r"expected a budget in which .* answers to 6 rows, got one that was spent"
        ):
            run(spec, max_seconds=0.5)
        began = time.monotonic()
        v = run(spec, max_seconds=3.0, row_budget=None, threat=bs.Linf(1e-4)).verdict
    assert time.monotonic() - began < 4.0
    assert v.outcomes["budget"] > 0


# ------------------------------------------------------------------ kinds of answers


def test_a_refusal_is_an_answer_that_costs_and_no_success(tmp_path: Path) -> None:
    """Every changed input is refused: clean ones get their answers, and no row falls."""
    clean = {float(x.flatten()[0]) for x in data().rows(0, ROWS)[0]}

    def decline(content: bytes) -> int | None:
        return None if json.loads(content)["instances"][0][0][0][0] in clean else 403

    with standing(before=decline) as server:
        v = run(template(tmp_path, server, "kserve1", batch=1), tmp_path / "run", row_budget=12).verdict
        assert v.refused > ROWS
        assert v.endpoint.billed == server.billed
    assert v.clean_accuracy == run(itself("kserve1")).verdict.clean_accuracy
    assert v.outcomes.get("won", 0) == 0
    assert any(finding.code == "queries-refused" for finding in v.findings)


def test_points_of_a_service_of_pictures_are_the_pictures_that_were_sent(tmp_path: Path) -> None:
    with standing() as server:
        done = run(template(tmp_path, server, "hf"), threat=bs.Linf(20.3 / 255))
    assert done.success.any()
    adversarial = done.adversarial[done.success]
    assert torch.equal(adversarial, to_levels(adversarial, (0.0, 1.0), 255))
    assert (done.norms[done.success] <= 20 / 255 + 1e-6).all()
    assert done.verdict.robust_accuracy == done.verdict.robust_accuracy_8bit
