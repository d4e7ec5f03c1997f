"""What is shown of a study of pictures: each with its numbers under it and the rows of the data beside it."""

from dataclasses import dataclass

from torch import Tensor

from blindspots.experiments.inspect.page import Shown
from blindspots.experiments.inspect.pictures.config import PicturesConfig
from blindspots.experiments.inspect.pictures.export import shown as pictured
from blindspots.experiments.inspect.pictures.verdict import Drawn, Fooled, Fooling, Picture, PicturesVerdict, Recognised
from blindspots.packing import unpack_inputs
from blindspots.pictures import picture
from blindspots.report.experiment import Table
from blindspots.report.shown import data_uri, is_small, scaled
from blindspots.report.words import count, number, percent
from blindspots.runs.experiment import Columns
from blindspots.runs.store import Run

Inspected = Run[PicturesConfig, PicturesVerdict]
_KINDS = {
    "channel": "Channels", "unit": "Units at the centre", "direction": "Random directions", "class": "Classes",
    "caricature": "Caricatures of rows",
}  # fmt: skip
_WAYS = {"gradient": "by the gradient", "cppn": "by evolution"}
_BY = {
    "fourier": "spectra, under random shifts, turns and crops",
    "pixels": "pixels, under random shifts, turns and crops",
    "maco": "phases with the magnitudes of the data, under random crops",
    "plain": "plain ascents without any regulariser",
}


@dataclass(frozen=True)
class Figure:
    """A picture, what is said under it, and what stands beside it: (picture, label), ..."""

    name: str
    pictures: list[str]
    said: list[str]
    beside: list[tuple[str, str]]


@dataclass(frozen=True)
class Sheet:
    title: str
    sentence: str
    figures: list[Figure]


@dataclass(frozen=True)
class Row:
    """Pictures of classes of one model: (picture, class, what the independent network says of it), ..."""

    name: str
    sentence: str
    pictures: list[tuple[str, str, str]]


def shown(run: Inspected) -> Shown:
    """Sheets of pictures, then what others see in them, then images from nothing."""
    v, page = run.verdict, _Page(run)
    return Shown(
        name="pictures", title="What it sees, as pictures", answer=answer(v), text=_text(run),
        body="pictures/body.html.j2", tables=_tables(page, v),
        context={
            "sheets": [page.sheet(i, group) for i, group in enumerate(v.groups)], "rows": page.rows(),
            "fooling": [page.fooling(one) for one in v.fooling],
            "crisp": is_small(run.manifest.world["data"]["shape"]),
        },
    )  # fmt: skip


def answer(v: PicturesVerdict) -> str:
    """What became of it, in one sentence without its full stop."""
    told = []
    if v.pictures:
        told.append(
            f"{sum(p.rose for p in v.pictures)} of {count(len(v.pictures), 'picture')} excite what they were made for "
            f"more than any of {count(v.rows, 'row')}"
        )
    if v.fooling:
        sure = max(v.fooling, key=lambda one: one.typical)
        told.append(
            f"the model is {percent(sure.typical)} sure of the classes of images that were made from nothing, in the "
            "median"
        )
    said = "; ".join(told) or "nothing was drawn"
    return said[0].upper() + said[1:]


def _text(run: Inspected) -> str:
    c = run.config
    drawn = f"Pictures were drawn as {_BY[c.pictures_by]}, in {c.ascent_steps:,} steps. " if c.groups else ""
    return (
        f"{drawn}People understand the rows of the data that excite a unit most better than pictures of it (92 against "
        "82 % in Borowski et al. 2021), so both stand side by side. All numbers are about pictures as 8 bits."
    )


