"""The folder of a hardening run.

run.json                 manifest, at the end the verdict and a seal
before/, after/          runs of `evaluate`, on the same rows
model.safetensors        the weights
model.pt2                the whole model, as `blindspots evaluate` takes it
MODEL_CARD.md            what it is, and what it is not
study.safetensors        input gradients of some rows, before and after
log.csv, tensorboard/    the epochs
training.safetensors     the training in hand, and controls.json; gone when the run is finished
"""

from collections.abc import Mapping
from pathlib import Path

from pydantic import TypeAdapter, ValidationError
from safetensors.torch import save
from torch import Tensor

from blindspots.defend.hardening.checkpoint import Checkpoint
from blindspots.defend.hardening.controls import Outcome
from blindspots.defend.hardening.record import HardenFile, HardenVerdict
from blindspots.errors import InputError
from blindspots.files import write_whole
from blindspots.journal import opened, read_file, sealed, text_of

TRAINING, STUDY = "training.safetensors", "study.safetensors"
WRITES = (
    "before", "after", "tensorboard", "model.safetensors", "model.pt2", "MODEL_CARD.md", "log.csv", "report.html",
    "controls.json", TRAINING, STUDY, "run.json",
)  # fmt: skip
_OUTCOMES = TypeAdapter(list[Outcome])


def read_harden_file(folder: Path) -> HardenFile:
    """run.json of a hardening run. Raises InputError when it is missing or something else."""
    return read_file(HardenFile, folder, "harden")


class Folder:
    """Writes a run folder. One that holds another run is refused, unless `resume` and the manifests agree.

    Attributes:
        finished: what run.json says if the run to be resumed has ended.
    """

    def __init__(self, path: Path, fresh: HardenFile, resume: bool) -> None:
        self.path = path
        self.file, self.finished = opened(path, fresh, "harden", resume)
        self.checkpoint = Checkpoint(path / TRAINING)
        if not (path / "run.json").exists():
            self.checkpoint.remove()
            self._controls.unlink(missing_ok=True)
            write_whole(path / "run.json", text_of(self.file))

    @property
    def _controls(self) -> Path:
        return self.path / "controls.json"

    def controls(self) -> list[Outcome]:
        """The controls that an interrupted attempt has finished."""
        if not self._controls.is_file():
            return []
        try:
            return _OUTCOMES.validate_json(self._controls.read_bytes())
        except ValidationError as error:
            raise InputError(
                f"expected finished controls in {self._controls}, got: {error.errors()[0]['msg']}: delete it, then "
                "they are trained again"
            ) from error

    def save_controls(self, outcomes: list[Outcome]) -> None:
        write_whole(self._controls, _OUTCOMES.dump_json(outcomes))

    def save_study(self, tensors: Mapping[str, Tensor]) -> None:
        write_whole(self.path / STUDY, save({k: t.contiguous() for k, t in tensors.items()}))

    def conclude(self, verdict: HardenVerdict) -> HardenFile:
        """Write the verdict with its seal, and drop what only a resumed run needs."""
        self.file = sealed(self.file.model_copy(update={"verdict": verdict}))
        write_whole(self.path / "run.json", text_of(self.file))
        self.checkpoint.remove()
        self._controls.unlink(missing_ok=True)
        return self.file
