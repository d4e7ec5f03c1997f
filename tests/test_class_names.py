"""Names of classes: labels mean the same class to the data and to the model, or the run does not begin."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor, nn

import blindspots as bs
from blindspots import verify
from blindspots.data import ArrayData, digits_arrays, load_data
from blindspots.errors import InputError
from blindspots.experiments.evaluate.experiment import Evaluation
from blindspots.models import Model, from_estimator, load_model
from blindspots.models.binding import bind, bound, names_of

WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
SHUFFLED = [3, 1, 4, 0, 5, 9, 2, 6, 8, 7]  # class i of the other model is class SHUFFLED[i] of the digits network
X, Y = (t[:60] for t in digits_arrays("test"))
LEVELS = (X * 255).round().to(torch.uint8)[:, 0].numpy()
NOTHING = bs.Linf(0.05)
QUICK = str(Path(__file__).with_name("quick.toml"))


class Reordered(nn.Module):
    """The digits network with its outputs in another order."""

    def __init__(self, order: Sequence[int]) -> None:
        super().__init__()
        self.net, self.order = load_model("digits").net, list(order)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.net(x)[:, self.order]
        return logits


def reordered(order: Sequence[int] = SHUFFLED) -> Model:
    return Model(Reordered(order), class_names=[WORDS[k] for k in order], name="reordered")


def in_folders(folder: Path, names: Sequence[str] = WORDS, rows: int = 60) -> Path:
    """The first rows of the digits, each in the folder of its class."""
    for i, (levels, label) in enumerate(zip(LEVELS[:rows], Y[:rows].tolist(), strict=True)):
        place = folder / names[label]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(levels).save(place / f"{i:02d}.png")
    return folder


def tried(model: Any, data: Any) -> Evaluation:
    return bs.attack(model, data=data, attack=bs.attacks.FGSM(), threat=NOTHING)


def labels(data: Any) -> list[int]:
    found: list[int] = data.rows(0, len(data))[1].tolist()
    return found


def said(run: Any) -> str:
    return " ".join(str(f) for f in run.findings)


# ------------------------------------------------------------------ folders


def test_classes_in_another_order_give_the_same_verdict(tmp_path: Path) -> None:
    data = load_data(str(in_folders(tmp_path)))
    plain = Model(load_model("digits").net, class_names=WORDS, name="in order")
    one, other = tried(plain, data), tried(reordered(), data)
    assert one.clean_accuracy > 0.9
    assert torch.equal(one.success, other.success)
    assert torch.equal(one.adversarial, other.adversarial)
    assert one.manifest.world["data"]["digest"] != other.manifest.world["data"]["digest"]
    assert other.manifest.world["data"]["class_names"] == [WORDS[k] for k in SHUFFLED]
    assert "zero=3 (" in said(other)
    assert "matched by name to the classes of reordered" in said(other)


def clutter(folder: Path, classes: bool) -> None:
    """What else lies beside classes; with `classes`, folders that look like some."""
    (folder / ".ipynb_checkpoints").mkdir()
    Image.fromarray(LEVELS[0]).save(folder / ".ipynb_checkpoints" / "seen.png")
    (folder / "notes").mkdir()
    (folder / "notes" / "read.txt").touch()
    (folder / "readme.md").touch()
    Image.fromarray(LEVELS[0]).save(folder / "contact_sheet.png")
    for name in ("aa empty", "11") if classes else ():
        (folder / name).mkdir()
    first = max(folder.glob("*/*.png")).parent
    (first / "thumbs").mkdir()
    (first / "Thumbs.db").touch()
    (first / ".hidden.png").touch()
    (first / "gone.png").symlink_to(folder / "nowhere.png")


@pytest.mark.parametrize("names", [WORDS, [str(i) for i in range(10)], [f"{i:03d}" for i in range(10)]])
@pytest.mark.parametrize("rows", [None, 13])
def test_what_lies_beside_the_classes_changes_nothing_and_is_counted(
    names: list[str], rows: int | None, tmp_path: Path
) -> None:
    folder = in_folders(tmp_path, names)
    before = load_data(str(folder), rows)
    clutter(folder, classes=True)
    after = load_data(str(folder), rows)
    assert torch.equal(before.rows(0, len(before))[0], after.rows(0, len(after))[0])
    assert labels(before) == labels(after)
    assert before.digest == after.digest
    spoken = " ".join(note.saw for note in after.notes)
    for counted in (
        "2 hidden ones", "3 folders without pictures", "2 files of other kinds",
        "1 picture outside of class folders", "1 folder inside of these", "1 link to nothing",
    ):  # fmt: skip
        assert counted in spoken


@pytest.mark.parametrize("names", [[str(i) for i in range(10)], [f"{i:02d}" for i in range(10)]])
def test_folders_named_by_numbers_are_the_classes_of_these_numbers(names: list[str], tmp_path: Path) -> None:
    kept = {3, 5, 8}
    data = load_data(str(in_folders(tmp_path, names)))
    assert sorted(set(labels(data))) == list(range(10))
    for i, name in enumerate(names):
        if i not in kept:
            for path in (tmp_path / name).iterdir():
                path.unlink()
    fewer = load_data(str(tmp_path))
    assert set(labels(fewer)) == kept
    assert tried("digits", fewer).clean_accuracy > 0.9


def test_two_folders_of_one_number_are_refused(tmp_path: Path) -> None:
    in_folders(tmp_path, ["0", "1", "01", *map(str, range(3, 10))])
    with pytest.raises(InputError, match="different numbers, got 01, 1: merge them"):
        load_data(str(tmp_path))


def test_numbers_and_words_together_are_refused_unless_they_are_said_to_be_names(tmp_path: Path) -> None:
    names = ["0", "1", "two", *map(str, range(3, 10))]
    in_folders(tmp_path, names)
    with pytest.raises(InputError, match=r"numbers or by words in .*, got both: 0, 1, 3.* and two: move"):
        load_data(str(tmp_path))
    assert sorted(labels(load_data(str(tmp_path), classes=names))) == sorted(Y.tolist())


@pytest.mark.parametrize("rows", [None, 20, 3])
def test_some_classes_by_name_are_the_right_ones(rows: int | None, tmp_path: Path) -> None:
    """Three class folders out of ten: places would be those of zero, one and two."""
    in_folders(tmp_path)
    for name in set(WORDS) - {"cat", "eight", "one", "six"}:
        for path in (tmp_path / name).iterdir():
            path.unlink()
    data = bound(reordered(), load_data(str(tmp_path), rows))
    assert {WORDS[SHUFFLED[k]] for k in labels(data)} == {"eight", "one", "six"}
    assert tried(reordered(), load_data(str(tmp_path), rows)).clean_accuracy > 0.9


def test_classes_without_a_counterpart_are_refused_with_both_sides(tmp_path: Path) -> None:
    in_folders(tmp_path, [*WORDS[:9], "neun"])
    with pytest.raises(InputError, match=r"among the classes of reordered .three, one.*, got neun.*the same names"):
        tried(reordered(), load_data(str(tmp_path)))


def test_names_that_differ_in_writing_alone_are_the_same(tmp_path: Path) -> None:
    in_folders(tmp_path, [name.upper() for name in WORDS])
    assert tried(reordered(), load_data(str(tmp_path))).clean_accuracy > 0.9
    model = Model(Reordered(range(10)), class_names=["hot dog", "hot-dog", *WORDS[2:]])
    with pytest.raises(InputError, match="got hot_dog"):
        bound(model, ArrayData(X[:2], ["hot_dog", "two"]))


def test_folders_in_words_for_a_model_without_names_go_by_place_where_that_can_be(tmp_path: Path) -> None:
    in_folders(tmp_path, [f"digit {i}" for i in range(10)])
    run = tried("digits", load_data(str(tmp_path)))
    assert run.clean_accuracy > 0.9
    assert "digit 3=3" in said(run)
    assert "since the model has no names for its classes; if the order is wrong, list the classes" in said(run)


def test_fewer_folders_in_words_than_classes_are_refused_until_the_classes_are_said(tmp_path: Path) -> None:
    in_folders(tmp_path)
    (tmp_path / "nine").rename(tmp_path.parent / f"{tmp_path.name} nine")
    with pytest.raises(InputError, match=r"which of the 10 classes of digits the 9 of .*--classes a,b,c"):
        tried("digits", load_data(str(tmp_path)))
    run = tried("digits", load_data(str(tmp_path), classes=WORDS))
    assert run.clean_accuracy > 0.9
    assert tried(Model(load_model("digits").net, class_names=WORDS), load_data(str(tmp_path))).clean_accuracy > 0.9


# ------------------------------------------------------------------ arrays and archives


def test_words_in_arrays_and_archives_are_matched(tmp_path: Path) -> None:
    words = [WORDS[k] for k in Y.tolist()]
    np.savez(tmp_path / "words.npz", x=LEVELS, y=np.array(words))
    np.savez(tmp_path / "names.npz", x=LEVELS, y=Y.numpy(), names=np.array(WORDS))
    np.savez(tmp_path / "other.npz", x=LEVELS, y=9 - Y.numpy(), classes=np.array(WORDS[::-1]))
    wanted = [SHUFFLED.index(k) for k in Y.tolist()]
    for data in (
        ArrayData(X, words), ArrayData(X, np.array(words)), ArrayData(X, np.array(words, object)),
        ArrayData(X, Y, class_names=WORDS), ArrayData(X, 9 - Y, class_names=WORDS[::-1]),
        *(load_data(str(tmp_path / f"{name}.npz")) for name in ("words", "names", "other")),
    ):  # fmt: skip
        assert labels(bound(reordered(), data)) == wanted


def test_what_an_archive_holds_besides_is_said(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=LEVELS, y=Y.numpy(), names=np.array(WORDS), ids=Y.numpy(), split=np.array(["a"]))
    data = load_data(str(tmp_path / "a.npz"))
    assert data.class_names == WORDS
    assert "the file holds ids, split, which were not read" in " ".join(note.saw for note in data.notes)


@pytest.mark.parametrize(
    "names",
    [
        np.array([f"{i}.png" for i in range(60)]),  # of the rows
        Y.numpy(),
        np.arange(10),
        np.array(WORDS, object),
        np.array([WORDS, WORDS]),
    ],
)
def test_other_arrays_are_no_names(names: Any, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=LEVELS, y=Y.numpy(), names=names)
    data = load_data(str(tmp_path / "a.npz"))
    assert data.class_names is None
    assert "the file holds names, which was not read" in " ".join(note.saw for note in data.notes)


def test_numbers_can_be_names(tmp_path: Path) -> None:
    np.savez(tmp_path / "places.npz", x=LEVELS, y=Y.numpy(), classes=np.arange(10) * 3)
    np.savez(tmp_path / "numbers.npz", x=LEVELS, y=Y.numpy() * 3, classes=np.arange(10) * 3)
    model = Model(load_model("digits").net, class_names=[str(3 * k) for k in range(10)])
    for name in ("places", "numbers"):
        assert labels(bound(model, load_data(str(tmp_path / f"{name}.npz")))) == Y.tolist()


def test_two_arrays_of_names_that_differ_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=LEVELS, y=Y.numpy(), names=np.array(WORDS), classes=np.array(WORDS[::-1]))
    with pytest.raises(InputError, match=r"one array of names in a.npz, got classes, names"):
        load_data(str(tmp_path / "a.npz"))


@pytest.mark.parametrize("names", [WORDS[:9], [*WORDS[:9], "one"]])
def test_names_that_do_not_cover_the_labels_are_refused(names: list[str], tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=LEVELS, y=Y.numpy(), names=np.array(names))
    with pytest.raises(InputError, match=r"name every class|different names"):
        load_data(str(tmp_path / "a.npz"))


def test_numbers_are_places_in_the_classes_of_a_model_with_words() -> None:
    data = bound(reordered(), ArrayData(X, [SHUFFLED.index(k) for k in Y.tolist()]))
    assert data.class_names == [WORDS[k] for k in SHUFFLED]
    assert labels(data) == [SHUFFLED.index(k) for k in Y.tolist()]
    with pytest.raises(InputError, match=r"labels from 0 to 9 .*got 0 to 10"):
        bound(reordered(), ArrayData(X, Y.clone().index_fill(0, torch.tensor([0]), 10)))


def test_the_digest_tells_what_labels_mean() -> None:
    digests = [
        ArrayData(X, Y).digest,
        ArrayData(X, Y, class_names=WORDS).digest,
        ArrayData(X, Y, class_names=WORDS[::-1]).digest,
        bound(reordered(), ArrayData(X, Y, class_names=WORDS)).digest,
        bound(reordered(), ArrayData(X, Y, class_names=WORDS[::-1])).digest,
    ]
    assert len(set(digests)) == len(digests)
    assert ArrayData(X, Y, class_names=[str(i) for i in range(10)]).digest == digests[0]
    again = bound(reordered(), ArrayData(X, Y, class_names=WORDS))
    assert bound(reordered(), again) is again


def test_a_dataset_of_ones_own_has_to_have_the_model_s_order() -> None:
    class Own:
        name, spec, digest, shape, notes = "own", None, "0" * 64, (1, 8, 8), ()

        def __init__(self, class_names: list[str] | None) -> None:
            self.class_names = class_names

        def __len__(self) -> int:
            return len(Y)

        def rows(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
            return X[start:stop], Y[start:stop]

    with pytest.raises(InputError, match=r"in their order .three, one.*got zero, one"):
        tried(reordered(), Own(WORDS))
    order = Own([WORDS[k] for k in SHUFFLED])
    assert bound(reordered(), order) is order


def test_words_are_refused_where_nobody_says_what_they_are() -> None:
    words = [WORDS[k] for k in Y.tolist()]
    with pytest.raises(InputError, match=r"labels that are numbers in arrays, or a model whose .*--classes"):
        tried("digits", ArrayData(X, words))
    assert tried("digits", ArrayData(X, words, class_names=WORDS)).clean_accuracy > 0.9
    assert tried("digits", ArrayData(X, words).among(WORDS)).clean_accuracy > 0.9


# ------------------------------------------------------------------ where models have names


ESTIMATORS: list[Callable[[], Any]] = [
    LogisticRegression,
    lambda: KNeighborsClassifier(1),
    lambda: RandomForestClassifier(20, random_state=0),
]


@pytest.mark.parametrize("make", ESTIMATORS)
@pytest.mark.parametrize(
    "called",
    [
        lambda y: y * 3 - 1,  # numbers that are not places, one of them negative
        lambda y: y + 1,
        lambda y: (y * 3 - 1).astype(float),
        lambda y: np.array(WORDS)[y],
        lambda y: np.array(WORDS, object)[y],
        lambda y: np.array([str(k * 3) for k in y]),
    ],
)
def test_labels_are_those_that_the_estimator_was_fitted_on(make: Callable[[], Any], called: Any) -> None:
    train_x, train_y = digits_arrays("train")
    estimator = make().fit(train_x.flatten(1).numpy(), called(train_y.numpy()))
    model = from_estimator(estimator)
    y = called(Y.numpy())
    right = (estimator.predict(X.flatten(1).numpy()) == y).mean()
    attack = bs.attacks.FGSM() if model.access.name == "GRAD" else bs.attacks.RandomNoise(draws=1) if hasattr(
        bs.attacks, "RandomNoise"
    ) else bs.attacks.Square(steps=1)  # fmt: skip
    run = bs.attack(model, X, y, attack, threat=NOTHING)
    assert run.clean_accuracy == pytest.approx(right)
    assert right > 0.9


def test_labels_that_the_estimator_was_not_fitted_on_are_refused() -> None:
    train_x, train_y = digits_arrays("train")
    model = from_estimator(LogisticRegression().fit(train_x.flatten(1).numpy(), train_y.numpy() + 1))
    with pytest.raises(InputError, match=r"among the classes of LogisticRegression .1, 2, .*, got 0"):
        tried(model, ArrayData(X, Y))


ID2LABEL = dict(enumerate(WORDS[k] for k in SHUFFLED))


class Config:
    def __init__(self, labels: Any) -> None:
        self.id2label = labels


class Pretrained(Reordered):
    """With its names where Hugging Face's models have them."""

    def __init__(self, labels: Any) -> None:
        super().__init__(SHUFFLED)
        self.config = Config(labels)


