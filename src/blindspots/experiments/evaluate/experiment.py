"""From a model, data, a threat and a protocol to a verdict: shard by shard, each a cascade of attacks."""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from blindspots.arguments import checked
from blindspots.attacks import Exhaustive, parse_attack
from blindspots.batching import TEXTS_PER_CALL, rows_in_flight, rows_per_call, rows_per_shard
from blindspots.data import Data
from blindspots.engine.cascade import Stage, is_targeted
from blindspots.engine.result import Result
from blindspots.errors import InputError
from blindspots.experiments.evaluate import reach
from blindspots.experiments.evaluate.asking import (
    QUERIES,
    concluded,
    counted,
    endpoint_of,
    forecast,
    priced,
    queries_part,
    remarks,
    watched,
)
from blindspots.experiments.evaluate.config import Batched, EvaluateConfig
from blindspots.experiments.evaluate.count import conclude
from blindspots.experiments.evaluate.count_tables import table_verdict
from blindspots.experiments.evaluate.diagnose import diagnose
from blindspots.experiments.evaluate.examining import check_budget, classes, examined, look_for_classes
from blindspots.experiments.evaluate.features import digest_of, kept
from blindspots.experiments.evaluate.recipes import notes as recipe_notes
from blindspots.experiments.evaluate.setup import in_units, threat_of
from blindspots.experiments.evaluate.shard import ShardSearch
from blindspots.experiments.evaluate.shard_exact import ExactShardSearch, exact_of, proves
from blindspots.experiments.evaluate.shard_tables import TableShardSearch
from blindspots.experiments.evaluate.shard_texts import TextShardSearch
from blindspots.experiments.evaluate.texts import named
from blindspots.experiments.evaluate.validity import checks_of, finding_of, kept_of_checks
from blindspots.experiments.evaluate.verdict import EvaluateVerdict, TableVerdict
from blindspots.experiments.evaluate.verdict import Stage as StageRecord
from blindspots.findings import Finding
from blindspots.fit import ACCESS, affords, check_fit
from blindspots.goals import DENSE, Goal, as_goal, of_values
from blindspots.models.first_look import as_model
from blindspots.models.model import Model
from blindspots.models.texts import TextModel
from blindspots.models.trees.model import TreeModel
from blindspots.objective import Objective
from blindspots.packing import packed_text, unpack_inputs
from blindspots.problem import Need
from blindspots.protocols import (
    USUAL,
    USUAL_OF_PARTS,
    USUAL_OF_TABLES,
    USUAL_OF_TEXTS,
    USUAL_OF_VALUES,
    Protocol,
)
from blindspots.protocols import protocol as named_protocol
from blindspots.records import Share
from blindspots.runs.entry import begin, rows_of, unread
from blindspots.runs.experiment import Columns, Experiment, Made, Part, shards
from blindspots.runs.findings import packed, unpacked
from blindspots.runs.pace import processors_of
from blindspots.runs.run import Watch
from blindspots.runs.store import Parts, Run
from blindspots.runs.world import World
from blindspots.sizes import check_radius
from blindspots.tables.threat import TableThreat
from blindspots.texts.recipes import recipe
from blindspots.texts.threats import TextThreat
from blindspots.threat import Threat
from blindspots.threats import as_threat

CUSTOM = "custom"  # the name of a protocol that has none
B = TypeVar("B", bound=Batched)
_PASSES = 400  # of a row in `fast`, padding included: 375 on digits-robust, 455 on digits, of 500 rows each
_PASSES_OF_TEXTS = 80  # of a row in `text-fast`: 45 to 83 on the networks for reviews
_FEW, _TWICE = 256, 512  # rows that are not worth a second process, and that two shards have at most


