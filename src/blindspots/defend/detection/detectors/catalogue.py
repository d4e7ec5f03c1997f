"""The table of all detectors: what `blindspots list` prints, and the contract runs over."""

from blindspots.defend.detection.detectors.activations import Activations
from blindspots.defend.detection.detectors.density import Density
from blindspots.defend.detection.detectors.detector import Detector
from blindspots.defend.detection.detectors.dropout import Dropout
from blindspots.defend.detection.detectors.lid import LID
from blindspots.defend.detection.detectors.mahalanobis import Mahalanobis
from blindspots.defend.detection.detectors.mmd import MMD
from blindspots.defend.detection.detectors.network import Network
from blindspots.defend.detection.detectors.squeezing import Squeezing
from blindspots.spec import build

DETECTORS: dict[str, type[Detector]] = {
    kind.name: kind for kind in (Network, Activations, Density, Mahalanobis, Dropout, Squeezing, LID, MMD)
}


def parse_detector(text: str) -> Detector:
    """A detector from words such as "density:bandwidth=0.5". Raises InputError for anything else."""
    return build("a detector", DETECTORS, text)
