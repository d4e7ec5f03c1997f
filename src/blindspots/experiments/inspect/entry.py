"""`bs.inspect(model, ...)` for everything, `bs.inspect.units(model, ...)` and the like for one part."""

from blindspots.experiments.inspect.experiment import inspect as look
from blindspots.experiments.inspect.frequency.experiment import frequency
from blindspots.experiments.inspect.geometry.experiment import geometry
from blindspots.experiments.inspect.pictures.experiment import pictures
from blindspots.experiments.inspect.stability.experiment import stability
from blindspots.experiments.inspect.training.experiment import training
from blindspots.experiments.inspect.units.experiment import units


class _Inspect:
    """See `blindspots.experiments.inspect.experiment.inspect`; its attributes are the parts, each alone."""

    __call__ = staticmethod(look)
    units = staticmethod(units)
    pictures = staticmethod(pictures)
    stability = staticmethod(stability)
    geometry = staticmethod(geometry)
    frequency = staticmethod(frequency)
    training = staticmethod(training)


inspect = _Inspect()