class Evaluation(Run[Any, EvaluateVerdict]):
    """A finished run of `evaluate` or `attack`: its verdict, and its rows on demand."""

    def __repr__(self) -> str:
        v = self.verdict
        return (
            f"Evaluation(robust_accuracy={v.robust_accuracy:.4f}, interval=({v.interval[0]:.4f}, {v.interval[1]:.4f}), "
            f"clean_accuracy={v.clean_accuracy:.4f}, rows={v.rows}, threat={self.config.threat!r})"
        )

    def shards(self) -> Iterator[Columns]:
        """The columns of every shard, one after the other (`verdict.SHARD` names them)."""
        return self.parts.below("shards")

    @property
    def robust_accuracy(self) -> float:
        """The share of all rows that the model gets right and no attack changed: an upper bound."""
        return self.verdict.robust_accuracy

    @property
    def searched(self) -> Share:
        """The rows that stand after a search that ran to its end: what a gate goes by."""
        return self.verdict.searched

    @property
    def clean_accuracy(self) -> float:
        """The share of all rows that the model gets right as they are."""
        return self.verdict.clean_accuracy

    @property
    def interval(self) -> tuple[float, float]:
        """The exact 95 % interval of `robust_accuracy`."""
        return self.verdict.interval

    @property
    def forwards(self) -> int:
        """Forward passes, counted per row."""
        return self.verdict.forwards

    @property
    def backwards(self) -> int:
        """Backward passes, counted per row."""
        return self.verdict.backwards

    @cached_property
    def success(self) -> Tensor:
        """(N,) bool: right at first, and an adversarial example was found; in a targeted run, of the target class."""
        return self._column("won")

    @cached_property
    def norms(self) -> Tensor:
        """(N,) distance of each row's adversarial example; inf where none was found, 0 where the model was wrong."""
        return torch.where(self._column("right"), self._column("norm"), 0.0)

    @cached_property
    def results(self) -> list[Result]:
        """How the search for each row ended."""
        return [Result(r) for r in self._column("result").tolist()]

    @cached_property
    def adversarial(self) -> Tensor:
        """(N, *shape) float32: the adversarial example of each broken row, the clean input of every other one."""
        parts = []
        for columns in self.shards():
            x = unpack_inputs(columns["x"]).clone()
            x[columns["broken"]] = columns["adversarial"]
            parts.append(x)
        return torch.cat(parts)

    def _column(self, name: str) -> Tensor:
        return torch.cat([columns[name] for columns in self.shards()])


@checked(threat=as_threat, model=as_model, goal=as_goal)
def evaluate(
    model: Model | nn.Module | Callable[[Tensor], Any],
    x: Any = None,
    y: Any = None,
    *,
    threat: Threat | None = None,
    goal: Goal | str | Callable[[Tensor, Tensor], Any] | None = None,
    protocol: str | Protocol | Sequence[Stage] | None = None,
    data: Data | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    engine: str | None = None,
    watch: Watch | None = None,
    command: str | None = None,
    **settings: Any,
) -> Evaluation:
    """How often the model is right on inputs that an adversary may change within `threat`.

    Args:
        model: a `Model`, a network whose inputs lie in [0, 1] and which returns logits (B, C), a fitted scikit-learn
            classifier, or a name as `load_model` takes it.
        x, y: inputs (N, ...) within the model's bounds, and labels (N,), see `ArrayData`. Instead: `data`.
        threat: with a radius, e.g. `Linf(8 / 255)`, or in words, "linf:8/255". Its box is set to the model's bounds.
            May be left out with recipe="textfooler" and the like, which name their own.
        goal: what counts as success where the model does not classify: `goals.Move(0.5)` and the like, "move:0.5" in
            words, or a function of outputs and y, see `goals.Score`. The outputs are then taken as they are (B, ...),
            and y are numbers (N, ...).
        protocol: one of `protocols.NAMES`, the path of a TOML file, or stages; None: "exact" where a proof can be
            computed (trees, linear models, naive Bayes, nearest neighbours), else "fast", for a goal of numbers
            "regression", for one of pixels or objects "dense", or where the model shows no gradients
            "blackbox-scores" or "blackbox-labels"; of texts and tables the like of "text-fast", "text-scores" or
            "tables-labels".
        data: a dataset, as `load_data` opens it, its name, a torch `Dataset` or a `DataLoader` (see `as_data`). Labels
            that have names are matched to the model's classes by them (see `bind`).
        out: run folder to write; None: keep everything in memory.
        resume: go on with the run in `out`, or begin it.
        engine: "serial", "processes" or "processes:N", for which the model and the data need names that other
            processes can open; None: what is faster for the model. All give the same bytes.
        watch: is told how far the run has come.
        command: what to put in the report as the way to repeat the run.
        settings: those of `EvaluateConfig`: features (of a table, see docs/tables.md), recipe, files, candidates,
            validity, seed, slots, chunk, shard_rows, threads, precision, channels_last, compile, draws, row_budget,
            max_forwards, max_backwards, max_seconds.

    Raises:
        InputError: something that was given cannot be used; the sentence says what to do.
    """
    rows = rows_of(x, y, data, values=of_values(goal), features=settings.get("features"))
    given = {
        "model": model,
        "data": rows,
        "threat": threat,
        "goal": goal,
        "protocol": protocol if isinstance(protocol, str | Protocol | None) else Protocol(CUSTOM, tuple(protocol)),
    }
    done = begin(
        "evaluate", given, unread(settings, rows), out=out, resume=resume, engine=engine, watch=watch, command=command
    )
    return Evaluation(**vars(done))


