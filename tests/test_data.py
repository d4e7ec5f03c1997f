"""Data: what is read is what was stored, whatever the form, and what cannot be read is refused with a sentence."""

import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from blindspots.data import ArrayData, Dataset, digits_arrays, load_data
from blindspots.errors import InputError

DRAW = np.random.default_rng(0)
IMAGES = DRAW.integers(0, 256, (20, 6, 5, 3), dtype=np.uint8)
LABELS = np.arange(20) % 4


def saved(path: Path, x: Any, y: Any = LABELS, compress: bool = False) -> str:
    (np.savez_compressed if compress else np.savez)(path, x=x, y=y)
    return str(path)


def everything(data: Dataset) -> tuple[Tensor, Tensor]:
    return data.rows(0, len(data))


def notes(data: Dataset) -> str:
    assert all(note.severity == "note" for note in data.notes)
    return " ".join(note.saw for note in data.notes)


# ------------------------------------------------------------------ digits


def test_digits_are_500_rows_apart_from_the_training_rows() -> None:
    data = load_data("digits")
    x, y = everything(data)
    assert (len(data), data.shape, data.name, data.spec) == (500, (1, 8, 8), "digits", "digits")
    assert (x.dtype, y.dtype, x.min(), x.max()) == (torch.float32, torch.int64, 0.0, 1.0)
    assert data.class_names == [str(i) for i in range(10)]
    train, _ = digits_arrays("train")
    assert len(train) == 1297
    assert torch.equal(torch.cat([train, x]).sum(), torch.tensor(561718.0 / 16))


# ------------------------------------------------------------------ what every dataset does

FORMS = ["npz", "npz compressed", "folder", "numpy", "torch"]


@pytest.fixture(scope="module", params=FORMS)
def form(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Dataset]:
    """The same 20 images in each of the forms."""
    folder = tmp_path_factory.mktemp("form")
    if request.param.startswith("npz"):
        spec = saved(folder / "images.npz", IMAGES, compress="compressed" in request.param)
        return lambda rows=None: load_data(spec, rows)
    if request.param == "folder":
        in_classes(folder)
        return lambda rows=None: load_data(str(folder), rows)
    x = torch.from_numpy(IMAGES).permute(0, 3, 1, 2) if request.param == "torch" else IMAGES
    return lambda rows=None: ArrayData(x, LABELS, rows=rows)


def in_classes(folder: Path, mode: str = "RGB", suffix: str = ".png") -> None:
    """Row i goes to the folder of its label; within a class the names are in the order of the rows."""
    for i, (image, label) in enumerate(zip(IMAGES, LABELS, strict=True)):
        place = folder / f"class {label}"
        place.mkdir(exist_ok=True)
        Image.fromarray(image).convert(mode).save(place / f"{i:02d}{suffix}")


def test_all_forms_give_the_same_rows(form: Callable[..., Dataset]) -> None:
    data = form()
    x, y = everything(data)
    assert torch.equal(x, torch.from_numpy(IMAGES).permute(0, 3, 1, 2).float() / 255)
    assert torch.equal(y, torch.from_numpy(LABELS))
    assert (data.shape, len(data), x.is_contiguous()) == ((3, 6, 5), 20, True)


@given(cuts=st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=1, max_size=6))
def test_rows_are_the_same_however_they_are_asked_for(
    form: Callable[..., Dataset], cuts: list[tuple[int, int]]
) -> None:
    data = form()
    x, y = everything(data)
    for start, stop in map(sorted, cuts):
        part, labels = data.rows(start, stop)
        assert torch.equal(part, x[start:stop])
        assert torch.equal(labels, y[start:stop])


def test_the_first_rows_are_a_prefix(form: Callable[..., Dataset]) -> None:
    x, y = everything(form(7))
    assert torch.equal(x, everything(form())[0][:7])
    assert y.tolist() == [0, 1, 2, 3, 0, 1, 2]


def test_asking_for_more_rows_than_there_are_is_said(form: Callable[..., Dataset]) -> None:
    assert len(form(30)) == 20
    assert "30 rows were requested, but there are only 20" in notes(form(30))


@pytest.mark.parametrize("rows", [0, -1])
def test_no_rows_are_refused(form: Callable[..., Dataset], rows: int) -> None:
    with pytest.raises(InputError, match="expected a positive number of rows"):
        form(rows)