class _Page:
    def __init__(self, run: Inspected) -> None:
        self.run, self.v = run, run.verdict
        world = run.manifest.world
        self.names: list[str] | None = world["data"]["class_names"]
        self.low, self.high = world["model"]["bounds"]

    def label(self, y: int) -> str:
        return self.names[y] if self.names and 0 <= y < len(self.names) else str(y)

    # -------------------------------------------------------------- pictures

    def title(self, group: Drawn) -> str:
        return f"{_KINDS[group.kind]} of {group.layer}" if group.layer else _KINDS[group.kind]

    def sheet(self, i: int, group: Drawn) -> Sheet:
        answers, made = self.run.parts[f"answers/{i}"], self.run.parts[f"pictures/{i}"]
        figures = [
            Figure(self.name(group, p), [data_uri(pictured(one)) for one in made["levels"][t]], self.said(p, group),
                   self.tops(answers, t))
            for t, p in enumerate(group.pictures)
        ]  # fmt: skip
        return Sheet(self.title(group), self.sentence(group), figures)

    def name(self, group: Drawn, p: Picture) -> str:
        return self.label(p.target) if group.kind == "class" else f"{group.kind} {p.target}"

    def sentence(self, group: Drawn) -> str:
        """What the sheet shows on this model."""
        kept = [p.kept for p in group.pictures if p.kept is not None]
        matched = [p.matched.quantile for p in group.pictures if p.matched]
        told = [f"{group.risen} of {count(len(group.pictures), 'picture')} rise above all {count(self.v.rows, 'row')}."]
        if kept:
            told.append(
                f"Under changes that they were not made with they keep {percent(sum(kept) / len(kept))} of their way "
                "from the median row, on average."
            )
        if matched:
            told.append(
                f"They excite the units of {self.v.independent} that answer most alike as much as or more than "
                f"{percent(sum(matched) / len(matched))} of the rows do, on average."
            )
        return " ".join(told)

    def said(self, p: Picture, group: Drawn) -> list[str]:
        lines = [self.reached(p)]
        if p.kept is not None:
            natural = f", its top row {percent(p.top_kept)}" if p.top_kept is not None else ""
            lines.append(f"keeps {percent(p.kept)} under unseen changes{natural}")
        if p.matched:
            m = p.matched
            where = f"{m.layer}, {m.unit}" if m.layer else f"score of {self.label(m.unit)}"
            lines.append(
                f"{self.v.independent}: {where} (r {number(m.correlation)}) above {percent(m.quantile)} of rows"
            )
        return [*lines, f"taken for {self.label(p.says)}"] if group.kind == "class" else lines

    def reached(self, p: Picture) -> str:
        if p.reach is None:
            return f"{number(p.reached)}, but all rows are alike"
        if p.rose:
            return f"{number(p.reached)}: {number(p.reach)} times as far as the top row, above all"
        return f"{number(p.reached)}: did not rise above the data ({percent(p.quantile)} of rows)"

    def tops(self, answers: Columns, t: int) -> list[tuple[str, str]]:
        x = scaled(unpack_inputs(answers["top_x"][t]).numpy(), self.low, self.high)
        labels = [self.label(y) for y in answers["top_y"][t].tolist()]
        return [(data_uri(picture(one)), said) for one, said in zip(x, labels, strict=True)]

    # -------------------------------------------------------------- side by side

    def rows(self) -> list[Row]:
        """Pictures of classes on both models, or none where there is nobody beside."""
        config, parts = self.run.config, self.run.parts
        if not (config.beside and "class" in config.groups):
            return []
        i = config.groups.index("class")
        own, other = parts[f"pictures/{i}"], parts[f"beside/{i}"]
        second = parts[f"judged/{i}"]["says"] if config.against else own["says"]
        sentences = {r.made_on: _recognised(r, self.v.independent) for r in self.v.recognised}
        names = [self.run.manifest.world[which]["name"] for which in ("model", "beside")]
        judged = [second, other["second"] if config.against else other["says"]]
        return [
            Row(name, sentences.get(name, ""), self._classes(made["levels"][:, 0], says[:, 0].tolist()))
            for name, made, says in zip(names, (own, other), judged, strict=True)
        ]

    def _classes(self, made: Tensor, says: list[int]) -> list[tuple[str, str, str]]:
        return [
            (data_uri(pictured(one)), self.label(c), self.label(said))
            for one, c, said in zip(made, self.run.config.numbers, says, strict=True)
        ]

    # -------------------------------------------------------------- from nothing

    def fooling(self, way: Fooling) -> Sheet:
        made = self.run.parts[f"fooling/{way.way}"]["levels"]
        figures = [
            Figure(self.label(image.label), [data_uri(pictured(one))], self.fooled(image), [])
            for one, image in zip(made, way.images, strict=True)
        ]
        return Sheet(f"From nothing, {_WAYS[way.way]}", self.fools(way), figures)

    def fools(self, way: Fooling) -> str:
        told = (
            f"The model is {percent(way.typical)} sure of the class of {count(len(way.images), 'image')} in the median"
        )
        if self.v.independent:
            told += f"; {self.v.independent} takes {way.passed_on} of them for the same class"
        return f"{told}."

    def fooled(self, image: Fooled) -> list[str]:
        lines = [f"{percent(image.confidence_8bit)} sure, as floats {percent(image.confidence)}"]
        if image.second is not None:
            lines.append(f"{self.v.independent}: {percent(image.second)}, takes it for {self.label(image.second_says)}")
        return lines


def _recognised(r: Recognised, judge: str) -> str:
    return f"{judge} takes {r.right.hits} of {r.right.rows} pictures made on {r.made_on} for their class."


def _tables(page: _Page, v: PicturesVerdict) -> list[Table]:
    head = ["Picture", "Reached", "Top row", "Quantile", "Times as far", "Kept"]
    tables = [Table(head, [_row(page, group, p) for p in group.pictures], page.title(group)) for group in v.groups]
    if v.recognised:
        rows = [[r.made_on, f"{r.right.hits} of {r.right.rows}", percent(r.right.share)] for r in v.recognised]
        tables.append(Table(["Made on", "Recognised", "Share"], rows, f"Classes as {v.independent} sees them"))
    if v.fooling:
        tables.append(Table(["From nothing", *_ways(v)], _fooled(page, v), "Confidence after rounding to 8 bits"))
    return tables


def _ways(v: PicturesVerdict) -> list[str]:
    return [_WAYS[way.way] for way in v.fooling]


def _fooled(page: _Page, v: PicturesVerdict) -> list[list[str]]:
    every = zip(*(way.images for way in v.fooling), strict=True)
    return [[page.label(same[0].label), *(percent(one.confidence_8bit) for one in same)] for same in every]


def _row(page: _Page, group: Drawn, p: Picture) -> list[str]:
    far, kept = ("–" if value is None else show(value) for value, show in ((p.reach, number), (p.kept, percent)))
    return [page.name(group, p), number(p.reached), number(p.top), percent(p.quantile), far, kept]