def test_names_of_hugging_face_models_are_found() -> None:
    for listed in (ID2LABEL, {str(k): v for k, v in ID2LABEL.items()}):
        assert names_of(Model(Pretrained(listed))) == [WORDS[k] for k in SHUFFLED]
    run = tried(Pretrained(ID2LABEL), ArrayData(X, [WORDS[k] for k in Y.tolist()]))
    assert run.clean_accuracy > 0.9


def test_names_that_only_number_classes_are_none() -> None:
    assert names_of(Model(Pretrained({i: f"LABEL_{i}" for i in range(10)}))) is None
    assert names_of(Model(nn.Identity(), class_names=["0", "1", "2"])) is None


def test_names_that_a_network_keeps_have_to_be_as_many_as_its_classes() -> None:
    with pytest.raises(InputError, match=r"expected 10 names for the 10 classes of .*, got 3"):
        tried(Pretrained({0: "a", 1: "b", 2: "c"}), ArrayData(X, Y))


@pytest.mark.parametrize("names", [["a"], ["a", "a"], ["a", ""], "ab", 5])
def test_names_of_a_model_are_words_each_once(names: Any) -> None:
    with pytest.raises(InputError, match=r"at least 2 different names|class_names of Model to be a list"):
        Model(nn.Identity(), class_names=names)


