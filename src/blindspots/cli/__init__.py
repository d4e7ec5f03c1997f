"""The command line, the top layer: it alone speaks to a person. Everything below is silent and returns or raises."""

import os


def main() -> None:
    """Run the command that the shell gave, and leave with one of the exit codes in `endings`."""
    # Before torch starts its threads. Beside another process, threads that spin while they wait for each other took
    # over 60 s for what sleeping ones did in 7.6 s.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from blindspots.cli.endings import run

    run(_command)


def _command() -> None:
    from blindspots.cli.app import app
    from blindspots.engine.memory import keep_freed_memory

    keep_freed_memory()
    app(prog_name="blindspots")
