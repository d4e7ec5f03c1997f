"""The options --data, --layout and --classes, and their like: from words to rows."""

from collections.abc import Callable

from blindspots.data import Dataset, digits_training, load_data, parse_classes

Read = Callable[..., Dataset]


def reader(layout: str | None, classes: str | None) -> Read:
    """How a command opens data by name: `read(spec, rows, training)`.

    To train on, "digits" stands for its 1,297 training rows, so that the 500 others can judge.
    """
    names = parse_classes(classes) if classes else None

    def read(spec: str, rows: int | None = None, training: bool = False) -> Dataset:
        if training and spec == "digits" and layout is None and names is None:
            return digits_training(rows)
        return load_data(spec, rows, layout=layout, classes=names)

    return read