def test_names_may_come_in_an_array() -> None:
    names = np.array(WORDS)
    assert Model(nn.Identity(), class_names=names).class_names == WORDS
    assert ArrayData(X, Y, class_names=names).class_names == WORDS
    assert load_data("digits", classes=names).class_names == WORDS


def test_wrapped_models_have_the_names_of_what_is_inside() -> None:
    names = [WORDS[k] for k in SHUFFLED]
    assert names_of(bs.Transformed(reordered(), "bits:depth=5")) == names
    assert names_of(bs.Smoothed(reordered(), 0.1)) == names
    assert names_of(bs.Ensemble([reordered(), reordered()])) == names
    with pytest.raises(InputError, match="expected members of Ensemble with the same classes in the same order"):
        tried(bs.Ensemble([reordered(), reordered(range(10))]), ArrayData(X, Y))


def test_a_file_keeps_the_names(tmp_path: Path) -> None:
    data = load_data(str(in_folders(tmp_path / "data")))
    bs.harden(
        reordered(), data=data, threat=NOTHING, epochs=1, controls=False, study_rows=0, protocol=QUICK,
        out=tmp_path / "run",
    )  # fmt: skip
    loaded = load_model(str(tmp_path / "run" / "model.pt2"))
    assert names_of(loaded) == [WORDS[k] for k in SHUFFLED]
    assert tried(loaded, data).clean_accuracy > 0.5
    assert verify(tmp_path / "run" / "after", loaded).problems == []