class Searches(Experiment[B, EvaluateVerdict]):
    """What `evaluate` and `attack` have in common: everything but the protocol."""

    Verdict = EvaluateVerdict

    @abstractmethod
    def protocol(self, config: B, world: World, model: Model | None = None) -> Protocol:
        """What is run on the model, by default as it is after its first look.

        Raises InputError: one of the attacks does not fit the threat, or needs more than the model shows.
        """

    # -------------------------------------------------------------- before the first part

    def fitted(self, config: B, world: World) -> B:
        threat_of(world)  # what does not fit is refused before it is called
        if _is_named(config, world):
            self.protocol(config, world, world.named("model"))
        config = config.model_copy(update=in_units(config, world) | priced(config, world))
        model, shape = world.model, world.data.shape
        protocol = self.protocol(config, world)
        check_radius(threat_of(world), shape)
        heard = {name: getattr(world.data, name, None) for name in ("rate", "depth")}
        found: dict[str, Any] = {"limits": digest_of(threat_of(world)), **heard, **named(threat_of(world))}
        config = config.model_copy(update=found)
        many = len(protocol.stages) > 1
        asked = config.chunk or (TEXTS_PER_CALL if isinstance(model, TextModel) else None)
        chunk = rows_per_call("cascade" if many else "search", shape, model.device, asked)
        slots = rows_in_flight(shape, model.device, chunk, config.slots)
        rows = rows_per_shard(shape, slots, config.shard_rows)
        if config.shard_rows is None and many and not config.whole and not world.unsendable():
            rows = _for_processes(rows, len(world.data))
        stages = tuple(repr(stage) for stage in self._stages(config, world))
        draws = config.draws or protocol.draws
        found |= {"chunk": chunk, "slots": slots, "shard_rows": rows, "whole": False, "stages": stages, "draws": draws}
        fitted = config.model_copy(update={**found, **self.named(config, protocol)})
        check_budget(fitted, len(world.data))
        return fitted.model_copy(update=forecast(self.name, fitted, world, self._stages(config, world)))

    def named(self, config: B, protocol: Protocol) -> dict[str, Any]:
        """What the configuration says of the protocol that was chosen."""
        return {}

    def passes(self, config: B, world: World) -> float:
        stages = self._stages(config, world)
        usual = _PASSES_OF_TEXTS if isinstance(world.model, TextModel) else _PASSES
        short = len(stages) > 1 or isinstance(stages[0].attack, Exhaustive)  # of a lattice most are small
        looks = usual if short else stages[0].attack.looks * stages[0].restarts
        return float(len(world.data) * looks)

    def parts(self, config: B, world: World) -> list[Part]:
        made = [Part("preflight"), *shards("shards", len(world.data), config.shard_rows or 1)]
        return [*made, *queries_part(config, world, made)]

    # -------------------------------------------------------------- parts

    def make(self, config: B, world: World, part: Part, needs: Parts, kept: Columns | None) -> Made:
        if part.name == "preflight":
            return self._preflight(config, world)
        if part.name == QUERIES and (endpoint := endpoint_of(world)):
            return counted(endpoint)
        stages = self._stages(config, world)
        return _search(threat_of(world), stages)(config, world, part, stages, needs).columns(kept)

    def _preflight(self, config: B, world: World) -> Columns:
        """What is looked at before the attacks, and what that cost."""
        seen = examined(config, world, self._stages(config, world))
        looked = look_for_classes(config, world)[1] if _depends_on_classes(self.protocol(config, world)) else 0
        said = [
            *seen.findings,
            *world.notes,
            *self._notes(config, world),
            *check_radius(threat_of(world), world.data.shape),
        ]
        cost = torch.tensor([seen.forwards + looked, seen.backwards])
        found = {"findings": packed(said), "cost": cost, **kept(threat_of(world))}
        if isinstance(threat := threat_of(world), TableThreat):
            found["table"] = packed_text(threat.table.to_json())
        return found | kept_of_checks(checks_of(world)) if isinstance(world.model, TextModel) else found

    def _notes(self, config: B, world: World) -> Iterator[Finding]:
        if isinstance(world.model, TextModel):
            yield finding_of(checks_of(world))
        protocol = self.protocol(config, world)
        if _depends_on_classes(protocol):
            bound = self._stages(config, world)
            changed = [new.name for new, old in zip(bound, protocol.stages, strict=True) if new != old]
            if changed:
                yield _replaced(list(dict.fromkeys(changed)), classes(config, world))

    def _stages(self, config: B, world: World) -> tuple[Stage, ...]:
        """With the losses that are defined for the model's classes: how many there are takes an evaluation."""
        protocol = self.protocol(config, world)
        if not _depends_on_classes(protocol):
            return protocol.stages
        return protocol.for_classes(classes(config, world)).stages

    # -------------------------------------------------------------- the end

    def conclude(self, config: B, world: World, parts: Parts) -> EvaluateVerdict:
        stages = self._stages(config, world)
        records = [
            StageRecord(name=s.name, attack=repr(s.attack), why=s.why, rows=0, won=0, forwards=0, backwards=0)
            for s in stages
        ]
        forwards, backwards = parts["preflight"]["cost"].tolist()
        found = conclude(parts.below("shards"), records, (forwards, backwards), is_targeted(stages))
        asked = concluded(config, parts, found.forwards + found.forwards_unbilled) | watched(world.model, parts)
        return found.model_copy(update={**asked, "table": _table(config, threat_of(world), stages, parts)})

    def findings(self, config: B, world: World, verdict: EvaluateVerdict, parts: Parts) -> list[Finding]:
        chunks = {int(columns["chunk"]) for columns in parts.below("shards")}
        found = diagnose(
            verdict, self._stages(config, world), config.chunk or 1, min(chunks, default=config.chunk or 1)
        )
        return [*unpacked(parts["preflight"]["findings"]), *found, *remarks(verdict.queries, verdict.refused)]


