"""One trigger for all texts: known answers on bags of words, the search, its proof, its page, and what is refused."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import blindspots as bs
from blindspots.errors import InputError
from blindspots.experiments.universal.config import UniversalConfig
from blindspots.experiments.universal.triggers.methods import Coordinates, HotFlip
from blindspots.experiments.universal.triggers.placing import Placing
from blindspots.experiments.universal.triggers.search import fit
from blindspots.experiments.universal.triggers.setup import Setup
from blindspots.experiments.universal.triggers.sought import parse_sought
from blindspots.experiments.universal.triggers.task import Texts, TriggerTask
from blindspots.experiments.universal.triggers.verify import checks
from blindspots.experiments.universal.triggers.vocabulary import Vocabulary, vocabulary_of
from blindspots.models.texts import TextModel
from blindspots.oracle import Oracle
from blindspots.runs.folder import Folder
from blindspots.runs.store import Parts, opened
from blindspots.runs.verify import verify_files
from blindspots.runs.world import World
from blindspots.texts.pairs import joined
from blindspots.texts.reviews import CLASSES
from blindspots.texts.threats import Trigger
from blindspots.texts.tokens import WordTokenizer
from blindspots.texts.words import words
from test_cli import blindspots as command
from test_cli import in_one_sentence, plain

WEIGHTS = {"good": 1.0, "great": 2.0, "fine": 0.5, "bad": -1.0, "awful": -3.0, "poor": -2.0, "film": 0.0, "plot": 0.1}
LISTED = list(WEIGHTS)


def texts_of(rows: int) -> list[str]:
    """Different ones, of two to six of the words."""
    draw = torch.Generator().manual_seed(0)
    lengths = torch.randint(2, 7, (rows,), generator=draw).tolist()
    return [
        " ".join(LISTED[i] for i in torch.randint(0, 8, (n,), generator=draw)) + f" {row}"
        for row, n in enumerate(lengths)
    ]


def linear(texts: Sequence[str]) -> Tensor:
    """The sum of the words' weights, for class 1."""
    score = torch.tensor([sum(WEIGHTS.get(text[a:b], 0.0) for a, b in words(text)) for text in texts]) + 0.05
    return torch.stack([-score, score], 1)


class Bag(nn.Module):
    """The same sum as a network: an embedding of one number."""

    def __init__(self) -> None:
        super().__init__()
        table = torch.tensor([[0.0], [0.0], *([WEIGHTS[word]] for word in sorted(LISTED))])
        self.table = nn.Embedding.from_pretrained(table)

    def head(self, z: Tensor, mask: Tensor) -> Tensor:
        score = (z[:, :, 0] * mask).sum(1) + 0.05
        return torch.stack([-score, score], 1)


def bag(longest: int | None = None) -> bs.TokenModel:
    net, tokenizer = Bag(), WordTokenizer(sorted(LISTED))
    if longest is not None:
        tokenizer = Short(sorted(LISTED), longest)
    return bs.TokenModel(net, net.table, net.head, tokenizer, name="bag", class_names=CLASSES)


class Short(WordTokenizer):
    """Reads only so many words."""

    def __init__(self, vocabulary: Sequence[str], longest: int) -> None:
        super().__init__(vocabulary)
        self.longest = longest

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        return [row[: self.longest] for row in super().encode(texts)]

    def spans(self, text: str) -> list[tuple[int, int]]:
        return super().spans(text)[: self.longest]


TEXTS = texts_of(240)
Y = [int(k) for k in linear(TEXTS).argmax(1)]
SCORES = linear(TEXTS)[:, 1]
MODELS: dict[str, Callable[[], Any]] = {"function": lambda: TextModel(linear), "network": bag}


def found(model: Any, threat: str = "trigger:2", **settings: Any) -> Any:
    return bs.universal_trigger(model, TEXTS, Y, threat=threat, **{"fit": 120, **settings})


