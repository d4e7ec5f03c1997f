"""`--require`: a verdict may pass on what was searched alone."""

import typer

from blindspots.cli.endings import UNMET
from blindspots.errors import InputError
from blindspots.report.words import count, is_believable, percent
from blindspots.verdict import Verdict


def judge(verdict: Verdict, required: float | None) -> None:
    """Refuse a verdict that a check made meaningless; leave with 1 where it is not what was required."""
    if not is_believable(verdict):
        raise InputError(
            "expected inputs and outputs that allow a verdict, but a check found an error: see the findings"
        )
    if required is not None and (missed := shortfall(verdict, required)):
        leave(required, missed)


def leave(required: float, missed: str) -> None:
    """With exit code 1, and why."""
    typer.echo(f"Not met: --require {required}, {missed}", err=True)
    raise typer.Exit(UNMET)


def shortfall(verdict: Verdict, required: float) -> str:
    """Why the verdict does not show the robust accuracy that is required; "" where it does."""
    if not verdict.counted:
        return "no row was attacked: there is no evidence to go by"
    if verdict.searched.share >= required:
        return ""
    robust = f"robust accuracy is {percent(verdict.robust_accuracy)}"
    if not verdict.unsearched:
        return robust
    standing = count(verdict.robust_of_right.hits, "row")
    return (
        f"{robust}, but for {count(verdict.unsearched)} of the {standing} that stand no search ran to its end: "
        f"{percent(verdict.searched.share)} by the others alone"
    )