# ------------------------------------------------------------------ every job


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(in_folders(tmp_path_factory.mktemp("pictures")))


def test_universal_binds_its_data(folder: str) -> None:
    run = bs.universal(reordered(), data=folder, threat=NOTHING, method="sgd:passes=1,batch=8", heldout=20)
    assert run.manifest.world["data"]["class_names"] == [WORDS[k] for k in SHUFFLED]
    assert "zero=3" in " ".join(str(f) for f in run.verdict.findings)


def test_certify_binds_its_data(folder: str) -> None:
    run = bs.certify(reordered(), data=load_data(folder, 12), sigma=0.05, samples=100, draws=0)
    assert run.verdict.certified[0][1].share > 0.8


def test_detect_binds_its_data(tmp_path: Path) -> None:
    x, y = digits_arrays("train")
    data = ArrayData(x[:120], [WORDS[k] for k in y[:120].tolist()])
    test = ArrayData(X[:24], 9 - Y[:24], class_names=WORDS[::-1])
    run = bs.detect(
        reordered(), data=data, test=test, threat=bs.Linf(0.3), detector="squeezing", train_attack=["pgd:steps=2"],
        test_attack=["fgsm"], protocol=QUICK, bare_protocol=QUICK,
    )  # fmt: skip
    assert run.verdict.clean.share > 0.9
    assert run.manifest.world["test"]["class_names"] == run.manifest.world["data"]["class_names"]


