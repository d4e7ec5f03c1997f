"""The command that started this process."""

import shlex
import sys
from pathlib import Path


def command_line() -> str:
    """As a shell would take it."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
