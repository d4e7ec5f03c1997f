"""How `make docs` builds the pages: the guides as they stand here, and the reference from the docstrings."""

import re
from importlib.metadata import version as installed
from typing import Any

from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.ext.napoleon import GoogleDocstring
from sphinx.util.logging import getLogger

import blindspots as bs

MODULES = {f"blindspots.{name}" for name in ("attacks", "goals", "testing")}  # public names that hold others

project = "blindspots"
version = release = installed("blindspots")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.autosummary"]
exclude_patterns = ["_build", "_templates"]
templates_path = ["_templates"]
default_role = "code"
myst_heading_anchors = 3  # links to headings work as they do on GitHub

autodoc_default_options = {"members": True, "exclude-members": "requires"}  # its value, a class, has a page of its own
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"

html_theme = "alabaster"  # comes with Sphinx
html_theme_options = {"description": "Finds the blind spots of trained models", "page_width": "1100px"}
html_show_copyright = False
html_show_sourcelink = False


def plain(line: str) -> str:
    """Docstrings are plain text with `code`: anything else that reStructuredText reads as markup is escaped."""
    parts = re.split("(`[^`]*`)", line)
    text = "".join(part if part.startswith("`") else re.sub(r"([*|_])", r"\\\1", part) for part in parts)
    return re.sub(r"(`[^`]*`)(?=\w)", r"\1\\ ", text)  # the s of `Model`s


def rewrite(app: Sphinx, what: str, name: str, obj: object, options: Any, lines: list[str]) -> None:
    """Args, Returns and Raises become fields. A property's text stays as it is: a colon in it names no type."""
    kind = "method" if what == "property" else what
    lines[:] = GoogleDocstring([plain(line) for line in lines], what=kind).lines()


def check_reference(app: Sphinx, env: BuildEnvironment) -> None:
    """Warns of every public name that has no page."""
    written = env.domaindata["py"]["objects"]
    packages = (bs, bs.attacks, bs.testing)
    names = {f"{package.__name__}.{name}" for package in packages for name in package.__all__}
    for name in sorted(names - MODULES - set(written)):
        getLogger(__name__).warning("expected %s in docs/reference.md: add it to the list of its kind", name)


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", rewrite)
    app.connect("env-check-consistency", check_reference)
