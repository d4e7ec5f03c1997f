"""Options of every kind of run that change no bit of it."""

from pathlib import Path
from typing import ClassVar

from blindspots.records import Record
from blindspots.runs.config import setting


class Where(Record):
    """What changes no bit of a run."""

    group: ClassVar[str] = "Where it goes"

    out: Path | None = setting(None, "The run folder to write.", metavar="RUN", shown="runs/ with what was named")
    resume: bool = setting(False, "Go on with the run in the run folder.")
    require: tuple[str, ...] = setting(
        (),
        "Exit with 1 unless the verdict keeps this, such as robust_accuracy>=0.5, fooling_rate<=10% or, by the lower "
        "end of the interval, robust_accuracy.low>=0.5. Can be repeated; a number alone is about the first metric.",
        metavar="GATE",
        shown="nothing",
    )
    json_: bool = setting(False, "Print the verdict as JSON, and nothing else, on stdout.")
    engine: str | None = setting(
        None, "serial, processes or processes:N. All give the same bytes.", metavar="ENGINE",
        shown="what is faster for the model",
    )  # fmt: skip
