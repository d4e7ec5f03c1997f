"""Rows to evaluate on: a stream of inputs and labels, whether they come from memory, a file or a folder.

Only labels and file names are held for all rows; inputs are read when `rows` is called.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from blindspots.arguments import checked
from blindspots.data.arrays import ArrayData, digits, digits_arrays, digits_training, part_of
from blindspots.data.dataset import Dataset, Stream
from blindspots.data.folder import FolderData
from blindspots.data.foreign import from_torch, is_foreign, of_keys
from blindspots.data.images import IMAGES, levels_of, read_picture, size_of
from blindspots.data.names import parse_classes
from blindspots.data.npz import NAMES, NpzData
from blindspots.data.sounds import SoundData, has_sounds
from blindspots.data.table import TABLES, TableData, is_frame, of_frame, read_data_table
from blindspots.data.tables import READERS
from blindspots.data.texts import TextData, are_texts, read_texts, reviews_test, reviews_training, text_columns
from blindspots.errors import InputError
from blindspots.files import check_regular, names_beside
from blindspots.findings import Finding
from blindspots.naming import meant
from blindspots.records import DataRecord

__all__ = [
    "IMAGES",
    "ArrayData",
    "Data",
    "Dataset",
    "FolderData",
    "NpzData",
    "SoundData",
    "Stream",
    "TableData",
    "TextData",
    "as_data",
    "digits",
    "digits_arrays",
    "digits_training",
    "is_dataset",
    "levels_of",
    "load_data",
    "notes_of",
    "one_of",
    "parse_classes",
    "part_of",
    "read_picture",
    "reopened",
    "same_rows",
    "size_of",
]

Data = Any  # what `as_data` takes: a Dataset, a name, arrays (x, y), a torch Dataset or a DataLoader
EMBEDDED = {
    "digits": digits,
    "digits-training": digits_training,
    "reviews": reviews_test,
    "reviews-training": reviews_training,
}
FORMS = (
    f"'digits', 'reviews', a folder of class folders, an .npz file, a {', '.join(TABLES)} file of a table or a "
    f"{', '.join(READERS)} file of texts"
)


@checked()
def load_data(
    spec: str | Path,
    rows: int | None = None,
    *,
    layout: str | None = None,
    classes: Iterable[str] | None = None,
    values: bool = False,
    features: str | Path | None = None,
) -> Dataset:
    """Open data by name, the first `rows` rows of it or all.

    Args:
        spec: "digits", the 500 test rows of scikit-learn's digits (8x8, values / 16), or "digits-training", the 1297
            others; "reviews", 1,000 short texts that praise or blame, or "reviews-training", 4,000 others; the path of
            a folder that has a folder of images or WAV files per class; of an `.npz` file with the arrays `x` and `y`,
            and perhaps `names`; of a .csv, .tsv or .parquet file of a table with names of columns; or of a .csv, .tsv,
            .txt, .jsonl or .parquet file of texts and their labels.
        rows: their number at most, positive.
        layout: what the axes of `x` in an `.npz` file mean: "nchw", "nhwc", "nhw", or "as-is" for any others. Or
            the columns of a file of texts: "text=review,label=stars"; "text=title+body,label=class" joins two by a
            space; in "fixed=premise,text=hypothesis,label=gold" one side of a pair never changes (the two are joined
            by U+001E in this order); where columns have no names, their numbers from 1. Of a table the column of
            labels: "label=target". None: it is inferred, and the notes say how.
        classes: names in the order of the model's outputs, which labels become indices of. None: the model's own names
            are used, if it has any.
        values: y of an `.npz` file or of a table are numbers (N, ...) that a goal compares outputs with, and no
            classes.
        features: the path of a feature file, which says what the columns of a table are (docs/tables.md).

    Raises:
        InputError: there is nothing, or it is empty, or not what is described above.
    """
    told = None if features is None else str(features)
    data = _opened(str(spec), rows, layout, classes is not None, values, told)
    try:
        return data if classes is None else data.among(classes, "the list of classes")
    except InputError:
        data.close()
        raise


def _opened(
    spec: str, rows: int | None, layout: str | None, named: bool, values: bool = False, features: str | None = None
) -> Stream:
    path = Path(spec)
    if features is not None and path.suffix.lower() not in TABLES:
        raise InputError(
            f"expected a table, a {', '.join(TABLES)} file, for a feature file, got {spec!r}: leave --features out"
        )
    if layout is not None and (spec in EMBEDDED or path.is_dir()):
        raise InputError(
            f"expected a layout only for an .npz file or a file of texts, got {layout!r} for {spec!r}: leave it out"
        )
    if values and (spec in EMBEDDED or path.is_dir()):
        raise InputError(
            f"expected an .npz file with x and y for a goal that compares numbers, got {spec!r}, which has classes: "
            "save x and y with np.savez, or leave the goal out"
        )
    if spec in EMBEDDED:
        return EMBEDDED[spec](rows)
    if path.is_dir():
        kind = SoundData if has_sounds(path) else FolderData
        return kind(path, spec, rows, named)
    if not path.exists():
        around = names_beside(path, "/", ".npz", *READERS)
        raise InputError(
            f"expected {FORMS}, got {spec!r}, which does not exist{meant(path.name, [*around, *EMBEDDED])}"
        )
    check_regular(path, FORMS)
    if (table := read_data_table(path, spec, rows, layout, features, values)) is not None:
        return table
    if path.suffix.lower() in READERS and not values:
        return read_texts(path, spec, rows, layout)
    if path.suffix.lower() != ".npz":
        raise InputError(f"expected {FORMS}, got {spec!r}: save it with np.savez(file, x=..., y=...)")
    return NpzData(path, spec, rows, layout, values)


def reopened(record: DataRecord) -> Dataset:
    """The data that a record describes, read as they were.

    Raises InputError: they no longer exist, or can no longer be read in that way.
    """
    data = _opened(
        str(record.spec), record.rows, record.layout, record.class_names is not None, record.values, record.features
    )
    return same_rows(data, record)


def same_rows(given: Any, record: DataRecord) -> Dataset:
    """Given data, with the labels and in the shape that a record has of them, as far as possible.

    Where that is impossible, they are other data, and their digest shows it.
    """
    data = as_data(given, record.values)
    if not isinstance(data, Stream):
        return data
    if data.shape != record.shape:
        data = next((other for other in data.readings() if other.shape == record.shape), data)
    try:
        return data if record.class_names is None else data.among(record.class_names, "the classes of the run")
    except InputError:
        return data


def as_data(given: Any, values: bool = False, features: Any = None) -> Dataset:
    """A dataset from what a public function takes as data: a dataset, a name, arrays (x, y), or torch's classes.

    Args:
        values: y are numbers (N, ...) that a goal compares outputs with, and no classes.
        features: a feature file, where data are a table.

    Raises InputError: it is none of these.
    """
    if isinstance(given, str | Path):
        return load_data(given, values=values, features=features)
    if is_dataset(given):
        found: Dataset = given
        return found
    if isinstance(given, tuple) and len(given) == 2:
        return _of_pair(*given, values, features)
    if not values and (texts := text_columns(given)) is not None:
        return texts
    if isinstance(given, Mapping):
        named = [given[key] for key in NAMES if key in given and all(isinstance(word, str) for word in given[key])]
        return ArrayData(*of_keys(given), class_names=named[0] if named and not values else None, values=values)
    pairs = isinstance(given, list) and given and all(isinstance(row, tuple) and len(row) == 2 for row in given)
    if pairs and are_texts([x for x, _ in given]):
        return TextData([text for text, _ in given], [label for _, label in given])
    if pairs or is_foreign(given):
        return from_torch(given, values)
    raise InputError(
        f"expected data, got {type(given).__name__}: pass bs.load_data(...), a name such as 'digits', a pair (x, y) of "
        "inputs or texts and their labels, a torch Dataset or a DataLoader"
    )


def _of_pair(x: Any, y: Any, values: bool, features: Any = None) -> Dataset:
    """Inputs and labels as passed from Python: texts, a table or arrays."""
    if is_frame(x):
        return of_frame(x, y, features, values)
    return TextData(x, y) if are_texts(x) and not values else ArrayData(x, y, values=values)


def one_of(x: Any, y: Any, data: Any, values: bool = False, features: Any = None) -> Dataset:
    """Data from arrays or from data, as passed from Python. Raises InputError for neither, a mixture, or no rows."""
    if data is None and y is None and (is_dataset(x) or is_foreign(x) or isinstance(x, str | Path)):
        x, data = None, x  # evaluate(model, loader)
    if data is None and x is not None and y is not None:
        data = _of_pair(x, y, values, features)
    elif data is None or x is not None or y is not None:
        raise InputError("expected inputs x and labels y, or data, got neither or a mixture: pass one of the two")
    rows = as_data(data, values, features)
    if not len(rows):
        raise InputError(f"expected at least one row in {rows.name}, got none: pass data with rows")
    if features is not None and not getattr(rows, "declared", False):
        raise InputError(
            f"expected a table for features, such as a data frame or bs.load_data('rows.csv', features=...), got "
            f"{rows.name}, whose columns have no names: pass that, or leave features out"
        )
    return rows


def notes_of(data: Dataset, *others: Any) -> list[Finding]:
    """Notes on all rows of a run; those of `others` (datasets, or anything else) begin with their names."""
    more = [(rows.name, note) for rows in others if is_dataset(rows) for note in rows.notes]
    return [*data.notes, *(note.model_copy(update={"saw": f"{name}: {note.saw}"}) for name, note in more)]


def is_dataset(given: Any) -> bool:
    """Whether it is rows that can be asked for by their places, as `Dataset` says."""
    return not isinstance(given, type) and all(hasattr(given, part) for part in ("rows", "digest", "shape", "notes"))
