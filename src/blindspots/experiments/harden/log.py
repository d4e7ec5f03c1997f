"""The epochs as files that other tools read: log.csv, and events for TensorBoard where tensorboardX is installed."""

import csv
import shutil
from collections.abc import Sequence
from importlib.util import find_spec
from io import StringIO
from pathlib import Path

from blindspots.experiments.harden.verdict import Epoch

_SHARES = ("clean", "fgsm", "robust", "robust_training")
COLUMNS = ("epoch", "radius", "loss", "rate", *_SHARES, "note")


def as_csv(history: Sequence[Epoch]) -> bytes:
    """A line for every epoch that was checked; shares of held-out rows, `robust_training` of training rows."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([_cell(epoch, name) for name in COLUMNS] for epoch in history)
    return text.getvalue().encode()


class TensorBoard:
    """Events in `folder`/tensorboard, to be watched while training goes on: they go with `close`, since log.csv stays.

    Undone epochs are no events. Nothing is written where `folder` is None or tensorboardX is not installed.

    Args:
        history: the epochs of an interrupted attempt; what it logged beyond them is dropped.
    """

    def __init__(self, folder: Path | None, history: Sequence[Epoch]) -> None:
        self._place = None if folder is None else folder / "tensorboard"
        self._writer = None
        if self._place and find_spec("tensorboardX"):
            from tensorboardX import SummaryWriter

            beyond = history[-1].epoch + 1 if history else None
            self._writer = SummaryWriter(str(self._place), purge_step=beyond)

    def add(self, epoch: Epoch | None) -> None:
        """Log an epoch, if it was checked."""
        if epoch is None or epoch.undone or self._writer is None:
            return
        for name in ("loss", "rate", "radius", *_SHARES):
            self._writer.add_scalar(name, float(_cell(epoch, name)), epoch.epoch)
        self._writer.flush()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        if self._place:
            shutil.rmtree(self._place, ignore_errors=True)


def _cell(epoch: Epoch, name: str) -> float | str:
    value = getattr(epoch, name)
    return value.share if name in _SHARES else value  # type: ignore[no-any-return]