def rate(weight: float, rows: Tensor, target: int | None = None) -> float:
    """The share that a trigger of this weight fools: sums that change their sign."""
    score = SCORES[rows]
    if target is not None:
        score = score[(score > 0) != bool(target)]
    return float(((score > 0) != (score + weight > 0)).double().mean())


# ------------------------------------------------------------------ known answers


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(("target", "word"), [(0, "awful"), (1, "great")])
def test_towards_a_class_the_strongest_words_are_found(model: str, target: int, word: str) -> None:
    """Every exchange for a stronger word lowers the loss, so that coordinates end in the optimum."""
    done = found(MODELS[model](), target=target)
    assert done.trigger == f"{word} {word}"
    held = done.parts.joined("heldout")
    assert done.verdict.fooling_rate_heldout == rate(2 * WEIGHTS[word], held["row"], target)
    assert done.verdict.heldout.fooled.rows == int((held["clean"] != target).sum())


@pytest.mark.parametrize("model", MODELS)
def test_the_rate_is_that_of_the_words_and_no_others_fool_more_fit_texts_by_far(model: str) -> None:
    done = found(MODELS[model](), "trigger:1")
    rows, held = done.parts.joined("fit"), done.parts.joined("heldout")
    weight = WEIGHTS.get(done.trigger, 0.0)
    assert done.verdict.fooling_rate_heldout == rate(weight, held["row"])
    assert done.verdict.fooling_rate_fit == rate(weight, rows["row"])
    best = max(rate(other, rows["row"]) for other in WEIGHTS.values())
    assert done.verdict.fooling_rate_fit >= best - 0.05  # probabilities are what it goes by
    assert not set(rows["row"].tolist()) & set(held["row"].tolist())


def test_rates_of_classes_and_of_controls_are_those_of_their_words() -> None:
    done = found(bag(), target=None)
    held, weight = done.parts.joined("heldout"), sum(WEIGHTS[word] for word in done.trigger.split())
    for one in done.verdict.per_class:
        mine = held["row"][held["clean"] == one.label]
        assert (one.fooled.share, one.fooled.rows) == (rate(weight, mine), len(mine))
    stored = json.loads(bytes(done.parts["controls"]["words"].tolist()))
    for control, share in zip(stored, done.verdict.controls.values(), strict=True):
        assert share.share == pytest.approx(rate(sum(WEIGHTS[word] for word in control.split()), held["row"]))
    assert done.verdict.fooling_rate_heldout >= max(done.verdict.control_rates.values())


def test_every_look_is_counted() -> None:
    sent = 0

    def counting(texts: list[str]) -> Tensor:
        nonlocal sent
        sent += len(texts)
        return linear(texts)

    done = found(TextModel(counting), "trigger:1", method="coordinates:passes=1,batch=60,candidates=3")
    assert done.verdict.forwards <= 120 + 2 * 60 * 4 + 120
    assert done.verdict.forwards > 120 + 2 * 60
    assert done.verdict.backwards == 0


def task(model: Any, vocabulary: Sequence[str], place: Any = "front", target: int | None = None) -> TriggerTask:
    known = Vocabulary(tuple(vocabulary), (1,) * len(vocabulary))
    return TriggerTask(Oracle(model, chunk=16), model, Placing(place), known, target, 0)


@pytest.mark.parametrize("place", ["front", "end"])
@pytest.mark.parametrize("target", [None, 0])
def test_slopes_are_derivatives_along_the_exchange_of_a_word(place: Any, target: int | None) -> None:
    """Of the sum of the losses, by finite differences at the network's embeddings."""
    model = bag()
    t = task(model, LISTED, place, target)
    batch = Texts(TEXTS[:9], torch.tensor([int(s > 0) for s in SCORES[:9]]))
    trigger = torch.tensor([LISTED.index("film"), LISTED.index("plot")])
    slopes = t.slopes(trigger, batch)
    score, step = SCORES[:9] + WEIGHTS["film"] + WEIGHTS["plot"], 1e-3

    def loss(moved: Tensor) -> Tensor:
        logits = torch.stack([-moved, moved], 1).double().log_softmax(1)
        wanted = batch.clean if target is None else torch.zeros(9, dtype=torch.int64)
        picked = logits.gather(1, wanted[:, None]).sum()
        return picked if target is None else -picked

    for k, now in enumerate(("film", "plot")):
        for v, word in enumerate(LISTED):
            change = WEIGHTS[word] - WEIGHTS[now]
            wanted = (loss(score + step * change) - loss(score - step * change)) / (2 * step)
            assert float(slopes[k, v] - slopes[k, LISTED.index(now)]) == pytest.approx(float(wanted), abs=2e-3)


