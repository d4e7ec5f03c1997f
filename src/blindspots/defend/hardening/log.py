"""The epochs as files that other tools read: log.csv, and events for TensorBoard where tensorboardX is installed."""

import csv
from collections.abc import Sequence
from importlib.util import find_spec
from io import StringIO
from pathlib import Path

from blindspots.defend.hardening.record import Epoch
from blindspots.files import write_whole

_SHARES = ("clean", "fgsm", "robust", "robust_training")
COLUMNS = ("epoch", "radius", "loss", "rate", *_SHARES, "seconds", "note")


def write_log(history: Sequence[Epoch], folder: Path) -> None:
    """log.csv: a line for every epoch that was checked; shares of held-out rows, `robust_training` of training rows."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([_cell(epoch, name) for name in COLUMNS] for epoch in history)
    write_whole(folder / "log.csv", text.getvalue().encode())


class Logs:
    """Both, in `folder`; None: nowhere. Undone epochs are no events.

    Args:
        history: the epochs of an interrupted attempt; what it logged beyond them is dropped.
    """

    def __init__(self, folder: Path | None, history: Sequence[Epoch]) -> None:
        self._folder, self._writer = folder, None
        if folder is not None and find_spec("tensorboardX"):
            from tensorboardX import SummaryWriter

            beyond = history[-1].epoch + 1 if history else None
            self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=beyond)

    def add(self, epoch: Epoch | None, history: Sequence[Epoch]) -> None:
        """Log an epoch that was checked, the last one of the history."""
        if epoch is None or self._folder is None:
            return
        write_log(history, self._folder)
        if self._writer is not None and not epoch.note.startswith("undone"):
            for name in ("loss", "rate", "radius", *_SHARES):
                self._writer.add_scalar(name, float(_cell(epoch, name)), epoch.epoch)
            self._writer.flush()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


def _cell(epoch: Epoch, name: str) -> float | str:
    value = getattr(epoch, name)
    return value.share if name in _SHARES else value  # type: ignore[no-any-return]
