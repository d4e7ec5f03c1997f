"""What a look into a model says, as data: what each of its parts measured."""

from blindspots.runs.metric import Metric, Verdict


class InspectVerdict(Verdict):
    parts: dict[str, dict[str, Metric]]  # the numbers of every part, by its name

    def metrics(self) -> dict[str, Metric]:
        return {f"{part}/{name}": m for part, told in self.parts.items() for name, m in told.items()}
