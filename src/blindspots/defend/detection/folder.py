"""The folder of a detection run.

run.json                        manifest, finished parts with their digests, at the end the verdict and a seal
rows.safetensors                the threshold rows and the measured rows, and what the model says of them
training.safetensors            what the detectors learned from; absent where none learns from attacks
examples/ATTACK.safetensors     what a test attack made of the measured rows, for every radius
detectors/NAME.safetensors      a fitted detector
detector.safetensors            a copy of the one that the verdict speaks of
scores/NAME.safetensors         its scores of all of these
adaptive/NAME/, bare/           runs of `evaluate`: of the pair, and of the model alone
pairs/NAME.safetensors          what came of the pair, row by row
distortion/, overhead/          the smallest changes; what it costs
"""

import hashlib
import time
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, save

from blindspots.defend.detection.record import DetectFile, DetectVerdict, Part
from blindspots.errors import InputError
from blindspots.files import make_folder, write_whole
from blindspots.journal import Columns, begun, read_file, sealed, text_of

DETECTOR = "detector.safetensors"


def read_detect_file(folder: Path) -> DetectFile:
    """run.json of a detection run. Raises InputError when it is missing or something else."""
    return read_file(DetectFile, folder, "detect")


class Memory:
    """Keeps in memory what a `Folder` would write. A part is made once."""

    path: Path | None = None

    def __init__(self, file: DetectFile) -> None:
        self.file = file
        self._made: dict[str, bytes] = {}

    def part(self, name: str, make: Callable[[], Columns]) -> Columns:
        """The columns of a part: those that are there, else what `make` returns."""
        return load(self.content(name, lambda: _bytes(make())))

    def content(self, name: str, make: Callable[[], bytes]) -> bytes:
        """The same for what is not columns."""
        record = self._record(name)
        if record is not None:
            return self._read(record)
        began = time.monotonic()
        content = make()
        self._keep(_recorded(name, content, began), content)
        return content

    def seconds(self, name: str) -> float:
        """How long it took to make a part; 0 for one that is not there."""
        record = self._record(name)
        return record.seconds if record else 0.0

    def _record(self, name: str) -> Part | None:
        return next((part for part in self.file.parts if part.name == name), None)

    def _read(self, record: Part) -> bytes:
        return self._made[record.name]

    def _keep(self, record: Part, content: bytes) -> None:
        self._made[record.name] = content
        self.file = self.file.model_copy(update={"parts": [*self.file.parts, record]})

    def conclude(self, verdict: DetectVerdict) -> DetectFile:
        self.file = self.file.model_copy(update={"verdict": verdict})
        return self.file


class Folder(Memory):
    """Writes a run folder while the run goes on: whole at every moment.

    Args:
        path: created if need be. A folder that holds another run is refused, unless `resume` and the manifests agree.
    """

    path: Path

    def __init__(self, path: Path, fresh: DetectFile, resume: bool) -> None:
        super().__init__(begun(path, fresh, "detect", resume))
        self.path = path
        make_folder(path)
        for draft in path.glob("**/*.draft"):  # of a process that was killed
            draft.unlink(missing_ok=True)

    def _read(self, record: Part) -> bytes:
        return read_part(self.path, record)

    def _keep(self, record: Part, content: bytes) -> None:
        target = part_path(self.path, record.name)
        make_folder(target.parent)
        write_whole(target, content)
        self.file = self.file.model_copy(update={"parts": [*self.file.parts, record]})
        write_whole(self.path / "run.json", text_of(self.file))

    def conclude(self, verdict: DetectVerdict) -> DetectFile:
        """Write the verdict's detector under the name that is promised, and the verdict with its seal."""
        chosen = self._record(f"detectors/{verdict.detector}")
        assert chosen is not None
        write_whole(self.path / DETECTOR, self._read(chosen))
        self.file = sealed(self.file.model_copy(update={"verdict": verdict}))
        write_whole(self.path / "run.json", text_of(self.file))
        return self.file


def _recorded(name: str, content: bytes, began: float) -> Part:
    took = round(time.monotonic() - began, 3)
    return Part(name=name, sha256=hashlib.sha256(content).hexdigest(), seconds=took)


def part_path(folder: Path, name: str) -> Path:
    """Where a part lies; whatever run.json says, inside the run folder."""
    *above, last = Path(name).parts
    return folder / Path(*above[-1:]).name / f"{Path(last).name}.safetensors"


def read_part(folder: Path, record: Part) -> bytes:
    """The bytes of a part. Raises InputError when it is missing or changed."""
    path = part_path(folder, record.name)
    if not path.is_file():
        raise InputError(f"expected the file {path} that run.json lists, but it is missing: restore it or run again")
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != record.sha256:
        raise InputError(f"expected the bytes that run.json recorded in {path}, found others: restore it or run again")
    return content


def read_columns(folder: Path, file: DetectFile, name: str) -> Columns:
    """The columns of a part of a run. Raises InputError when it is missing, changed or unreadable."""
    record = next((part for part in file.parts if part.name == name), None)
    if record is None:
        raise InputError(f"expected the part {name} in {folder}, which run.json does not list: run again")
    try:
        return load(read_part(folder, record))
    except SafetensorError as error:
        raise InputError(f"expected a whole safetensors file for {name} in {folder}, got: {error}") from error


def _bytes(columns: Columns) -> bytes:
    return save({name: t.contiguous() for name, t in columns.items()})
