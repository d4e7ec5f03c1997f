"""The command line, the top layer: it alone speaks to a person. Everything below is silent and returns or raises."""


def main() -> None:
    """Run the command that the shell gave. Leaves with 0: done, 1: a demand was not met, 2: bad input, 130: Ctrl-C."""
    from blindspots.cli.app import app
    from blindspots.engine.memory import keep_freed_memory

    keep_freed_memory()
    app(prog_name="blindspots")
