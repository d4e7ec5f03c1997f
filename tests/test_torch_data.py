"""torch's datasets and loaders as data: the rows that they hold, in their own order, or a sentence."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    random_split,
)

import blindspots as bs
from blindspots.data import ArrayData, as_data, digits_arrays, one_of
from blindspots.errors import InputError

X, Y = (t[:30] for t in digits_arrays("test"))
TENSORS = TensorDataset(X, Y)
THREAT = bs.Linf(0.05)
QUICK = str(Path(__file__).with_name("quick.toml"))


class Items(Dataset[Any]):
    """A map-style data set of anything."""

    def __init__(self, item: Callable[[int], Any], rows: int = 30) -> None:
        self.item, self.length = item, rows

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, i: int) -> Any:
        return self.item(i)


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        yield from zip(X, Y.tolist(), strict=True)


class LikeHuggingFace:
    """Items by number and a length, but no class of torch's."""

    features = None

    def __len__(self) -> int:
        return len(Y)

    def __getitem__(self, i: int) -> dict[str, Any]:
        return {"image": Image.fromarray((X[i, 0] * 16).byte().numpy()), "label": int(Y[i]), "id": i}


def pairs(batch: list[Any]) -> tuple[Tensor, Tensor]:
    """A collate_fn: items may be anything."""
    return torch.stack([item["pixels"] for item in batch]), torch.tensor([item["digit"] for item in batch])


def shuffled(**more: Any) -> "DataLoader[Any]":
    return DataLoader(TENSORS, 7, shuffle=True, **more)


SAME: dict[str, Callable[[], Any]] = {
    "TensorDataset": lambda: TENSORS,
    "loader": lambda: DataLoader(TENSORS, 8),
    "loader, last batch dropped": lambda: DataLoader(TENSORS, 8, drop_last=True),
    "shuffled": shuffled,
    "shuffled, last batch dropped": lambda: shuffled(drop_last=True),
    "shuffled by a generator": lambda: shuffled(generator=torch.Generator().manual_seed(3)),
    "items": lambda: Items(lambda i: (X[i], int(Y[i]))),
    "items of tensors": lambda: Items(lambda i: [X[i], Y[i]]),
    "items of numpy": lambda: Items(lambda i: (X[i].numpy(), np.int32(Y[i]))),
    "columns": lambda: Items(lambda i: (X[i], Y[i : i + 1])),
    "one-hot": lambda: Items(lambda i: (X[i], torch.eye(10)[Y[i]])),
    "mappings": lambda: Items(lambda i: {"pixel_values": X[i], "label": Y[i]}),
    "loader of mappings": lambda: DataLoader(Items(lambda i: {"x": X[i], "y": int(Y[i]), "id": i}), 4),
    "collate_fn": lambda: DataLoader(Items(lambda i: {"pixels": X[i], "digit": int(Y[i])}), 4, collate_fn=pairs),
    "whole batches": lambda: DataLoader(Items(lambda i: (X[10 * i : 10 * i + 10], Y[10 * i : 10 * i + 10]), 3), None),
    "batch sampler": lambda: DataLoader(TENSORS, batch_sampler=BatchSampler(SequentialSampler(TENSORS), 4, False)),
    "subset": lambda: Subset(TensorDataset(X.flip(0), Y.flip(0)), list(range(29, -1, -1))),
    "loader of a subset": lambda: DataLoader(Subset(TensorDataset(X.flip(0), Y.flip(0)), list(range(29, -1, -1)))),
    "two in a row": lambda: ConcatDataset([TensorDataset(X[:11], Y[:11]), TensorDataset(X[11:], Y[11:])]),
    "stream": Stream,
    "loader of a stream": lambda: DataLoader(Stream(), 4),
    "pair": lambda: (X, Y),
    "list of pairs": lambda: list(zip(X, Y.tolist(), strict=True)),
    "mapping": lambda: {"data": X, "target": Y},
    "names in a mapping": lambda: {"x": X, "y": Y, "target_names": np.array(["a", *"bcdefghij"])},
}


@pytest.mark.filterwarnings("ignore:.*pin_memory.*")
@pytest.mark.parametrize("kind", SAME)
def test_all_forms_give_the_same_rows(kind: str) -> None:
    for _ in range(2):
        data = as_data(SAME[kind]())
        x, y = data.rows(0, len(data))
        assert torch.equal(x, X)
        assert torch.equal(y, Y)
        said = " ".join(note.saw for note in data.notes)
        assert ("shuffles" in said) == ("shuffled" in kind)
        assert ("drops its last" in said) == ("dropped" in kind)


