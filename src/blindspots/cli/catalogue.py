"""`list`: what can be named on the command line, as a table or as the page docs/attacks.md."""

from collections.abc import Iterator

from rich.table import Table
from rich.text import Text

from blindspots.attacks import CATALOGUE, Attack, describe
from blindspots.cli import screen
from blindspots.data import FORMS as DATA
from blindspots.experiments.detect.detectors.catalogue import DETECTORS
from blindspots.experiments.harden.recipe import names, read_recipe
from blindspots.experiments.universal.methods import METHODS
from blindspots.models.load import FORMS as MODELS
from blindspots.models.transformations import FRONT_ENDS, TRANSFORMATIONS
from blindspots.protocols import NAMES, about
from blindspots.texts.recipes import NAMES as RECIPES
from blindspots.texts.recipes import recipe
from blindspots.threats import THREATS

_ROOMY = 72  # signs in a line, from which on columns of prose can be read
_PAGE = """# Attacks

Made by `blindspots list --markdown`; a test holds it true. Every attack works with its defaults,

    bs.attack(net, x, y, bs.attacks.PGD(), threat=bs.Linf(8 / 255))     # any point of the ball will do
    bs.attack(net, x, y, bs.attacks.DDN(), threat=bs.L2())              # no radius: the smallest distance

and by its name on the command line, `blindspots attack MODEL --data DATA --threat linf:8/255 --attack pgd:steps=40`.
*Needs* says what the model has to show; *finds* whether any point within a radius will do or the smallest distance is
looked for; *targeted* whether it can be made to run towards a class. Costs are per row and at most: a row that is done
leaves. What they reach beside other libraries stands in [benchmarks](benchmarks.md).

Views go around another attack: on the command line `mifgsm+di+ti` (di, si, ti, shift, noise, each with its settings),
in Python `Through(MIFGSM(10), (GradientKernel(), InputDiversity()), copies=4)`. `bs.Ensemble([one, another])` or
`bs.skip_gradients(net)` make the surrogate; `to_the_end=True` gives points that are meant for another model.
`pgd+smooth:sigma=10` makes smooth changes of series. Randomised models: `--draws 20` averages every look of any attack.

Not included: Brendel and Bethge's attack (2019). Each of its steps solves a small optimisation problem per row, one
after the other, in compiled code, and it needs an adversarial start. On 20 digits Foolbox's version with 100 steps
found median distances of 0.769 in l2 and 0.226 in linf in 20 to 45 seconds, FMN at about the same number of looks 0.697
and 0.187 in one; only in l1 was it nearer (1.10 against 1.25, with the larger mean).
"""


def catalogue(markdown: bool) -> None:
    """Print all attacks with their settings, the protocols, defences, and the forms of models and data."""
    console = screen.result()
    if markdown:
        console.file.write(page())
        return
    roomy = console.width >= _ROOMY
    console.print(_attacks() if roomy else _stacked())
    console.print()
    console.print(_names() if roomy else Text("\n").join(screen.stacked(_names())))


def _stacked() -> Text:
    """All attacks one below the other, for a terminal without room for columns."""
    parts = ((_name(kind), Text(", ".join(kind.threats)), _cost(kind), _use(kind)) for kind in CATALOGUE)
    return Text("\n\n").join(Text("\n").join(part) for part in parts)


def page() -> str:
    """The text of docs/attacks.md."""
    return "\n".join([_PAGE, *_families(), *_protocols()]) + "\n"


def _families() -> Iterator[str]:
    for family in dict.fromkeys(kind.facts.family for kind in CATALOGUE):
        yield f"## {family[0].upper()}{family[1:]}\n"
        yield "| attack | needs | threats | finds | targeted | cost per row | when to use |"
        yield "|---|---|---|---|---|---|---|"
        yield from (_row(kind) for kind in CATALOGUE if kind.facts.family == family)
        yield ""


def _row(kind: type[Attack]) -> str:
    facts = kind.facts
    finds = "smallest distance" if kind.minimal else "a point in the ball"
    name = f"**{kind.__name__}** `{describe(kind)}`<br>{facts.paper} ({facts.year})"
    cells = name, _needs(kind), ", ".join(kind.threats), finds, "yes" if kind.targeted else "no", facts.cost, facts.use
    return f"| {' | '.join(cells)} |"


def _protocols() -> Iterator[str]:
    yield "## Protocols\n"
    yield "Cascades of attacks, run by `blindspots evaluate --protocol NAME`. Each is a TOML file in `protocols/`;"
    yield "`--protocol mine.toml` runs yours.\n"
    yield "| protocol | what it is for |"
    yield "|---|---|"
    yield from (f"| `{name}` | {about(name)} |" for name in NAMES)


def _needs(kind: type[Attack]) -> str:
    return kind.need.value.partition(":")[0]


def _names() -> Table:
    table = Table.grid(padding=(0, 2, 1, 0))
    for name in NAMES:
        table.add_row(Text(f"--protocol {name}", "bold"), Text(about(name)))
    for name in RECIPES:
        found = recipe(name)
        needs = f" Reads {', '.join(found.needs)}." if found.needs else ""
        table.add_row(Text(f"--recipe {name}", "bold"), Text(f"{found.about} ({found.paper}){needs}"))
    table.add_row(Text("universal --method", "bold"), Text(", ".join(METHODS)))
    for name in names():
        table.add_row(Text(f"harden --recipe {name}", "bold"), Text(read_recipe(name).about))
    for name, kind in DETECTORS.items():
        table.add_row(Text(f"detect --detector {name}", "bold"), Text(f"{kind.title} ({kind.paper})"))
    table.add_row(Text("--through", "bold"), Text(", ".join([*TRANSFORMATIONS, *FRONT_ENDS])))
    table.add_row(Text("MODEL", "bold"), Text(MODELS))
    table.add_row(Text("--data", "bold"), Text(DATA))
    table.add_row(Text("--threat", "bold"), Text(f"{', '.join(THREATS)}, with a radius as in linf:8/255"))
    return table


def _attacks() -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 1, 0), header_style="bold")
    for column, ratio in (("Attack", 6), ("Threats", None), ("Needs and costs", 5), ("Use", 13)):
        table.add_column(column, ratio=ratio, no_wrap=ratio is None)
    table.expand = True
    for kind in CATALOGUE:
        table.add_row(_name(kind), "\n".join(kind.threats), _cost(kind), _use(kind))
    return table


def _name(kind: type[Attack]) -> Text:
    return Text.assemble((kind.__name__, "bold"), f"\n{kind.facts.family}")


def _cost(kind: type[Attack]) -> Text:
    return Text(f"{_needs(kind)}\n{kind.facts.cost}")


def _use(kind: type[Attack]) -> Text:
    facts, settings = kind.facts, describe(kind).replace(",", ", ")
    return Text.assemble(f"{facts.use}\n", (f"{facts.paper} ({facts.year})\n", "dim"), (settings, "cyan"))