def test_harden_gives_its_test_and_extra_rows_the_classes_of_its_training_rows(folder: str, tmp_path: Path) -> None:
    other = in_folders(tmp_path / "other")
    for path in (other / "eight").iterdir():
        path.unlink()
    run = bs.harden(
        Model(load_model("digits").net, class_names=WORDS, name="named"), data=folder, test=str(other),
        extra=str(other), threat=NOTHING, epochs=1, controls=False, study_rows=0, protocol=QUICK,
    )  # fmt: skip
    world = run.manifest.world
    assert "other: 9 class folders: five=5" in " ".join(str(f) for f in run.verdict.findings)
    assert world["test"]["class_names"] == world["data"]["class_names"] == WORDS
    assert run.verdict.before.clean_accuracy > 0.9


def test_rows_that_judge_have_the_classes_of_the_rows_that_train(folder: str, tmp_path: Path) -> None:
    """Neither model has names: the classes of the first rows are those of the others, too."""
    other = in_folders(tmp_path / "other")
    for path in (other / "eight").iterdir():
        path.unlink()
    model = Model(load_model("digits").net)
    data, test = bind(model, load_data(folder), load_data(str(other)))
    assert test.class_names == data.class_names == sorted(WORDS)
    nine = sorted(WORDS).index("nine")
    assert labels(test).count(nine) == Y.tolist().count(9)
    with pytest.raises(InputError, match="got ten"):
        bind(model, load_data(folder), ArrayData(X, ["ten"] * 60))
    with pytest.raises(InputError, match="expected numbered classes in"):
        bind(model, ArrayData(X, Y), load_data(folder))