def test_the_digest_is_that_of_the_arrays() -> None:
    assert as_data(TENSORS).digest == as_data(shuffled()).digest == ArrayData(X, Y).digest


@pytest.mark.parametrize("kind", ["TensorDataset", "shuffled", "items", "stream"])
def test_verdicts_are_those_of_the_arrays(kind: str) -> None:
    attack = bs.attacks.PGD(steps=3)
    wanted = bs.attack("digits", X, Y, attack, threat=bs.Linf(0.15))
    for found in (
        bs.attack("digits", data=SAME[kind](), attack=attack, threat=bs.Linf(0.15)),
        bs.attack("digits", SAME[kind](), attack=attack, threat=bs.Linf(0.15)),
    ):
        assert torch.equal(found.adversarial, wanted.adversarial)
        assert found.verdict.outcomes == wanted.verdict.outcomes


def test_every_job_takes_a_loader(tmp_path: Path) -> None:
    train_x, train_y = (t[:120] for t in digits_arrays("train"))
    train = DataLoader(TensorDataset(train_x, train_y), 16, shuffle=True)
    test = DataLoader(TENSORS, 16)
    attack = bs.attacks.FGSM()
    assert bs.attack("digits", data=test, attack=attack, threat=THREAT).clean_accuracy > 0.8
    assert bs.transfer(["digits", "digits-robust"], data=test, attack=attack, threat=THREAT).verdict.rows == 30
    assert bs.certify("digits", data=test, sigma=0.05, samples=20, draws=0).verdict.rows == 30
    found = bs.universal("digits", data=train, heldout=test, threat=THREAT, method="sgd:passes=1,batch=8")
    assert found.verdict.heldout.fooled.rows == 30
    hard = bs.harden(
        "digits", data=train, test=test, extra=TENSORS, threat=THREAT, protocol=QUICK, epochs=1, controls=False,
        study_rows=0,
    )  # fmt: skip
    assert hard.verdict.after.rows == 30
    made = bs.evaluate("digits", data=test, threat=THREAT, protocol=QUICK, out=tmp_path / "run")
    assert made.verdict.rows == 30
    assert bs.verify(tmp_path / "run", data=shuffled()).problems == []


@pytest.mark.slow
def test_detect_takes_a_loader() -> None:
    train_x, train_y = (t[:120] for t in digits_arrays("train"))
    run = bs.detect(
        "digits", data=DataLoader(TensorDataset(train_x, train_y), 16), test=DataLoader(TENSORS), threat=bs.Linf(0.3),
        detector="squeezing", train_attack=["pgd:steps=2"], test_attack=["fgsm"], protocol=QUICK, bare_protocol=QUICK,
    )  # fmt: skip
    assert run.verdict.rows == 30


# ------------------------------------------------------------------ order and randomness


@pytest.mark.parametrize(
    ("make", "places"),
    [
        (lambda: DataLoader(TENSORS, sampler=SubsetRandomSampler([5, 3, 9])), [3, 5, 9]),
        (lambda: DataLoader(TENSORS, sampler=[5, 3, 9]), [5, 3, 9]),
        (lambda: DataLoader(TENSORS, batch_sampler=[[4, 2], [7]]), [4, 2, 7]),
        (lambda: random_split(TENSORS, [10, 20], torch.Generator().manual_seed(0))[0], None),
    ],
)
def test_rows_that_a_loader_chooses_are_those(make: Callable[[], Any], places: list[int] | None) -> None:
    given = make()
    places = list(given.indices) if places is None else places
    x, y = as_data(given).rows(0, len(places))
    assert torch.equal(x, X[places])
    assert torch.equal(y, Y[places])


@pytest.mark.parametrize(
    "sampler",
    [
        WeightedRandomSampler([1.0] * 30, 30, replacement=True),
        RandomSampler(TENSORS, replacement=True, num_samples=20),
        RandomSampler(TENSORS, num_samples=20),
    ],
)
def test_rows_drawn_by_lot_are_refused(sampler: Any) -> None:
    with pytest.raises(InputError, match="reads the same rows each time, got one that draws others"):
        as_data(DataLoader(TENSORS, sampler=sampler))


def test_items_that_change_are_refused() -> None:
    noisy = Items(lambda i: (X[i] + 0.01 * torch.rand(1, 8, 8), int(Y[i])))
    with pytest.raises(InputError, match=r"item 0 of Items to be the same whenever it is read.*random transforms"):
        as_data(DataLoader(noisy, 4))


