"""Methods that make a universal perturbation: one file and one row each."""

from blindspots.experiments.universal.methods.datafree import DataFree
from blindspots.experiments.universal.methods.method import Method
from blindspots.experiments.universal.methods.periodic import Periodic
from blindspots.experiments.universal.methods.sga import SGA
from blindspots.experiments.universal.methods.sgd import SGD
from blindspots.experiments.universal.methods.uap import UAP
from blindspots.spec import build

__all__ = ["METHODS", "SGA", "SGD", "UAP", "DataFree", "Method", "Periodic", "parse_method"]

METHODS: dict[str, type[Method]] = {"periodic": Periodic, "sgd": SGD, "sga": SGA, "uap": UAP, "data-free": DataFree}


def parse_method(text: str) -> Method:
    """A method from words such as "uap:passes=5,delta=0.1". Raises InputError for anything else."""
    return build("a method", METHODS, text)
