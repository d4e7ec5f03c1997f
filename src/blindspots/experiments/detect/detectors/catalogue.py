"""The table of all detectors: what `blindspots list` prints, and the contract runs over."""

from blindspots.experiments.detect.detectors.activations import Activations
from blindspots.experiments.detect.detectors.density import Density
from blindspots.experiments.detect.detectors.detector import Detector
from blindspots.experiments.detect.detectors.dropout import Dropout
from blindspots.experiments.detect.detectors.lid import LID
from blindspots.experiments.detect.detectors.mahalanobis import Mahalanobis
from blindspots.experiments.detect.detectors.mmd import MMD
from blindspots.experiments.detect.detectors.network import Network
from blindspots.experiments.detect.detectors.squeezing import Squeezing
from blindspots.spec import build

DETECTORS: dict[str, type[Detector]] = {
    kind.name: kind for kind in (Network, Activations, Density, Mahalanobis, Dropout, Squeezing, LID, MMD)
}


def parse_detector(text: str) -> Detector:
    """A detector from words such as "density:bandwidth=0.5". Raises InputError for anything else."""
    return build("a detector", DETECTORS, text)
