"""The folder of a universal run.

run.json                    manifest, at the end the verdict and a seal
search.safetensors          the search after its last whole pass; gone when the run is finished
perturbation.safetensors    what was found, with all that its use needs to know
shown.safetensors           some held-out rows before and after (`Shown`)
perturbation.png            the perturbation, amplified to the whole range
fooled.png                  some of those rows: original above, with the perturbation below
"""

from dataclasses import dataclass, fields
from io import BytesIO
from pathlib import Path

from PIL import Image
from safetensors.torch import load, save
from torch import Tensor

from blindspots.files import write_whole
from blindspots.journal import opened, read_file, sealed, text_of
from blindspots.pictures import is_image, picture, picture_of_change
from blindspots.rows import Rows
from blindspots.threat import Threat
from blindspots.universal.file import load_perturbation, save_perturbation
from blindspots.universal.fitting import Memory
from blindspots.universal.record import UniversalFile, UniversalVerdict

_SIDE, _GAP = 224, 6  # px of a picture in a strip, and between two


@dataclass(frozen=True)
class Shown(Rows):
    """Held-out rows, fooled ones first, and what the model makes of them."""

    row: Tensor  # (k,) int64 place in the held-out data
    y: Tensor  # (k,) int64 label
    x: Tensor  # (k, *shape) float32
    moved: Tensor  # (k, *shape) float32 with the perturbation, in the box
    prediction: Tensor  # (k,) int64
    moved_prediction: Tensor  # (k,) int64
    confidence: Tensor  # (k,) float32 probability of the prediction
    moved_confidence: Tensor  # (k,) float32


def read_universal_file(folder: Path) -> UniversalFile:
    """run.json of a universal run. Raises InputError when it is missing or something else."""
    return read_file(UniversalFile, folder, "universal")


class Folder:
    """Writes a run folder. One that holds another run is refused, unless `resume` and the manifests agree.

    Attributes:
        finished: what run.json says if the run to be resumed has ended.
    """

    def __init__(self, path: Path, fresh: UniversalFile, resume: bool) -> None:
        self.path = path
        self.file, self.finished = opened(path, fresh, "universal", resume)
        if not (path / "run.json").exists():
            self._search.unlink(missing_ok=True)

    def perturbation(self) -> Tensor:
        """What a finished run found: (groups, *shape)."""
        return load_perturbation(self.path / "perturbation.safetensors").v

    @property
    def _search(self) -> Path:
        return self.path / "search.safetensors"

    def memory(self) -> Memory:
        """Where the search is remembered from pass to pass. run.json appears with the first of them."""
        kept = self._search.read_bytes() if self._search.is_file() else None

        def keep(content: bytes) -> None:
            write_whole(self._search, content)
            write_whole(self.path / "run.json", text_of(self.file))

        return Memory(kept, keep)

    def conclude(self, v: Tensor, threat: Threat, shown: Shown, verdict: UniversalVerdict) -> UniversalFile:
        """Write what was found, the pictures, and the verdict with its seal."""
        m = self.file.manifest
        digest = save_perturbation(
            self.path / "perturbation.safetensors", v, threat=threat, model=m.model.name, per_class=m.per_class,
            target=m.target, bounds=m.model.bounds,
        )  # fmt: skip
        columns = {f.name: getattr(shown, f.name).contiguous() for f in fields(shown)}
        write_whole(self.path / "shown.safetensors", save(columns))
        if is_image(m.data.shape):
            self._pictures(v, m.model.bounds, shown)
        self.file = sealed(self.file.model_copy(update={"verdict": verdict, "perturbation_sha256": digest}))
        write_whole(self.path / "run.json", text_of(self.file))
        self._search.unlink(missing_ok=True)
        return self.file

    def _pictures(self, v: Tensor, bounds: tuple[float, float], shown: Shown) -> None:
        write_whole(self.path / "perturbation.png", _png(amplified_picture(v[0])))
        lo, hi = bounds
        rows = [(t - lo) / (hi - lo) for t in (shown.x, shown.moved)]
        write_whole(self.path / "fooled.png", _png(_strip(rows)))


def read_shown(folder: Path) -> Shown:
    """What `Folder.conclude` wrote."""
    return Shown(**load((folder / "shown.safetensors").read_bytes()))


def amplified_picture(v: Tensor) -> Image.Image:
    """A perturbation (*shape) of an image, so that its largest value has full strength."""
    return picture_of_change((v / v.abs().max().clamp_min(1e-12)).numpy())


def _strip(rows: list[Tensor]) -> Image.Image:
    """Images (k, *shape) in [0, 1], one row of pictures for each entry of `rows`."""
    step = _SIDE + _GAP
    strip = Image.new("RGB", (len(rows[0]) * step + _GAP, len(rows) * step + _GAP), "white")
    for line, images in enumerate(rows):
        for column, image in enumerate(images):
            small = picture(image.numpy()).convert("RGB").resize((_SIDE, _SIDE), Image.Resampling.NEAREST)
            strip.paste(small, (_GAP + column * step, _GAP + line * step))
    return strip


def _png(image: Image.Image) -> bytes:
    buffer = BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