def test_the_digest_is_that_of_the_data(form: Callable[..., Dataset]) -> None:
    assert form().digest == form().digest
    assert len(form().digest) == 64


def test_what_is_handed_out_may_be_written_to(form: Callable[..., Dataset]) -> None:
    data = form()
    x, y = everything(data)
    before = x.clone()
    x.zero_(), y.zero_()
    assert torch.equal(everything(data)[0], before)
    assert torch.equal(everything(data)[1], torch.from_numpy(LABELS))


@pytest.mark.parametrize(("start", "stop"), [(0, 21), (-1, 3), (5, 4)])
def test_rows_outside_are_an_error_of_the_caller(form: Callable[..., Dataset], start: int, stop: int) -> None:
    with pytest.raises(IndexError):
        form().rows(start, stop)


# ------------------------------------------------------------------ arrays: layouts, dtypes, labels


@pytest.mark.parametrize(
    ("shape", "read", "said"),
    [
        ((20, 6, 5, 3), (3, 6, 5), "images (N, H, W, C)."),
        ((20, 6, 5, 1), (1, 6, 5), "images (N, H, W, C)."),
        ((20, 3, 6, 5), (3, 6, 5), "images (N, C, H, W)."),
        ((20, 1, 6, 5), (1, 6, 5), "images (N, C, H, W)."),
        ((20, 3, 5, 3), (3, 5, 3), "both orders are possible"),
        ((20, 6, 5, 7), (6, 5, 7), "no axis has"),
        ((20, 6, 5), (1, 6, 5), "grey images (N, H, W)"),
        ((20, 6), (6,), "a table (N, D)"),
    ],
)
def test_layouts_are_recognised_and_said(
    shape: tuple[int, ...], read: tuple[int, ...], said: str, tmp_path: Path
) -> None:
    x = DRAW.random(shape, dtype=np.float32)
    for data in (ArrayData(x, LABELS), load_data(saved(tmp_path / "x.npz", x))):
        assert data.shape == read
        assert said in notes(data)
        turned = x.transpose(0, 3, 1, 2) if "(N, H, W, C)" in said else x.reshape(20, *read)
        assert torch.equal(everything(data)[0], torch.from_numpy(turned))


@pytest.mark.parametrize("shape", [(20, 6, 5, 3), (20, 6, 5), (20, 6), (20, 1, 2, 3, 4)])
def test_torch_tensors_are_taken_as_they_are(shape: tuple[int, ...]) -> None:
    x = torch.rand(shape)
    data = ArrayData(x, torch.from_numpy(LABELS))
    assert (data.shape, data.notes) == (shape[1:], [])
    assert torch.equal(everything(data)[0], x)


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8", ">f4", ">f8"])
def test_floats_are_passed_through_as_float32(dtype: str, tmp_path: Path) -> None:
    x = (DRAW.random((20, 6)) * 8 - 4).astype(dtype)
    for data in (ArrayData(x, LABELS), load_data(saved(tmp_path / "x.npz", x))):
        assert everything(data)[0].tolist() == x.astype(np.float32).tolist()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_torch_floats_become_float32(dtype: torch.dtype) -> None:
    x = torch.rand(20, 6).to(dtype).requires_grad_()
    assert torch.equal(everything(ArrayData(x, LABELS))[0], x.float())


def test_dividing_by_255_is_said_and_exact() -> None:
    x = torch.arange(256, dtype=torch.uint8)[:, None]
    data = ArrayData(x, torch.zeros(256, dtype=torch.int64))
    assert "divided by 255" in notes(data)
    assert torch.equal((everything(data)[0] * 255).round().to(torch.uint8), x)


@pytest.mark.parametrize("dtype", [np.int64, np.int8, np.uint16, np.uint32, np.bool_])
def test_whole_numbers_of_other_types_are_taken_as_they_are_and_said(dtype: Any, tmp_path: Path) -> None:
    x = DRAW.integers(0, 120, (20, 6)).astype(dtype)
    for data in (ArrayData(x, LABELS), load_data(saved(tmp_path / "x.npz", x)), ArrayData(torch.from_numpy(x), LABELS)):
        assert torch.equal(everything(data)[0], torch.from_numpy(x.astype(np.float32)))
        assert f"x is {'boolean' if dtype is np.bool_ else np.dtype(dtype).name}" in notes(data)