class Evaluate(Searches[EvaluateConfig]):
    name = "evaluate"
    Config = EvaluateConfig

    def protocol(self, config: EvaluateConfig, world: World, model: Model | None = None) -> Protocol:
        threat, model = threat_of(world), model or world.model
        given = world.given.get("protocol", config.protocol)
        usual = _usual(config, world, threat)
        if config.recipe and given in (None, config.recipe):
            given = _of_recipe(config.recipe)
        solved = proves(config, world, model, threat) is not None
        # Of tables and numbers the usual one says more than how near the nearest example is.
        more = isinstance(threat, TableThreat) or config.of_values or "goal" in world.given
        given = "exact" if given is None and solved and not more else given
        chosen = given if isinstance(given, Protocol) else named_protocol(given or usual[_useful(model)], threat)
        if not chosen.stages:
            raise InputError("expected a protocol of at least one stage, got none: nothing would be searched")
        for stage in chosen.stages:
            _check_access(stage, given, model, usual)
            check_fit(stage.attack, threat, model.access, stage.objective, solved)
        return chosen

    def fitted(self, config: EvaluateConfig, world: World) -> EvaluateConfig:
        config = super().fitted(config, world)
        return config.model_copy(update={"radii": reach.asked(config, world)})

    def parts(self, config: EvaluateConfig, world: World) -> list[Part]:
        return [*super().parts(config, world), *reach.parts_of(config, world)]

    def inside(self, config: EvaluateConfig, world: World, part: Part, needs: Parts) -> Mapping[str, Any]:
        return reach.inside(config, world, part, self.protocol(config, world))

    def make(self, config: EvaluateConfig, world: World, part: Part, needs: Parts, kept: Columns | None) -> Made:
        if part.name.startswith("noise/"):
            return reach.noise_columns(config, world, part)
        return super().make(config, world, part, needs, kept)

    def conclude(self, config: EvaluateConfig, world: World, parts: Parts) -> EvaluateVerdict:
        found = super().conclude(config, world, parts)
        return reach.concluded(config, world, found, parts, self._stages(config, world))

    def findings(self, config: EvaluateConfig, world: World, verdict: EvaluateVerdict, parts: Parts) -> list[Finding]:
        return [*super().findings(config, world, verdict, parts), *reach.missed(config, world, parts)]

    def named(self, config: EvaluateConfig, protocol: Protocol) -> dict[str, Any]:
        return {"protocol": protocol.name, "chosen": config.chosen or (config.protocol or config.recipe) is None}

    def _notes(self, config: EvaluateConfig, world: World) -> Iterator[Finding]:
        if config.recipe:
            yield from recipe_notes(config.recipe, config.validity)
        solver = proves(config, world, world.model, threat_of(world))
        if config.chosen and config.protocol == "exact" and solver is not None:
            yield _proofs(solver.about)
        elif config.chosen and _useful(world.model) not in (Need.GRAD, Need.SLOPES):
            gives = _usual(config, world, threat_of(world))
            usual = gives.get(Need.SLOPES) or gives[Need.GRAD]
            yield _instead(str(config.protocol), usual, world.model)
        yield from super()._notes(config, world)


