"""What the person answered, as the page saved it."""

from pathlib import Path

from pydantic import Field, ValidationError

from blindspots.errors import InputError
from blindspots.experiments.evaluate.judging.sheet import Sheet
from blindspots.files import read_text
from blindspots.records import Record


class Answer(Record):
    """Of one text. `label`: number of a class, None where the person could not tell."""

    label: int | None = Field(ge=0)
    written: bool  # it reads as if a person wrote it


class Answers(Record):
    """The whole file: which sheet was read, how it was drawn, and the answers by the ids of its texts."""

    sheet: str
    seed: int
    texts: int = Field(ge=1, le=10_000)
    answers: dict[str, Answer]


def read_answers(path: Path) -> Answers:
    """Raises InputError: there is no such file, or it is not what the page saves."""
    try:
        return Answers.model_validate_json(read_text(path, "answers of a person"))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "its first character"
        raise InputError(
            f"expected the answers that the page saved in {str(path)!r}, got {first['msg']} at {where}: download them "
            "from the page again"
        ) from error


def check_fit(answers: Answers, sheet: Sheet) -> None:
    """Raises InputError: the answers are about another sheet, or there are none."""
    known = {item.id for item in sheet.items}
    classes = [answer.label for answer in answers.answers.values() if answer.label is not None]
    if answers.sheet != sheet.digest or not known >= answers.answers.keys():
        raise InputError(
            f"expected answers about the texts of this run (sheet {sheet.digest}), got some about others (sheet "
            f"{answers.sheet[:16]!r}): name the run that the page was made of"
        )
    if max(classes, default=0) >= len(sheet.classes):
        raise InputError(
            f"expected labels below {len(sheet.classes)}, got {max(classes)}: download the answers from the page again"
        )
    if not answers.answers:
        raise InputError("expected answers, got none: answer some texts on the page, and download them again")