def test_a_step_never_makes_the_loss_of_its_batch_larger() -> None:
    model = bs.load_model("reviews-cnn")
    data = bs.load_data("reviews", rows=24)
    texts = data.texts(0, 24)
    t = TriggerTask(Oracle(model, chunk=64), model, Placing("front"), vocabulary_of(model, texts), None, 0)
    batch = Texts(texts, model.of(texts).argmax(1))
    trigger = torch.tensor(t.vocabulary.commonest[:3])
    for number in range(3):
        before = t.look(trigger[None], batch).loss
        trigger, won = HotFlip(candidates=4, beam=1).step(t, trigger, batch, number)
        after = t.look(trigger[None], batch)
        assert float(after.loss) <= float(before)
        assert torch.equal(won, after.won[0])


def test_a_wider_beam_and_more_candidates_find_no_worse_trigger_on_one_batch() -> None:
    """With all words as candidates and all triggers in the beam the search is exhaustive."""
    t = task(bag(), LISTED)
    batch = Texts(TEXTS[:40], torch.tensor([int(s > 0) for s in SCORES[:40]]))
    first = torch.zeros(2, dtype=torch.int64)
    wide, _ = HotFlip(candidates=8, beam=64).step(t, first, batch, 0)
    every = torch.cartesian_prod(torch.arange(8), torch.arange(8))
    assert float(t.look(wide[None], batch).loss) == pytest.approx(float(t.look(every, batch).loss.min()))


# ------------------------------------------------------------------ where words are put


@given(
    st.text(st.sampled_from("ab .,\n"), max_size=10),
    st.text(st.sampled_from("ab .,\n"), max_size=10),
    st.sampled_from(["front", "end"]),
    st.sampled_from([None, "first", "second"]),
)
def test_texts_are_painted_as_the_threat_makes_them(first: str, second: str, place: Any, fixed: Any) -> None:
    text = joined(first, second) if fixed else first + second
    lattice = Trigger("up now", place, fixed=fixed).lattice(text)
    placing = Placing(place, fixed)
    (painted,) = placing.paint("up now", [text])
    assert [painted] == [lattice.at([1])]
    assert [painted[a:b] for a, b in placing.spans("up now", painted)] == ["up", "now"]


def test_a_trigger_at_the_end_of_texts_that_are_cut_is_said() -> None:
    """Good films are cut, so only what stands in front of them is read."""
    texts = [f"good film {'plot ' * 4}{i}" for i in range(30)] + [f"bad {i}" for i in range(30)]
    settings: dict[str, Any] = {"fit": 30, "target": 0, "method": "hotflip:passes=1,batch=30"}
    done = [
        bs.universal_trigger(bag(longest=6), texts, [1] * 30 + [0] * 30, threat=threat, **settings)
        for threat in ("trigger:1", "trigger:end:1")
    ]
    said = [{finding.code: finding.saw for finding in run.findings}.get("trigger-cut", "") for run in done]
    assert not said[0]
    assert "lies behind the 6 tokens" in said[1]
    assert [run.verdict.fooling_rate_heldout for run in done] == [1.0, 0.0]


def test_of_pairs_only_the_free_side_takes_the_trigger() -> None:
    pairs = [joined(f"awful awful {i}", text) for i, text in enumerate(TEXTS[:60])]
    data = bs.TextData(pairs, Y[:60], fixed="first", class_names=CLASSES)

    def of_second(texts: list[str]) -> Tensor:
        assert all(text.startswith("awful awful") for text in texts)
        return linear([text.partition("\x1e")[2] for text in texts])

    done = bs.universal_trigger(TextModel(of_second), data=data, threat="trigger:1", fit=30, target=0)
    assert done.trigger == "awful"
    assert done.verdict.fooling_rate_heldout > 0