@pytest.mark.parametrize("dtype", [np.int64, np.uint32])
def test_whole_numbers_that_float32_cannot_hold_are_refused(dtype: Any) -> None:
    x = np.full((20, 6), (1 << 24) + 1, dtype)
    for inputs in (x, torch.from_numpy(x)):
        with pytest.raises(InputError, match=r"whole numbers up to 16777216.*got 16777217"):
            everything(ArrayData(inputs, LABELS))


@pytest.mark.parametrize("dtype", [np.complex64, "U3", object])
def test_other_dtypes_are_refused(dtype: Any, tmp_path: Path) -> None:
    x = np.zeros((20, 6), dtype)
    with pytest.raises(InputError, match="expected x of dtype uint8"):
        ArrayData(x, LABELS)
    with pytest.raises(InputError, match=r"uint8|numbers"):
        load_data(saved(tmp_path / "x.npz", x))


@pytest.mark.parametrize(
    ("x", "y", "said"),
    [
        (np.zeros((3, 6)), [0, 1], "got 2 for 3"),
        (np.zeros((3, 6)), [0.0, 1.5, 2.0], "one class per row.*1.5 in row 1"),
        (np.zeros((3, 6)), [0.0, np.nan, 2.0], "one class per row.*nan in row 1"),
        (np.zeros((3, 6)), [[0, 1], [1, 1], [2, 0]], "one class per row.*not one-hot"),
        (np.zeros((3, 6)), [[0.2, 0.8]] * 3, "one class per row.*not one-hot"),
        (np.zeros((3, 6)), [[[0]], [[1]], [[2]]], "one class per row"),
        (np.zeros((3, 6)), [1j, 2j, 3j], "one class per row"),
        (np.zeros((3, 6)), 3, "one class per row"),
        (np.zeros((0, 6)), np.zeros(0, int), "at least one row"),
        (np.zeros((3, 0)), [0, 1, 2], "at least one row"),
        (np.zeros(3), [0, 1, 2], "at least one row"),
        (np.zeros(()), 0, "at least one row"),
        (np.zeros((3, 1, 2, 3, 4)), [0, 1, 2], "2 to 4 axes"),
    ],
)
def test_wrong_shapes_are_refused(x: Any, y: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        ArrayData(x, y)
    with pytest.raises(InputError, match=said):
        load_data(saved(tmp_path / "x.npz", x, y))


LABELS_IN_OTHER_FORMS: list[tuple[Any, str]] = [
    (LABELS.tolist(), ""),
    (tuple(LABELS), ""),
    (torch.from_numpy(LABELS), ""),
    (LABELS.astype(np.uint8), ""),
    (LABELS.astype(object), ""),
    (LABELS.astype(np.float32), "float32 and holds only whole numbers"),
    (torch.from_numpy(LABELS).bfloat16(), "whole numbers"),
    (LABELS[:, None], "its only column"),
    (LABELS[:, None].astype(float), "its only column"),
    (np.eye(4)[LABELS], "one-hot"),
    (np.eye(4, dtype=int)[LABELS], "one-hot"),
    (torch.eye(4)[LABELS].bool(), "one-hot"),
    (LABELS.astype(str), ""),
    ([f"{k:02d}" for k in LABELS], ""),
    (LABELS.astype("S"), ""),
]


@pytest.mark.parametrize(("y", "said"), LABELS_IN_OTHER_FORMS)
def test_labels_in_any_plain_form_are_the_same(y: Any, said: str) -> None:
    data = ArrayData(IMAGES, y)
    assert everything(data)[1].tolist() == LABELS.tolist()
    assert data.class_names is None
    assert said in notes(data)


def test_boolean_labels_are_the_classes_0_and_1() -> None:
    data = ArrayData(IMAGES[:3], [True, False, True])
    assert everything(data)[1].tolist() == [1, 0, 1]
    assert "False is class 0" in notes(data)


class Frame:
    """As a data frame or a series hands itself over."""

    def __init__(self, values: Any) -> None:
        self.values = values

    def to_numpy(self) -> Any:
        return np.asarray(self.values)


def test_lists_and_data_frames_are_arrays() -> None:
    x = DRAW.random((20, 6))
    wanted = everything(ArrayData(x, LABELS))[0]
    for inputs in (x.tolist(), tuple(map(tuple, x)), Frame(x), list(x), list(torch.from_numpy(x))):
        assert torch.equal(everything(ArrayData(inputs, Frame(LABELS)))[0], wanted)


@pytest.mark.parametrize("x", [[[0.0], [0.0, 1.0]], [torch.zeros(2), torch.zeros(3)], {"a": 1}, 3, "text", None])
def test_what_makes_no_array_is_refused(x: Any) -> None:
    with pytest.raises(InputError, match=r"expected (inputs of one shape|x of arrays)"):
        ArrayData(x, [0, 1])


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (torch.eye(3).to_sparse(), "dense tensor, got one of layout torch.sparse_coo"),
        (torch.zeros(3, 2, device="meta"), "dense tensor, got one without numbers"),
        (np.ma.masked_array(np.zeros((3, 2)), [[True, False]] * 3), "without masked values"),
    ],
)
def test_arrays_that_do_not_hold_all_numbers_are_refused(x: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        ArrayData(x, [0, 1, 2])


@pytest.mark.parametrize("names", [["a"], ["a", "a"], ["a", ""]])
def test_names_of_classes_are_a_list_of_words(names: Any) -> None:
    for read in (lambda: ArrayData(IMAGES, LABELS, class_names=names), lambda: load_data("digits", classes=names)):
        with pytest.raises(InputError, match="at least 2 different names"):
            read()


# ------------------------------------------------------------------ layouts that are asked for

SERIES = DRAW.random((20, 3, 16), dtype=np.float32)


@pytest.mark.parametrize(
    ("x", "layout", "wanted"),
    [
        (SERIES, "as-is", SERIES),
        (SERIES, "nhw", SERIES[:, None]),
        (DRAW.random((20, 4, 5, 3)), "as-is", None),
        (DRAW.random((20, 2, 5, 2)), "nchw", None),
        (IMAGES, "nhwc", IMAGES.transpose(0, 3, 1, 2)),
        (DRAW.random((20, 1, 2, 3, 4)), "as-is", None),
        (DRAW.random((20, 6)), "as-is", None),
    ],
)
def test_a_layout_that_is_asked_for_is_taken(x: Any, layout: str, wanted: Any, tmp_path: Path) -> None:
    wanted = (x if wanted is None else wanted) / (255 if x.dtype == np.uint8 else 1)
    spec = saved(tmp_path / "x.npz", x)
    for data in (
        ArrayData(x, LABELS, layout=layout),
        load_data(spec, layout=layout),
        ArrayData(torch.from_numpy(x), LABELS, layout=layout),
    ):
        assert torch.allclose(everything(data)[0], torch.from_numpy(np.asarray(wanted, np.float32)))
        assert (data.layout, data.shape) == (layout, wanted.shape[1:])
        assert "was read as" not in notes(data)


@pytest.mark.parametrize(("layout", "said"), [("nhwc", r"\(N, H, W, C\)"), ("nwh", "among nchw, nhwc, nhw, as-is")])
def test_layouts_that_do_not_fit_are_refused(layout: str, said: str, tmp_path: Path) -> None:
    for read in (
        lambda: ArrayData(SERIES, LABELS, layout=layout),
        lambda: load_data(saved(tmp_path / "x.npz", SERIES), layout=layout),
    ):
        with pytest.raises(InputError, match=said):
            read()


@pytest.mark.parametrize("spec", ["digits", "folder"])
def test_only_archives_have_a_layout(spec: str, tmp_path: Path) -> None:
    in_classes(tmp_path)
    with pytest.raises(InputError, match=r"expected a layout only for an .npz file"):
        load_data(spec if spec == "digits" else str(tmp_path), layout="nhw")


def test_a_guess_names_the_other_ways() -> None:
    assert "(--layout)" in " ".join(n.do for n in ArrayData(SERIES, LABELS).notes)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_broken_number_is_refused_by_its_row(value: float, tmp_path: Path) -> None:
    x = DRAW.random((20, 6))
    x[13, 2] = value
    for data in (ArrayData(x, LABELS), load_data(saved(tmp_path / "x.npz", x))):
        assert data.rows(0, 13)[0].isfinite().all()
        with pytest.raises(InputError, match="row 13"):
            data.rows(10, 20)


def test_the_digest_of_arrays_is_that_of_what_is_used() -> None:
    x = DRAW.random((20, 6), dtype=np.float32)
    digest = ArrayData(x, LABELS).digest
    assert digest == ArrayData(torch.from_numpy(x.copy()), LABELS.tolist(), name="again").digest
    assert digest == ArrayData(np.asfortranarray(x), LABELS).digest
    assert digest == ArrayData(np.concatenate([x, x]), np.tile(LABELS, 2), rows=20).digest
    assert digest not in (ArrayData(x + 1e-6, LABELS).digest, ArrayData(x, LABELS + 1).digest)
    assert digest != ArrayData(x.reshape(20, 3, 2), LABELS).digest


def test_a_memory_mapped_array_stays_on_disk(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", IMAGES)
    data = ArrayData(np.load(tmp_path / "x.npy", mmap_mode="r"), LABELS, class_names=list("abcd"))
    assert torch.equal(everything(data)[0], everything(ArrayData(IMAGES, LABELS))[0])
    assert data.class_names == list("abcd")
    assert repr(data) == "ArrayData('arrays', rows=20, shape=(3, 6, 5))"


# ------------------------------------------------------------------ npz


@pytest.mark.parametrize("compress", [False, True])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, compress: bool) -> None:
    rows, size = 2000, 3 * 64 * 64
    x = np.zeros((rows, 3, 64, 64), np.uint8)
    data = load_data(saved(tmp_path / "big.npz", x, np.zeros(rows, np.int64), compress))
    tracemalloc.start()
    assert len(data.digest) == 64
    for start in range(0, rows, 50):
        data.rows(start, start + 50)
    data.rows(0, 1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < rows * size / 4


def test_the_digest_of_a_file_is_that_of_its_bytes(tmp_path: Path) -> None:
    path = Path(saved(tmp_path / "x.npz", IMAGES))
    before = load_data(str(path)).digest
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("more.npy", b"")
    assert load_data(str(path)).digest != before


def test_missing_arrays_are_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", images=IMAGES, labels=LABELS)
    with pytest.raises(InputError, match=r"expected the arrays x and y in x.npz, got images, labels"):
        load_data(str(tmp_path / "x.npz"))


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="objects are not unpickled"):
        load_data(saved(tmp_path / "x.npz", np.zeros((20, 6)), np.array([None] * 20)))


def test_column_major_arrays_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="ascontiguousarray"):
        load_data(saved(tmp_path / "x.npz", np.asfortranarray(np.zeros((20, 6)))))


