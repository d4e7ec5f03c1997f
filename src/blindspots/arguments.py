"""Checks of the arguments of public functions and classes: wrong types raise a sentence, plain ones are converted."""

import inspect
import math
from abc import ABCMeta
from collections.abc import Callable, Mapping, Sequence
from functools import cache, wraps
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, Literal, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

from blindspots.errors import InputError

P = ParamSpec("P")
R = TypeVar("R")
Converter = Callable[[Any], Any]
_WORDS = {int: "a whole number", float: "a number", bool: "True or False", str: "text", NoneType: "None"}
_COUNTS = ("steps", "queries", "count", "restarts")


def checked(**converters: Converter) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Check the arguments of a function against its annotations before it runs. Numpy's numbers become Python's.

    Args:
        converters: for parameters that take more than their annotation says, as in threat="linf:0.1": values
            other than None go through that function first.

    The function raises InputError for a type that does not fit, an argument it does not know, and one that is missing.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> R:
            given = arguments_of(function, args, kwargs)
            fit(function, given, frozenset(converters))  # expensive conversions come last
            for name, convert in converters.items():
                if given.arguments.get(name) is not None:
                    given.arguments[name] = convert(given.arguments[name])
            fit(function, given)
            return function(*given.args, **given.kwargs)

        return run

    return decorate


class _Checking(ABCMeta):
    @property
    def __signature__(cls) -> inspect.Signature:
        """That of the constructor, for `help` and editors; else they would show the one of `__call__`."""
        return _signature(cls)

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        given = arguments_of(cls, args, kwargs)
        fit(cls, given, getattr(cls, "unchecked", frozenset()))
        cls.check_arguments(given.arguments)  # type: ignore[attr-defined]
        return super().__call__(*given.args, **given.kwargs)


class Checked(metaclass=_Checking):
    """A class whose constructor's arguments are checked as those of a function that is `checked`.

    Attributes:
        unchecked: parameters that the constructor checks itself.
    """

    unchecked: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def check_arguments(cls, settings: Mapping[str, Any]) -> None:
        """Raises InputError for arguments of the right types whose values make no sense."""