def test_nobody_else_s_draws_change() -> None:
    def drawing(i: int) -> Any:
        random.random(), np.random.random(), torch.rand(1)  # noqa: NPY002
        return X[i], int(Y[i])

    generator = torch.Generator().manual_seed(3)
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state(), generator.get_state()  # type: ignore[index,union-attr] # noqa: NPY002
    as_data(DataLoader(Items(drawing), 4, shuffle=True, generator=generator))
    assert random.getstate() == states[0]
    assert np.random.get_state()[1].tolist() == states[1]  # type: ignore[index,union-attr] # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), states[2])
    assert torch.equal(generator.get_state(), states[3])


# ------------------------------------------------------------------ pictures and names


def test_items_of_hugging_face_s_kind_are_taken() -> None:
    data = as_data(LikeHuggingFace())
    x, y = data.rows(0, 30)
    assert torch.equal(x, (X * 16).byte().float() / 255)
    assert torch.equal(y, Y)


def test_colours_of_pictures_come_first() -> None:
    levels = np.random.default_rng(0).integers(0, 256, (30, 4, 5, 3), dtype=np.uint8)
    data = as_data(Items(lambda i: (Image.fromarray(levels[i]), 0)))
    assert torch.equal(data.rows(0, 30)[0], torch.from_numpy(levels).permute(0, 3, 1, 2).float() / 255)


class Named(Items):
    classes = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@pytest.mark.parametrize("wrap", [lambda d: d, lambda d: DataLoader(d, 4), lambda d: Subset(d, range(30))])
def test_names_that_a_data_set_has_are_matched(wrap: Callable[[Any], Any]) -> None:
    from test_class_names import reordered

    data = wrap(Named(lambda i: (X[i], int(Y[i]))))
    assert as_data(data).class_names == list(Named.classes)
    assert bs.attack(reordered(), data=data, attack=bs.attacks.FGSM(), threat=THREAT).clean_accuracy > 0.8


# ------------------------------------------------------------------ what is refused


BAD: dict[str, tuple[Callable[[], Any], str]] = {
    "three tensors": (lambda: TensorDataset(X, Y, Y), "TensorDataset of x and y, got 3 tensors"),
    "three things": (lambda: Items(lambda i: (X[i], Y[i], i)), r"items \(x, y\), got a tuple of 3"),
    "inputs alone": (lambda: Items(lambda i: X[i]), r"items \(x, y\), got a Tensor"),
    "other keys": (lambda: Items(lambda i: {"a": X[i], "b": 1}), r"one key for the input .* got a, b"),
    "two inputs": (lambda: Items(lambda i: {"image": X[i], "x": X[i], "y": 1}), "one key for the input"),
    "sizes": (lambda: Items(lambda i: (torch.zeros(1, 8, 8 + i % 2), 1)), "inputs of one shape"),
    "sizes of batches": (
        lambda: DataLoader(Items(lambda i: (torch.zeros(1, 8, 8 + i // 4), 1)), 4), "inputs of one shape and type",
    ),
    "soft labels": (lambda: Items(lambda i: (X[i], torch.full((10,), 0.1))), "not one-hot"),
    "nothing": (lambda: Items(int, 0), "at least one row"),
    "an empty stream": (lambda: DataLoader(Items(lambda i: (X[i], 1), 0)), "at least one row"),
    "a number": (lambda: 3, "expected data, got int"),
    "a list": (lambda: [X, Y], "expected data, got list"),
    "a model": (torch.nn.Identity, "expected data, got Identity"),
    "a class": (lambda: ArrayData, "expected data, got"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_data_gets_a_sentence(kind: str) -> None:
    make, said = BAD[kind]
    with pytest.raises(InputError, match=said):
        one_of(None, None, make())


def test_streams_without_an_end_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Endless(IterableDataset[Any]):
        def __iter__(self) -> Iterator[Any]:
            while True:
                yield X[0], 0

    monkeypatch.setattr("blindspots.data.foreign._ENDLESS", 1 << 20)
    with pytest.raises(InputError, match=r"at most .* of inputs in Endless, got more"):
        as_data(Endless())


@pytest.mark.parametrize(("x", "y", "data"), [(X, None, None), (None, Y, None), (X, Y, TENSORS), (None, None, None)])
def test_neither_and_mixtures_are_refused(x: Any, y: Any, data: Any) -> None:
    with pytest.raises(InputError, match="got neither or a mixture"):
        one_of(x, y, data)
