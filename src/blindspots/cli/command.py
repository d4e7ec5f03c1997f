"""The command of a kind of run, made from its settings: every field of its configuration is an option."""

from collections.abc import Callable, Mapping
from inspect import Parameter, Signature
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer

from blindspots.cli.where import Where
from blindspots.runs.config import Config, made
from blindspots.runs.experiment import Kind


def command_of(kind: Kind) -> Callable[..., None]:
    """A function whose signature has an option for every setting; it runs the kind and shows what came of it."""
    config: type[Config] = kind.load("config")
    arguments, options = _parameters(config)

    def command(**given: Any) -> None:
        from blindspots.cli.running import run_kind

        where = Where(**{name: given.pop(name) for name in Where.model_fields})
        words = {name: value for name, value in given.items() if not _is_left_out(config, name, value)}
        run_kind(kind, made(config, words, option=True), where)

    command.__signature__ = Signature([*arguments, *options])  # type: ignore[attr-defined]
    command.__doc__ = kind.about
    command.__name__ = kind.name
    return command


def _is_left_out(config: type[Config], name: str, value: Any) -> bool:
    return value is None or (value == [] and not config.model_fields[name].is_required())


def _parameters(config: type[Config]) -> tuple[list[Parameter], list[Parameter]]:
    """The arguments and the options: those of the kind itself first, how it is run last."""
    arguments: list[Parameter] = []
    options: list[Parameter] = []
    for owner, name in _owned(config):
        field = owner.model_fields[name] if owner is Where else config.model_fields[name]
        if _extra(field)["hidden"]:
            continue
        found = _parameter(name, field, _heading(owner, config))
        (arguments if _extra(field)["argument"] else options).append(found)
    return arguments, options


def _owned(config: type[Config]) -> list[tuple[Any, str]]:
    """Every field with the class that declares it, in the order of `--help`."""
    own, *others = [c for c in config.__mro__ if issubclass(c, Config) and c is not Config]
    declared = [(c, n) for c in [own, *reversed(others)] for n in vars(c).get("__annotations__", {})]
    owners: dict[str, Any] = {}
    for owner, name in declared:
        if name in config.model_fields:
            owners.setdefault(name, owner)  # one that describes what it inherits in its own words
    found = [(owner, name) for name, owner in owners.items()]
    return [*found, *((Where, name) for name in Where.model_fields), *((Config, name) for name in Config.model_fields)]


def _heading(owner: Any, config: type[Config]) -> str | None:
    return None if owner is config else str(owner.group)


def _extra(field: Any) -> Mapping[str, Any]:
    return {
        "metavar": "",
        "shown": "",
        "argument": False,
        "hidden": False,
        "instead": "",
        "also": "",
        **(field.json_schema_extra or {}),
    }


def _parameter(name: str, field: Any, heading: str | None) -> Parameter:
    extra, hint = _extra(field), _plain(field.annotation)
    required = field.is_required() and not extra["instead"]
    several, choices = _is_several(hint), _choices(hint)
    flag, called = hint is bool, f"--{name.strip('_').replace('_', '-')}"
    metavar = extra["metavar"] or ("" if flag else name.upper())
    shown = extra["shown"] or (not required and field.default not in (None, (), False))
    common: dict[str, Any] = {"help": field.description, "rich_help_panel": heading}
    if not flag:
        common["metavar"] = None if choices else metavar
    if extra["argument"]:
        kind: Any = typer.Argument(**{k: v for k, v in common.items() if k != "rich_help_panel"})
    else:
        names = (called if not (flag and field.default) else f"{called}/--no-{called[2:]}",)
        names = (*names, *([extra["also"]] if extra["also"] else []))
        kind = typer.Option(*names, show_default=shown, **common)
    type_: Any = bool if flag else list[str] if several else hint if choices or hint is Path else str
    default: Any = (
        Parameter.empty if required else _default(None if field.is_required() else field.default, flag, several)
    )
    annotation: Any = Annotated[type_ if required or flag or several else type_ | None, kind]
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _default(value: Any, flag: bool, several: bool) -> Any:
    """As words, which the configuration reads like those of the command line."""
    if flag:
        return value
    if several:
        return list(map(str, value or ()))
    if isinstance(value, tuple):
        return ",".join(f"{one:g}" for one in value) or None
    return None if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _plain(annotation: Any) -> Any:
    """Without `| None` and without what validates it."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _plain(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return _plain(next(arg for arg in get_args(annotation) if arg is not NoneType))
    return annotation


def _choices(hint: Any) -> list[str]:
    return [str(choice) for choice in get_args(hint)] if get_origin(hint) is Literal else []


def _is_several(hint: Any) -> bool:
    """Tuples of words: an option that can be given several times. Numbers are written a,b,c."""
    return get_origin(hint) is tuple and get_args(hint)[:1] == (str,)
