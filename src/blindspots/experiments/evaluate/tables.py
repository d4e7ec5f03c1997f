"""What an evaluation of a table needs besides: its threat, and rows that keep their own rules."""

from dataclasses import replace

from blindspots.ball import Ball
from blindspots.data import Dataset
from blindspots.errors import InputError
from blindspots.experiments.evaluate.features import mask_from, unit_from
from blindspots.runs.world import World
from blindspots.tables.encoding import rows_words
from blindspots.tables.features import Features
from blindspots.tables.rules import Rules
from blindspots.tables.threat import TableThreat, ball_of
from blindspots.threat import Threat


def table_of(data: Dataset) -> Features | None:
    """What a feature file says of the columns; None where there is none."""
    found: Features | None = getattr(data, "table", None) if getattr(data, "declared", False) else None
    return found


def table_threat(threat: Threat, table: Features, world: World) -> TableThreat:
    """A ball with the box, the prices and the rules of a table.

    Raises InputError: the threat is no ball, it has bounds of its own, or rows break the rules as they are.
    """
    if not isinstance(threat, Ball) or threat.features:
        raise InputError(
            f"expected a threat such as l2:0.5, linf:0.1, l0:3 or cost:30 for a table, got {threat.spec!r} with "
            "bounds, units or a mask: the feature file says these"
        )
    where, scale = (getattr(world.config, name, None) for name in ("where", "scale"))
    ball = ball_of(threat, table, None if scale is None else unit_from(scale, world.data))
    if where is not None:
        free = mask_from(where, world.data.shape)
        ball = replace(ball, where=free if ball.where is None else free & ball.where)
    check_rows(world.data, Rules(table))
    return TableThreat(ball, table)


def check_rows(data: Dataset, rules: Rules) -> None:
    """Raises InputError: rows break relations as they are, so nothing could be said of changed ones."""
    x = data.rows(0, len(data))[0]
    kept = rules.kept(x, x)
    broken = [(name, (~kept[:, k]).nonzero()[:, 0].tolist()) for k, name in enumerate(rules.names)]
    if broken := [(name, rows) for name, rows in broken if rows]:
        said = "; ".join(f"{name!r} is broken in {rows_words(rows)}" for name, rows in broken)
        raise InputError(
            f"expected rows of {data.name} that keep the relations of the feature file, got others: {said}. Mend or "
            "loosen the relation (tolerance = ...), or leave these rows out"
        )
