"""What all pages have in common: the template's surroundings, and how a page is written."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from blindspots.errors import InputError
from blindspots.files import make_folder, write_whole
from blindspots.report import words


def environment() -> Environment:
    """Where templates of this folder are found, with escaping and the filters that write numbers."""
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = (words.percent, words.interval, words.count, words.number, words.seconds, words.listing)
    made.filters.update({f.__name__: f for f in filters})
    return made


def write_page(html: str, folder: Path, out: Path | None) -> Path:
    """Write a page to `out`, by default report.html in the run folder, whole or not at all, and return its path."""
    path = out or folder / "report.html"
    if path.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"expected a name that ends in .html for a report, got {str(path)!r}: change it")
    make_folder(path.parent)
    write_whole(path, html.encode())
    return path
