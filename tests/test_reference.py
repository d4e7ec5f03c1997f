"""The API reference lists every public name, and every public name says what it is."""

import inspect
import re
from pathlib import Path
from types import ModuleType

import pytest

import blindspots as bs

PAGE = (Path(__file__).parents[1] / "docs/reference.md").read_text(encoding="utf-8")
PACKAGES = [bs, bs.attacks, bs.testing]


def listed(package: ModuleType) -> list[str]:
    """The names that stand between the package's `currentmodule` and the next one."""
    part = PAGE.partition(f".. currentmodule:: {package.__name__}\n")[2].partition(".. currentmodule::")[0]
    return re.findall(r"^(?:   |\.\. py:data:: )(\w+)$", part, re.MULTILINE)


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_listed_once(package: ModuleType) -> None:
    assert sorted(listed(package)) == sorted(set(package.__all__) - {"attacks", "goals", "testing"})


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_has_a_docstring_of_its_own(package: ModuleType) -> None:
    said = {name: getattr(package, name).__doc__ for name in package.__all__ if callable(getattr(package, name))}
    assert [name for name, text in said.items() if not text or text.startswith(f"{name}(")] == []


def test_help_shows_the_constructor() -> None:
    assert str(inspect.signature(bs.attacks.FGSM)) == "(random_start: bool = False) -> None"
    assert [*inspect.signature(bs.Linf).parameters] == ["radius", "lo", "hi", "unit", "where", "padding"]
