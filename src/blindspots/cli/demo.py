"""The whole story on what is embedded: a network is evaluated, hardened, and evaluated again."""

import shutil
import time
from pathlib import Path

from blindspots.cli import screen
from blindspots.cli.endings import repeatable
from blindspots.cli.progress import Line
from blindspots.cli.running import finish
from blindspots.cli.where import Where
from blindspots.errors import InputError
from blindspots.experiments.harden.config import HardenConfig
from blindspots.report.words import seconds
from blindspots.runs.folder import Folder
from blindspots.runs.run import How, run
from blindspots.runs.store import LOG, RUN, log_of

MODEL, THREAT = "digits", "linf:0.15"
COMMAND = f"blindspots harden {MODEL} --data digits --threat {THREAT}"  # the mark by which the demo knows its own runs
_WRITES = (
    "before",
    "after",
    "controls",
    "tensorboard",
    RUN,
    LOG,
    "*.safetensors",
    "model.pt2",
    "*.md",
    "*.csv",
    "*.html",
)


def demo(out: Path) -> None:
    """Harden the network anew, show it before and after, and write one report."""
    began, console = time.monotonic(), screen.aside()
    _clear(out)
    config = HardenConfig(model=MODEL, data="digits", threat=THREAT)
    with repeatable("blindspots demo"), Line(console) as line:
        done = run("harden", config, how=How(Folder(out), watch=line, say=line.say, command=COMMAND))
    screen.result().print(f"Attacked, hardened and attacked again in {seconds(time.monotonic() - began)}.")
    finish(console, done, out, Where(out=out))


def _clear(folder: Path) -> None:
    """Remove what an earlier demo wrote; anything else is refused and left as it is."""
    if not (folder / RUN).exists():
        return
    if log_of(Folder(folder)).command != COMMAND:
        raise InputError(
            f"expected {folder} to be free or to hold an earlier demo, found another run: name a folder with --out"
        )
    for path in [path for name in _WRITES for path in folder.glob(name)]:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