# ------------------------------------------------------------------ runs


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trigger") / "run"
    result = command(
        "universal reviews-cnn --data reviews --rows 120 --threat trigger:2 --method hotflip:passes=2,candidates=6 "
        f"--fit 64 --on reviews --threads 1 --out {out}"
    )
    assert result.exit_code == 0, result.output
    assert "in front fools reviews-cnn on" in plain(result.stdout)
    return out


def read(folder: Path) -> dict[str, Any]:
    said: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return said


def test_a_run_is_proved_again(run: Path) -> None:
    outcome = verify_files(Folder(run))
    assert outcome.ok, outcome.problems
    assert any("drawn by lot" in check for check in outcome.checks)


@pytest.mark.parametrize(
    ("part", "column", "told"),
    [
        ("heldout/00000", "moved", "expected class"),
        ("fit/00000", "clean", "expected class"),
        ("controls", "moved", "expected class"),
        ("models/1", "random", "expected class"),
        ("shown", "confidence", "probabilities"),
        ("shown", "at", "where it is marked"),
        ("search", "words", "a trigger of 2 words"),
        ("controls", "words", "random words"),
    ],
)
def test_what_is_forged_is_found(run: Path, part: str, column: str, told: str) -> None:
    """With digests and numbers made to fit, so that only asking again tells."""

    done = opened(Folder(run))

    class Forged(Parts):
        def __getitem__(self, name: str) -> Any:
            columns = dict(super().__getitem__(name))
            if name == part:
                columns[column] = _other(columns[column])
            return columns

    parts = Forged(done.parts.files, done.parts.at, done.parts.begun, done.parts.names, done.parts.digests)
    world = World(done.config)
    world.same = dict.fromkeys(("model", "data", "on/1"), True)
    problems = [p for check in checks(done.config, done.verdict, parts, world) for p in check.problems]
    assert any(told in problem for problem in problems), problems


def _other(t: Tensor) -> Tensor:
    if t.dtype == torch.uint8:  # words
        return torch.frombuffer(bytearray(bytes(t.tolist()).replace(b" ", b"_", 1)), dtype=torch.uint8)
    return 1 - t if t.ndim and t.dtype == torch.int64 and int(t.max()) <= 1 else t + 1


def test_the_trigger_of_a_run_is_measured_and_evaluated(run: Path, tmp_path: Path) -> None:
    file = run / "trigger.json"
    again = command(
        f"universal reviews-cnn --data reviews --rows 120 --threat trigger:2 --fit 64 --perturbation {file} "
        f"--threads 1 --out {tmp_path}/again"
    )
    assert again.exit_code == 0, again.output
    first, second = read(run)["verdict"], read(tmp_path / "again")["verdict"]
    assert second["heldout"] == first["heldout"]
    assert (second["passes"], second["trigger"]) == (0, first["trigger"])
    assert verify_files(Folder(tmp_path / "again")).ok
    data = bs.load_data("reviews", rows=120)
    done = bs.evaluate("reviews-cnn", data=data, threat=f"trigger:{file}")
    rows = [bs.parse_threat(done.config.threat).spec, f"trigger:front:{first['trigger']}"]
    assert rows[0] == rows[1]
    accuracies = [first[name]["accuracy"]["hits"] for name in ("fit", "heldout")]
    gained = sum(int(g) for g in _gained(run))
    assert int(done.robust_accuracy * 120 + 0.5) == sum(accuracies) - gained


def _gained(run: Path) -> Tensor:
    """Rows that are right only with the trigger: an adversary would leave it out of those."""

    parts = opened(Folder(run)).parts
    each = [parts.joined(name) for name in ("heldout", "fit")]
    return torch.cat([(c["clean"] != c["y"]) & (c["moved"] == c["y"]) for c in each])