def rewritten(path: Path, replaced: Callable[[bytes], bytes]) -> None:
    """Replace the bytes of x in the archive."""
    with zipfile.ZipFile(path) as old:
        members = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path, "w") as new:
        for name, raw in members.items():
            new.writestr(name, replaced(raw) if name == "x.npy" else raw)


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: raw[:-1],
        lambda raw: raw[:20],
        lambda raw: b"",
        lambda raw: raw.replace(b"(20,", b"(99,"),
        lambda raw: raw.replace(b"'shape'", b"'shame'"),
        lambda raw: raw[:6] + b"\x07" + raw[7:],
    ],
)
def test_a_damaged_array_is_refused(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    rewritten(Path(saved(tmp_path / "x.npz", IMAGES)), damage)
    with pytest.raises(InputError, match="cannot be read"):
        load_data(str(tmp_path / "x.npz"))


def test_flipped_bytes_are_noticed(tmp_path: Path) -> None:
    path = Path(saved(tmp_path / "x.npz", IMAGES))
    raw = bytearray(path.read_bytes())
    raw[raw.index(IMAGES.tobytes()) + 100] ^= 1
    path.write_bytes(raw)
    with pytest.raises(InputError, match="CRC"):
        everything(load_data(str(path)))


@pytest.mark.parametrize("keep", [0, 100, 0.5])
def test_a_damaged_file_is_refused(tmp_path: Path, keep: float) -> None:
    path = Path(saved(tmp_path / "x.npz", IMAGES))
    raw = path.read_bytes()
    path.write_bytes(raw[: int(keep if keep >= 1 else keep * len(raw))])
    with pytest.raises(InputError, match=r"expected an .npz file"):
        load_data(str(path))


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.doc").touch()
    with pytest.raises(InputError, match=r"got .*x.doc"):
        load_data(str(tmp_path / "x.doc"))


@pytest.mark.parametrize(("name", "close"), [("imags.npz", "images.npz"), ("digit", "digits")])
def test_a_missing_file_is_named_with_its_neighbour(tmp_path: Path, name: str, close: str) -> None:
    saved(tmp_path / "images.npz", IMAGES)
    with pytest.raises(InputError, match=f"does not exist .did you mean '{close}'"):
        load_data(str(tmp_path / name))


# ------------------------------------------------------------------ folders


@pytest.mark.parametrize("suffix", [".png", ".PNG", ".bmp", ".jpg", ".jpeg", ".webp"])
def test_images_of_every_kind(tmp_path: Path, suffix: str) -> None:
    in_classes(tmp_path, suffix=suffix)
    data = load_data(str(tmp_path))
    assert (data.shape, len(data), data.class_names) == ((3, 6, 5), 20, [f"class {i}" for i in range(4)])
    assert "4 class folders" in notes(data)


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("1", 1), ("LA", 1), ("RGBA", 3), ("P", 3)])
def test_colours_decide_on_the_channels(tmp_path: Path, mode: str, channels: int) -> None:
    in_classes(tmp_path, mode)
    assert everything(load_data(str(tmp_path)))[0].shape == (20, channels, 6, 5)


