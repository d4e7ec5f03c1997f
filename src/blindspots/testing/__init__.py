"""Contract tests for people who write an attack or a kind of experiment of their own.

for claim in bs.testing.check_experiment("rate", RateConfig(data="points:50"), tmp_path): print(claim)
"""

from blindspots.testing.experiment import check_experiment

__all__ = ["check_experiment"]
