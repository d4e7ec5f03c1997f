"""The page that asks: one file, without network or server, that does not know what it asks about."""

from pathlib import Path

from jinja2 import ChoiceLoader, FileSystemLoader

from blindspots.experiments.evaluate.judging.sheet import Sheet
from blindspots.report.page import environment

_FOLDER = Path(__file__).parent


def page(sheet: Sheet) -> str:
    """HTML with nothing of an item but its id and its text."""
    made = environment()
    assert made.loader is not None
    made.loader = ChoiceLoader([made.loader, FileSystemLoader(_FOLDER)])
    shown = {
        "sheet": sheet.digest,
        "seed": sheet.seed,
        "texts": sheet.texts,
        "classes": sheet.classes,
        "items": [{"id": item.id, "text": item.text} for item in sheet.items],
    }
    return made.get_template("page.html.j2").render(sheet=shown, count=len(sheet.items))