def test_integer_names_are_the_labels(tmp_path: Path) -> None:
    for name in ("10", "2", "7"):
        (tmp_path / name).mkdir()
        Image.fromarray(IMAGES[0]).save(tmp_path / name / "a.png")
    data = load_data(str(tmp_path))
    assert (everything(data)[1].tolist(), data.class_names) == ([10, 2, 7], None)
    assert "3 class folders: 2 (1 image), 7 (1), 10 (1); labels: the folder names as numbers." in notes(data)


def test_rows_take_turns_through_uneven_classes(tmp_path: Path) -> None:
    for name, count in (("a", 1), ("b", 3), ("c", 0), ("d", 2)):
        (tmp_path / name).mkdir()
        for i in range(count):
            Image.fromarray(IMAGES[i]).save(tmp_path / name / f"{i}.png")
    data = load_data(str(tmp_path))
    assert everything(data)[1].tolist() == [0, 1, 2, 1, 2, 1]
    assert (
        "3 class folders: a=0 (1 image), b=1 (3), d=2 (2); labels: indices of the sorted folder names; "
        "skipped: 1 folder without pictures."
    ) in notes(data)


def test_hidden_and_other_files_are_passed_over(tmp_path: Path) -> None:
    in_classes(tmp_path)
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "readme.txt").touch()
    (tmp_path / "class 0" / "._00.png").touch()
    (tmp_path / "class 0" / "notes.txt").touch()
    assert len(load_data(str(tmp_path))) == 20


