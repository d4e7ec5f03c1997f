"""What the study of training can be asked."""

from typing import ClassVar

from pydantic import field_validator

from blindspots.errors import InputError
from blindspots.experiments.inspect.settings import Learning
from blindspots.naming import meant
from blindspots.runs.config import Words, setting

FACTORS = {
    "size": "share of the training rows",
    "subset": "which half of them",
    "noise": "share of wrong labels",
    "augmentation": "copies of the rows",
    "width": "width of the hidden layers",
    "network": "kind of network",
}


class TrainingConfig(Learning):
    group: ClassVar[str] = "Networks trained to compare"

    factor: Words = setting(
        tuple(FACTORS), f"What is varied: {', '.join(FACTORS)}. Can be repeated.", metavar="FACTOR", shown="all of them"
    )
    network: str = setting("fc:100", "What is trained: softmax, fc:100-100 or autoencoder:400.", metavar="NETWORK")
    repeats: int = setting(3, "Networks of every kind, which differ in their first weights.", metavar="N", ge=2, le=100)
    training_steps: int = setting(500, "Batches that each is trained on.", metavar="N", ge=10, le=10**7)
    judged: int = setting(100, "Rows that each is attacked on.", metavar="N", ge=2)
    class_count: int = setting(0, "How many classes there are.", hidden=True)

    @field_validator("factor")
    @classmethod
    def _known(cls, factor: tuple[str, ...]) -> tuple[str, ...]:
        for name in factor:
            if name not in FACTORS:
                raise InputError(
                    f"expected factors among {', '.join(FACTORS)}, got {name!r}{meant(name, FACTORS)}: choose one"
                )
        return tuple(dict.fromkeys(factor)) or tuple(FACTORS)
