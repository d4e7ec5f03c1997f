"""What is worth a sentence once the matrix is there."""

from collections.abc import Iterator, Sequence

from blindspots.experiments.transfer.config import TransferConfig
from blindspots.experiments.transfer.verdict import TransferVerdict
from blindspots.findings import Finding
from blindspots.report.words import listing
from blindspots.texts.threats import TextThreat
from blindspots.threats import parse_threat

_WEAK = 0.5  # of the rows; a source that is fooled on fewer says little of what transfers
_POOR = 0.5  # clean error
_LEVEL = 0.05  # of the test against noise, for each cell by itself


def findings(config: TransferConfig, digests: Sequence[str], verdict: TransferVerdict) -> list[Finding]:
    """What a reader of the matrix should know, in the order of its importance. `digests`: of the models."""
    return [*_classes(verdict), *_twins(config, digests), *_access(config), *_weak(verdict), *_noise(verdict)]


def _classes(verdict: TransferVerdict) -> Iterator[Finding]:
    poor = [n for n, e in zip(verdict.models, verdict.clean_error, strict=True) if e.interval[0] > _POOR]
    if poor:
        yield Finding(
            code="poor-model",
            severity="warning",
            saw=f"Most clean rows are already wrong for {listing(poor)}.",
            do="Check that its classes have the order of the data's labels, or map them with --labels.",
        )


def _twins(config: TransferConfig, digests: Sequence[str]) -> Iterator[Finding]:
    first: dict[str, str] = {}
    for name, digest in zip(config.names, digests, strict=True):
        if digest in first:
            yield Finding(
                code="same-model",
                severity="warning",
                saw=f"{first[digest]} and {name} are the same model, bit by bit.",
                do="Leave one out: between them everything transfers.",
            )
        first.setdefault(digest, name)


def _access(config: TransferConfig) -> Iterator[Finding]:
    for source in config.sources:
        if source.queries is not None:
            yield Finding(
                code="substitute",
                severity="note",
                saw=f"The examples of {source.name} were made on a substitute, trained from {source.queries:,} of its "
                "labels, beginning with the first of the rows attacked here.",
                do="Compare with what its own scores or labels give: leave --surrogate out.",
            )
        elif source.access != "gradients" and not isinstance(parse_threat(config.threat), TextThreat):
            yield Finding(
                code="black-box-source",
                severity="note",
                saw=f"{source.name} gives no gradients: its examples were made from its {source.access} with "
                f"{source.attack}.",
                do="Its row is not comparable with those of a gradient attack.",
            )


def _weak(verdict: TransferVerdict) -> Iterator[Finding]:
    blocks = [verdict] if verdict.ensemble is None else [verdict, verdict.ensemble]
    sources = [(n, f) for m in blocks for n, f in zip(m.sources, m.found, strict=True)]
    weak = [f"{name} ({found.hits:,})" for name, found in sources if found.interval[1] < _WEAK]
    if weak:
        yield Finding(
            code="weak-source",
            severity="note",
            saw=f"On few of the {verdict.rows:,} rows the attack fools its own source: {listing(weak)}.",
            do="Such a row says little of what transfers: take a larger radius or a stronger attack.",
        )


def _noise(verdict: TransferVerdict) -> Iterator[Finding]:
    names = verdict.models
    cells = [(i, j) for i in range(len(names)) for j in range(len(names)) if i != j]
    idle = [f"{names[i]} to {names[j]}" for i, j in cells if verdict.noise_p_value[i][j] > _LEVEL]
    if idle:
        shown = listing(idle) if len(idle) <= 4 else f"{', '.join(idle[:3])} and {len(idle) - 3:,} more"
        yield Finding(
            code="no-transfer",
            severity="note",
            saw=f"In {len(idle):,} of {len(cells):,} cells examples fool no more than noise of their size, as far as "
            f"{verdict.rows:,} rows can tell (sign test, {_LEVEL:.0%}): {shown}.",
            do="",
        )
