"""A finding: one sentence on what was seen and one on what to do about it."""

from typing import Literal

from pydantic import BaseModel

Severity = Literal["error", "warning", "note"]


class Finding(BaseModel):
    """What a check saw. An `error` makes the verdict meaningless, a `warning` may, a `note` is good to know."""

    code: str
    severity: Severity
    saw: str
    do: str

    def __str__(self) -> str:
        return f"{self.severity}: {self.saw} {self.do}".rstrip()
