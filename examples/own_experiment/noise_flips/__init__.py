"""A kind of experiment of your own: how often a model's prediction changes under Gaussian noise.

Once this package is installed (`pip install examples/own_experiment`), `blindspots flips MODEL --data DATA` is a
command with all that comes with it: a run folder, --resume, --engine, --require, `report` and `verify`. This module is
imported for the list of commands and `config` for its help, so they import nothing slow.
"""

from blindspots.runs.experiment import Kind

KIND = Kind(
    "flips",
    "Measure how often a model's prediction changes under Gaussian noise.",
    config="noise_flips.config:FlipsConfig",
    experiment="noise_flips.experiment:Flips",
    verdict="noise_flips.verdict:FlipsVerdict",
    checks="noise_flips.verify:checks",
    page="noise_flips.experiment:page",
    unseen="Noise was drawn again for one row; the others are taken as they are stored.",
)
