"""What the public functions of all kinds have in common: from Python objects to a configuration and a run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from blindspots.data import Dataset, is_dataset, one_of
from blindspots.errors import InputError
from blindspots.models.model import Model
from blindspots.runs.config import Config, check_known, made
from blindspots.runs.experiment import kind
from blindspots.runs.folder import Files, Folder
from blindspots.runs.run import How, Watch, run
from blindspots.runs.store import Run


def begin(
    name: str,
    given: Mapping[str, Any],
    settings: Mapping[str, Any],
    *,
    out: str | Path | None = None,
    resume: bool = False,
    engine: str | None = None,
    watch: Watch | None = None,
    command: str | None = None,
) -> Run[Any, Any]:
    """Run a kind of experiment that was asked for in Python.

    Args:
        name: of the kind.
        given: what its fields stand for: models, data, objects, or words; None is left out. Of several models for one
            field, a list.
        settings: keywords of its configuration.
        out: the run folder; None: memory.

    Raises:
        InputError: a setting is unknown or does not fit, or the run cannot be done.
    """
    found: type[Config] = kind(name).load("config")
    check_known(found, settings)
    objects = {key: value for key, value in given.items() if value is not None and not _is_plain(value)}
    plain = {key: value for key, value in given.items() if _is_plain(value) and value is not None}
    words = {key: word for thing in objects.items() for key, word in _words(*thing, found).items()}
    objects = {key: thing for pair in objects.items() for key, thing in _each(*pair)}
    if twice := [key for key in settings if key in given]:
        raise InputError(f"expected {twice[0]} once, got it twice: leave one out")
    if taken := [key for key in settings if key in words]:
        raise InputError(
            f"expected {' and '.join(taken)} where data are opened, as in bs.load_data('digits', rows=100), got it "
            "beside data that are open: leave it out here"
        )
    alone = {"whole": True} if out is None and "whole" in found.model_fields else {}  # memory is this process's
    config = made(found, {**words, **plain, **settings, **alone})
    files: Files = {} if out is None else Folder(Path(out))
    told = {"watch": watch} if watch else {}
    return run(name, config, objects, How(files, resume, engine, command=command, **told))  # type: ignore[arg-type]


def rows_of(x: Any, y: Any, data: Any, values: bool = False, features: Any = None) -> Any:
    """What was passed as rows: a name as it is, which the run opens with its own `rows`; anything else as a dataset."""
    return data if isinstance(data, str) and x is None and y is None else one_of(x, y, data, values, features)


def unread(settings: Mapping[str, Any], rows: Any) -> dict[str, Any]:
    """Settings, less the feature file where it has already told how to read the rows."""
    return {name: value for name, value in settings.items() if name != "features" or isinstance(rows, str)}


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, str | bool | int | float) or (
        isinstance(value, list | tuple) and all(isinstance(one, str | bool | int | float) for one in value)
    )  # fmt: skip


def _each(field: str, thing: Any) -> list[tuple[str, Any]]:
    """Several models of one field by names of their own: model/1, model/2, ..."""
    if isinstance(thing, list) and all(isinstance(one, Model) for one in thing):
        return [(f"{field}/{i}", one) for i, one in enumerate(thing, 1)]
    return [(field, thing)]


def _words(field: str, thing: Any, config: type[Config]) -> dict[str, Any]:
    """What the manifest says of an object: the name that opens it, else what it is called."""
    if isinstance(thing, list) and all(isinstance(one, Model) for one in thing):
        return {field: [one.spec or one.name for one in thing]}
    if isinstance(thing, Model):
        return {field: thing.spec or thing.name}
    if is_dataset(thing):
        return {field: thing.spec or thing.name, **(_read(thing, config) if field == "data" else {})}
    if isinstance(thing, list | tuple) and "tuple[" in str(config.model_fields[field].annotation):
        return {field: [_word(one) for one in thing]}
    return {field: _word(thing)}


def _read(data: Dataset, config: type[Config]) -> dict[str, Any]:
    """How data that are open were read, which no setting decides any more."""
    names = ",".join(data.class_names or ()) if getattr(data, "ordered", False) else None
    layout, told = (getattr(data, name, None) for name in ("layout", "told"))
    read = {config.rows_of_data: len(data), "layout": layout, "classes": names, "features": told}
    return {name: value for name, value in read.items() if name in config.model_fields}


def _word(thing: Any) -> str:
    return thing if isinstance(thing, str) else getattr(thing, "spec", None) or repr(thing)
