"""Packages that are imported where they are needed, and need not be installed."""

from importlib import import_module
from typing import Any

from blindspots.errors import InputError


def optional(name: str, what_for: str) -> Any:
    """The package of that name. Raises InputError: it is not installed."""
    try:
        return import_module(name)
    except ImportError as error:
        raise InputError(f"expected {name} to be installed, {what_for}: pip install {name}, or do without") from error
