"""One perturbation for all inputs: how it is searched, what it does to inputs never seen, and why it exists."""

from blindspots.universal.asked import Studies, UniversalOptions
from blindspots.universal.methods import METHODS, SGA, SGD, UAP, DataFree, Method, Periodic, parse_method
from blindspots.universal.run import Universal, universal

__all__ = [
    "METHODS",
    "SGA",
    "SGD",
    "UAP",
    "DataFree",
    "Method",
    "Periodic",
    "Studies",
    "Universal",
    "UniversalOptions",
    "parse_method",
    "universal",
]