def test_the_digest_of_a_folder_is_that_of_its_files(tmp_path: Path) -> None:
    in_classes(tmp_path)
    digests = [load_data(str(tmp_path)).digest]
    (tmp_path / "class 0" / "00.png").rename(tmp_path / "class 0" / "000.png")
    digests.append(load_data(str(tmp_path)).digest)
    Image.fromarray(IMAGES[1]).save(tmp_path / "class 0" / "000.png")
    digests.append(load_data(str(tmp_path)).digest)
    assert len(set(digests)) == 3


def test_sizes_that_differ_are_refused_with_both_files(tmp_path: Path) -> None:
    in_classes(tmp_path)
    Image.new("RGB", (9, 8)).save(tmp_path / "class 2" / "99.png")
    with pytest.raises(InputError, match=r"5x6 in .*00.png.* and 9x8 in .*99.png.*resize"):
        load_data(str(tmp_path))


@pytest.mark.parametrize("keep", [0, 10, 0.7])
def test_a_damaged_image_is_named(tmp_path: Path, keep: float) -> None:
    in_classes(tmp_path)
    path = tmp_path / "class 1" / "05.png"
    raw = path.read_bytes()
    path.write_bytes(raw[: int(keep if keep >= 1 else keep * len(raw))])
    with pytest.raises(InputError, match=r"05.png.*repair or remove"):
        everything(load_data(str(tmp_path)))


@pytest.mark.parametrize("folders", [[], ["a", "b"]])
def test_a_folder_without_images_is_refused(tmp_path: Path, folders: list[str]) -> None:
    for name in folders:
        (tmp_path / name).mkdir()
    Image.fromarray(IMAGES[0]).save(tmp_path / "loose.png")
    with pytest.raises(InputError, match=f"got {len(folders)} folders without any"):
        load_data(str(tmp_path))
