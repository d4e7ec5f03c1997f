"""What the study of units can be asked."""

from typing import ClassVar

from blindspots.experiments.inspect.settings import Inspecting
from blindspots.runs.config import setting


class UnitsConfig(Inspecting):
    group: ClassVar[str] = "Units and directions"
    compares: ClassVar[bool] = True

    rotations: int = setting(999, "Random bases that the units are compared with.", metavar="N", ge=19, le=100_000)
    top: int = setting(16, "Rows that excite a direction most, by whose labels it is judged.", metavar="K", ge=2)
    directions: int = setting(
        128, "Units that are judged, drawn by lot, where a layer has more.", metavar="N", ge=2, le=4096
    )
    most_layers: int = setting(
        4, "Layers that are looked at where none is named, spread over the depth.", metavar="N", ge=1
    )
    dictionary: bool = setting(True, "Also learn dictionaries: NMF, and sparse autoencoders of width n and 4n.")
    layers: tuple[str, ...] = setting((), "Names of the layers.", hidden=True)