def test_transfer_brings_models_to_one_order(folder: str, tmp_path: Path) -> None:
    models = [reordered(), Model(load_model("digits").net, class_names=WORDS, name="in order")]
    data = load_data(folder)
    run = bs.transfer(models, data=data, threat=NOTHING, attack=bs.attacks.FGSM(), out=tmp_path / "run")
    assert max(error.share for error in run.verdict.clean_error) < 0.1
    assert run.error[0] == run.error[1]  # it is one network
    assert run.config.outputs == (None, tuple(SHUFFLED.index(k) for k in range(10)))
    given = {"data": data, **{f"model/{i}": model for i, model in enumerate(models, 1)}}
    assert bs.verify(tmp_path / "run", given=given).problems == []


def test_transfer_refuses_models_of_other_classes(folder: str) -> None:
    models = [reordered(), Model(load_model("digits").net, class_names=[*WORDS[:9], "neun"], name="other")]
    with pytest.raises(
        InputError, match=r"expected the classes of other to be among the classes of reordered .* got neun"
    ):
        bs.transfer(models, data=folder, threat=NOTHING)


def test_runs_are_resumed_and_verified_by_name(folder: str, tmp_path: Path) -> None:
    (tmp_path / "factory.py").write_text(
        "import sys\nsys.path.insert(0, " + repr(str(Path(__file__).parent)) + ")\n"
        "from test_class_names import reordered as model\n"
    )
    spec = f"{tmp_path / 'factory.py'}:model"
    for name, data in (("named", load_data(folder)), ("listed", load_data(folder, classes=WORDS))):
        out = tmp_path / name
        first = tried_in(spec, data, out, resume=False)
        again = tried_in(spec, data, out, resume=True)
        assert first.verdict == again.verdict
        proof = verify(out)
        assert proof.problems == []
        assert not any("opened" in note for note in proof.notes)
        assert verify(out, data=load_data(folder)).problems == []
        wrong = verify(out, data=ArrayData(*load_data(folder).rows(0, 60)))
        assert "data with the digest" in " ".join(wrong.problems)


def test_another_class_beside_those_of_a_run_is_found_by_verify(tmp_path: Path) -> None:
    folder = in_folders(tmp_path / "data")
    tried_in("digits", load_data(str(folder)), tmp_path / "run", resume=False)
    assert verify(tmp_path / "run").problems == []
    (folder / "zebra").mkdir()
    Image.fromarray(LEVELS[0]).save(folder / "zebra" / "a.png")
    assert "expected data as the run saw it" in " ".join(verify(tmp_path / "run").problems)


def test_a_run_on_folders_of_numbers_and_words_is_verified(tmp_path: Path) -> None:
    names = ["0", "1", "two", *map(str, range(3, 10))]
    data = load_data(str(in_folders(tmp_path / "data", names)), classes=names)
    assert tried_in("digits", data, tmp_path / "run", resume=False).clean_accuracy > 0.9
    proof = verify(tmp_path / "run")
    assert proof.problems == []
    assert not any("opened" in note for note in proof.notes)


def test_services_can_have_names() -> None:
    def service(x: np.ndarray) -> np.ndarray:
        return reordered().logits(torch.from_numpy(x)).argmax(1).detach().numpy()

    box = bs.BlackBox(service, "labels", 10, class_names=[WORDS[k] for k in SHUFFLED])
    words = [WORDS[k] for k in Y[:20].tolist()]
    run = bs.attack(box, X[:20], words, bs.attacks.RayS(), threat=NOTHING, max_forwards=200)
    assert run.clean_accuracy > 0.8
    with pytest.raises(InputError, match="labels that are numbers"):
        bs.attack(bs.BlackBox(service, "labels", 10), X[:3], words[:3], bs.attacks.RayS(), threat=NOTHING)


def tried_in(spec: str, data: Any, out: Path, resume: bool) -> Evaluation:
    return bs.attack(spec, data=data, attack=bs.attacks.FGSM(), threat=NOTHING, out=out, resume=resume)


def test_a_list_of_classes_is_an_order_even_if_it_is_that_of_the_alphabet() -> None:
    named = bs.ArrayData(torch.rand(4, 3), ["no", "yes", "no", "yes"])
    assert not named.ordered
    assert named.among(["no", "yes"]).ordered
    assert not named.ordered