# ------------------------------------------------------------------ of a run


def _search(threat: Threat, stages: tuple[Stage, ...]) -> type[ShardSearch]:
    """How the rows of a shard are searched."""
    if isinstance(threat, TextThreat):
        return TextShardSearch
    if exact_of(stages):
        return ExactShardSearch
    return TableShardSearch if isinstance(threat, TableThreat) else ShardSearch


def _table(config: Batched, threat: Threat, stages: Sequence[Stage], parts: Parts) -> TableVerdict | None:
    """What is said of a table besides."""
    if not isinstance(threat, TableThreat):
        return None
    ignoring = [k for k, stage in enumerate(stages) if stage.ignores]
    return table_verdict(
        parts.below("shards"), threat.table, threat.rules.names, ignoring, classes=not config.of_values
    )


def _for_processes(most: int, rows: int) -> int:
    """Rows per shard where processes share the work: an even number of shards, as large as each other.

    Every shard has a tail, in which few rows are searched to the end, so more shards than that would be slow.
    """
    if rows <= _FEW or processors_of() < 2:
        return most
    return min(most, -(-rows // (2 * -(-rows // _TWICE))))


def _usual(config: Batched, world: World, threat: Threat) -> Mapping[Need, str]:
    """The protocol that is taken where none is named, by what the model shows."""
    if isinstance(threat, TextThreat):
        return USUAL_OF_TEXTS
    if isinstance(threat, TableThreat):
        return USUAL_OF_TABLES
    if str(config.goal).partition(":")[0] in DENSE:
        return USUAL_OF_PARTS
    goes_on = config.of_values and endpoint_of(world) is None  # past a success, which nobody wants to pay for
    return USUAL_OF_VALUES if goes_on else USUAL


def _of_recipe(name: str) -> Protocol:
    """Its search as the only stage."""
    found = recipe(name)
    attack = parse_attack(found.search)
    return Protocol(name, (Stage("recipe", attack, f"every row: {found.about}", Objective(loss=attack.loss)),))


def _is_named(config: Batched, world: World) -> bool:
    return getattr(config, "protocol", "") is not None or "protocol" in world.given


def _useful(model: Model) -> Need:
    return Need.VALUE if model.flat else model.access


def _check_access(stage: Stage, given: object, model: Model, usual: Mapping[Need, str]) -> None:
    if isinstance(given, str) and not affords(model.access, stage.attack):
        raise InputError(
            f"expected a protocol for a model that gives {ACCESS[model.access]} alone, got {given!r}, whose stage "
            f"{stage.name!r} needs {ACCESS[stage.attack.need]}: use {usual[model.access]!r}, which is taken where none "
            "is named"
        )


def _depends_on_classes(protocol: Protocol) -> bool:
    return not protocol.literal and any(stage.objective.loss == "dlr" for stage in protocol.stages)


def _instead(protocol: str, usual: str, model: Model) -> Finding:
    more = "Where its weights are at hand, evaluate those, too: gradients find more."
    return Finding(
        code="protocol-chosen",
        severity="note",
        saw=f"The model gives no gradients, or none but 0, so protocol {protocol!r} was run in place of {usual!r}.",
        do="Nothing to do: trees have none." if isinstance(model, TreeModel) else more,
    )


def _proofs(how: str) -> Finding:
    return Finding(
        code="protocol-chosen",
        severity="note",
        saw=f"The model is simple enough for proofs, so protocol 'exact' was run: {how}.",
        do="Nothing to do: attacks find no more than this. To compare them, name a protocol.",
    )


def _replaced(stages: Sequence[str], classes: int) -> Finding:
    form = "its untargeted form" if classes == 3 else "the margin"
    needed = "The targeted DLR loss needs 4 classes" if classes == 3 else "The DLR loss needs 3 classes"
    return Finding(
        code="loss-replaced",
        severity="note",
        saw=f"{needed} and the model has {classes}, so {form} took its place in {', '.join(stages)}.",
        do="Nothing to do: what was run stands under stages, with the loss of each.",
    )