def test_the_page_marks_the_words(run: Path) -> None:
    page, trigger = (run / "report.html").read_text(), read(run)["verdict"]["trigger"]
    assert page.count(f"<ins>{trigger}</ins>") == 12
    assert f"trigger:{trigger}" in page.replace("</span> <span>", " ")
    assert "random words 1" in page


def test_the_same_settings_give_the_same_trigger_and_another_seed_other_rows() -> None:
    first, again, other = found(bag()), found(bag()), found(bag(), seed=1)
    assert first.verdict == again.verdict
    assert not torch.equal(first.parts.joined("fit")["row"], other.parts.joined("fit")["row"])


def test_a_search_goes_on_to_the_same_bits_after_any_pass() -> None:
    data = bs.TextData(TEXTS, Y)
    whole = found(bag(), method="hotflip:passes=4,batch=40,patience=4")

    config = UniversalConfig(
        model="bag", data="texts", threat="trigger:2", fit=120, method="hotflip:passes=4,batch=40,patience=4"
    )
    model = bag()
    setup = Setup(config, World(config, {"model": model, "data": data}))

    def states(kept: Any = None) -> tuple[list[Any], Any]:
        oracle, made = setup.oracle(), []
        with oracle.session():
            t = setup.task(oracle)
            search = fit(t, setup.method, t.texts(setup.division.fit), 2, lambda stage: None, kept)
            while True:
                try:
                    made.append(next(search))
                except StopIteration as end:
                    return made, end.value

    every, end = states()
    assert setup.vocabulary.phrase(end.best) == whole.trigger
    for kept in every[:-1]:
        _, again = states(kept)
        assert torch.equal(again.best, end.best)
        assert again.history == end.history


@pytest.mark.parametrize(("spec", "words_", "place"), [("trigger:3", 3, "front"), ("Trigger:END: 2", 2, "end")])
def test_lengths_are_read(spec: str, words_: int, place: str) -> None:
    sought = parse_sought(spec)
    assert (sought.words, sought.place) == (words_, place)
    assert parse_sought(sought.spec) == sought


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ("--threat trigger:0", "a trigger of 1 to 50 words"),
        ("--threat trigger:up", "how many words a trigger for all texts has"),
        ("--threat trigger:middle:3", "how many words a trigger for all texts has"),
        ("--method sgd", "a method for triggers among hotflip, coordinates"),
        ("--method hotflip:beam=0", "beam of at least 1"),
        ("--target 2", "a target class from 0 to 1"),
        ("--per-class --several 2", "per_class and several"),
        ("--heldout reviews-training", "a number of held-out texts of the same data"),
        ("--perturbation nowhere.json", "trigger.json of a universal run"),
        ("--on digits", "expected models of texts for a trigger, got digits"),
    ],
)
def test_what_cannot_be_done_is_said(options: str, part: str, tmp_path: Path) -> None:
    threat = "" if "--threat" in options else "--threat trigger:2"
    said = in_one_sentence(
        command(f"universal reviews --data reviews --rows 40 {threat} {options} --out {tmp_path}/run")
    )
    assert part in plain(said)
    assert not (tmp_path / "run" / "run.json").exists()


def test_images_and_texts_are_not_confused(tmp_path: Path) -> None:
    said = in_one_sentence(command(f"universal digits --data digits --threat trigger:2 --out {tmp_path}/run"))
    assert "expected texts for trigger:2" in plain(said)
    said = in_one_sentence(command(f"universal reviews --data reviews --threat linf:0.1 --out {tmp_path}/run"))
    assert "linf" in plain(said) or "gradients" in plain(said)


def test_a_model_without_gradients_is_searched_by_lot() -> None:
    with pytest.raises(InputError, match="use --method coordinates"):
        found(TextModel(linear), method=HotFlip())
    done = found(TextModel(lambda t: linear(t).argmax(1), "labels", classes=2), method=Coordinates(passes=2))
    assert done.verdict.fooling_rate_fit > max(done.verdict.control_rates.values()) - 0.1