def arguments_of(of: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> inspect.BoundArguments:
    """The arguments by name. Raises InputError: one is missing, unknown or given twice."""
    signature = _signature(of)
    try:
        return signature.bind(*args, **kwargs)
    except TypeError as error:
        known = ", ".join(signature.parameters)
        raise InputError(f"expected {_name(of)}({known}), but: {error}") from error


def fit(of: Callable[..., Any], given: inspect.BoundArguments, left: frozenset[str] = frozenset()) -> None:
    """Check arguments, except for those `left` out, against the annotations of what takes them, in place."""
    hints = _hints(of)
    for name, value in given.arguments.items():
        if name in hints and name not in left:
            several = given.signature.parameters[name].kind is inspect.Parameter.VAR_POSITIONAL
            given.arguments[name] = (
                tuple(_fitted(v, hints[name], name, of) for v in value) if several
                else _fitted(value, hints[name], name, of)
            )  # fmt: skip


def check_numbers(name: str, settings: Mapping[str, Any], fewest: int = 1) -> None:
    """Refuse counts below `fewest` and numbers that are not finite among the settings of `name`."""
    for key, value in settings.items():
        if key in _COUNTS and isinstance(value, int) and value < fewest:
            raise InputError(f"expected {key} of at least {fewest} for {name}, got {value}: give a positive number")
        if isinstance(value, float) and not math.isfinite(value):
            raise InputError(f"expected a finite number for {name}:{key}, got {value}: change it")


@cache
def _signature(of: Callable[..., Any]) -> inspect.Signature:
    if not isinstance(of, type):
        return inspect.signature(of)
    signature = inspect.signature(of.__init__)  # type: ignore[misc]  # a metaclass hides it
    return signature.replace(parameters=list(signature.parameters.values())[1:])


@cache
def _hints(of: Callable[..., Any]) -> dict[str, Any]:
    return get_type_hints(of.__init__ if isinstance(of, type) else of)  # type: ignore[misc]


def _name(of: Any) -> str:
    return str(of.__name__)


def _fitted(value: Any, hint: Any, name: str, of: Callable[..., Any]) -> Any:
    value = value.item() if _is_numpy_scalar(value) else value
    if _fits(value, hint):
        return tuple(value) if isinstance(value, list) and not _fits_as_list(hint) else value
    wrong = f"{type(value).__name__} {_short(value)}" if type(value) in _WORDS or isinstance(value, Sequence) else ""
    raise InputError(
        f"expected {name} of {_name(of)} to be {_words(hint)}, got {wrong or 'a ' + type(value).__name__}: change it"
    )


def _is_numpy_scalar(value: Any) -> bool:
    """Without importing numpy, which `--help` has no time for."""
    return any(kind.__name__ == "generic" and kind.__module__ == "numpy" for kind in type(value).__mro__)


def _fits_as_list(hint: Any) -> bool:
    """Whether a list is what is asked for, not just accepted in place of a tuple."""
    kinds = [hint, *get_args(hint)] if get_origin(hint) in (Union, UnionType) else [hint]
    return any(kind is Any or get_origin(kind) not in (None, tuple, Union, UnionType) for kind in kinds)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _fits(value: Any, hint: Any) -> bool:
    origin, args = get_origin(hint), get_args(hint)
    if isinstance(hint, TypeVar):
        return not hint.__constraints__ or any(_fits(value, kind) for kind in hint.__constraints__)
    if hint is Any:
        return True
    if origin is Annotated:
        return _fits(value, args[0])
    if origin in (Union, UnionType):
        return any(_fits(value, arg) for arg in args)
    if origin is Literal:
        return any(type(value) is type(arg) and value == arg for arg in args)
    if origin is not None:
        return _fits_container(value, origin, args)
    return _is(value, hint)


def _fits_container(value: Any, origin: Any, args: tuple[Any, ...]) -> bool:
    if origin is Callable:
        return callable(value)
    if origin is type:
        return isinstance(value, type)
    if issubclass(origin, Mapping):
        return isinstance(value, Mapping)
    if not isinstance(value, list | tuple):  # neither text nor arrays count as several values
        return isinstance(value, origin) and not isinstance(value, str | bytes)
    if origin is tuple and args and args[-1] is not Ellipsis:
        return len(value) == len(args) and all(map(_fits, value, args))
    return all(_fits(v, args[0]) for v in value) if args else True


def _is(value: Any, kind: Any) -> bool:
    if kind is None:
        return value is None
    if kind in (int, float) and isinstance(value, bool):
        return False
    if kind is float:
        return isinstance(value, int | float) and not math.isnan(value)
    if getattr(kind, "_is_protocol", False):
        return all(callable(getattr(value, method, None)) for method in _methods(kind))
    return not isinstance(kind, type) or isinstance(value, kind)


@cache
def _methods(kind: type) -> list[str]:
    """Those that a protocol asks for."""
    named = (item for base in kind.__mro__ if getattr(base, "_is_protocol", False) for item in vars(base).items())
    return [name for name, thing in named if inspect.isfunction(thing) and not name.startswith("_")]


def _words(hint: Any) -> str:
    if isinstance(hint, TypeVar):
        return " or ".join(map(_words, hint.__constraints__))
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _words(args[0])
    if origin in (Union, UnionType):
        words = list(dict.fromkeys(_words(arg) for arg in args))
        return f"{', '.join(words[:-1])} or {words[-1]}" if len(words) > 1 else words[0]
    if origin is Literal:
        return f"one of {', '.join(map(repr, args))}"
    if origin is Callable:
        return "a function"
    if origin is tuple and args and args[-1] is not Ellipsis:
        return f"({', '.join(map(_words, args))})"
    if origin is not None and args and not issubclass(origin, Mapping):
        return f"a list ({_words(args[0])} per item)"
    if origin is not None:
        return f"a {origin.__name__}"
    return _WORDS.get(hint, f"a {getattr(hint, '__name__', hint)}")
