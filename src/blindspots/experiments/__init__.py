"""All kinds of experiments, one folder each, and where their parts are found: nothing is imported before it is used."""

from blindspots.runs.experiment import Kind

_TRIGGERS = "blindspots.experiments.universal.triggers"
_QUERIES = "blindspots.experiments.detect.queries"


def _kind(
    name: str,
    about: str,
    *,
    unseen: str = "",
    inside: bool = False,
    several: bool = False,
    texts: Kind | None = None,
    queries: Kind | None = None,
) -> Kind:
    """A kind of our own: experiments/NAME/ with one module for each of its parts."""
    home, title = f"blindspots.experiments.{name}", name.capitalize()
    return Kind(
        name, about, f"{home}.config:{title}Config", f"{home}.experiment:{title}", f"{home}.verdict:{title}Verdict",
        f"{home}.verify:checks", f"{home}.page:page", f"{home}.verify:inside" if inside else "", unseen, several,
        texts=texts, queries=queries,
    )  # fmt: skip


def _study(name: str, about: str, *, unseen: str = "") -> Kind:
    """A part of `inspect`: experiments/inspect/NAME/, shown on the page of all parts."""
    home, title = f"blindspots.experiments.inspect.{name}", name.capitalize()
    return Kind(
        name, about, f"{home}.config:{title}Config", f"{home}.experiment:{title}Study",
        f"{home}.verdict:{title}Verdict", f"{home}.verify:checks", "blindspots.experiments.inspect.page:page",
        unseen=unseen, within="inspect",
    )  # fmt: skip


KINDS = (
    _kind(
        "evaluate",
        "Measure how often a model stays right on inputs that an adversary may change. Writes a run folder.",
        inside=True,
        unseen="That no other attack would have found more cannot be shown.",
        several=True,
    ),
    Kind(
        "attack",
        "Run a single attack and save what it made: pictures, tensors, a contact sheet, a table.\n"
        "\n"
        "A threat without a radius, such as l2, asks for the smallest distance.",
        "blindspots.experiments.attack.config:AttackConfig",
        "blindspots.experiments.attack.experiment:Attack",
        verdict="blindspots.experiments.evaluate.verdict:EvaluateVerdict",
        checks="blindspots.experiments.evaluate.verify:checks",
        page="blindspots.experiments.evaluate.page:page",
        unseen="That no other attack would have found more cannot be shown.",
        several=True,
    ),
    _kind(
        "detect",
        "Fit detectors of adversarial examples, and say what they are worth to an adversary who knows them.\n"
        "\n"
        "Writes the detectors, their scores, the attacks on model and detector together, and a report. Of a model "
        "behind a guard of queries (guarded-queries:MODEL): whom the guard refuses, users and attacks.",
        unseen="Fits, tests of batches and the searches for examples were not made again.",
        inside=True,
        queries=Kind(
            "detect",
            "Say whom a guard of queries refuses: users, attacks, and attacks that know it.",
            "blindspots.experiments.detect.config:DetectConfig",
            f"{_QUERIES}.experiment:DetectQueries",
            f"{_QUERIES}.verdict:QueriesVerdict",
            f"{_QUERIES}.verify:checks",
            f"{_QUERIES}.page:page",
            f"{_QUERIES}.verify:inside",
            unseen="The searches for examples were not made again.",
        ),
    ),
    _kind(
        "universal",
        "Search for one change that fools a model on most inputs, and say on how many unseen ones it does.\n"
        "\n"
        "Writes the perturbation, pictures and a report. Of texts it is a trigger: the same words in all of them.",
        unseen="That no other search would fool more inputs cannot be shown.",
        texts=Kind(
            "universal",
            "Search for the words whose presence in front of a text fools a model on most texts.",
            "blindspots.experiments.universal.config:UniversalConfig",
            f"{_TRIGGERS}.experiment:UniversalTrigger",
            f"{_TRIGGERS}.verdict:TriggerVerdict",
            f"{_TRIGGERS}.verify:checks",
            f"{_TRIGGERS}.page:page",
            unseen="That no other search would fool more texts cannot be shown.",
        ),
    ),
    _kind(
        "harden",
        "Train a copy of a model against an adversary, and say what that did to it, beside honest controls.\n"
        "\n"
        "Writes the hardened model, its card, the evaluations before and after, and a report.",
        inside=True,
        unseen="Training, its held-out checks, the attacks on controls and the side studies were not run again.",
    ),
    _kind(
        "certify",
        "Prove, row by row, within which L2 radius a model smoothed by noise stays right, and attack it beside that.\n"
        "\n"
        "Of texts (--threat words:2): how many exchanged words leave a model right, exactly, by interval bounds or by "
        "votes. Writes a run folder with what proves it, the certified accuracy against the radius and a report.",
        unseen="Votes were taken again for three rows; those of the others are taken as they are stored.",
        inside=True,
    ),
    _kind(
        "transfer",
        "Make examples for each of several models, feed them to all, and show who fools whom, beside noise as large.\n"
        "\n"
        "Each MODEL is what evaluate takes. Writes a run folder with the matrix, the examples and a report.",
        unseen="Whether another search would have found more is not known; with which attack examples were made is "
        "taken as it is stored.",
    ),
    _kind(
        "reproduce",
        "Make a published experiment again and show ours beside the published figures, cell by cell, on one page.\n"
        "\n"
        'szegedy-2013: "Intriguing properties of neural networks", Tables 1 to 4.',
        unseen="Networks were not trained again: their weights are taken as they are stored. That no smaller change "
        "would do cannot be shown.",
    ),
    _kind(
        "design",
        "Search for designs on a learned objective, and say what they are really worth: reward hacking, measured.\n"
        "\n"
        "TASK has a truth that can be asked: branin, hartmann3, hartmann6, ehrlich, or a function of yours.",
        unseen="Surrogates were not trained again: their weights are taken as they are stored. That no better design "
        "could be found on them cannot be shown.",
    ),
    _kind(
        "inspect",
        "Look into a model: its units, what they see, how far small changes move it, and how often they do harm.\n"
        "\n"
        "Writes a run folder with one run for every part, and one report that begins with pictures.",
        inside=True,
    ),
    _study(
        "units",
        "Compare the units of layers with random directions, and with learned ones.",
        unseen="Learned dictionaries and samples with repetitions are taken as they are stored; three random bases of "
        "every layer were made again.",
    ),
    _study(
        "pictures",
        "Draw what units, directions and classes see, beside the data, and make images from nothing that fool it.",
        unseen="That other ascents would not reach more cannot be shown. Images were not evolved again, and that no "
        "other unit of the independent network answers more alike is taken as it is stored.",
    ),
    _study(
        "stability",
        "Bound how far a network can stretch small changes, beside how far it does; follow these through layers.",
        unseen="That no point is steeper than those found cannot be shown. Bounds around rows, and those of layers "
        "that are no plain modules, are taken as they are stored, above what was found.",
    ),
    _study(
        "frequency",
        "Say how often random points near rows are errors, down to 1e-20, beside the nearest error.",
        unseen="Draws of some rows were counted again; runs of splitting are taken as they are stored. That no "
        "error is nearer, and that splitting missed none, cannot be shown.",
    ),
    _study(
        "geometry",
        "Slices of decision regions, distances, curvature, and what two models share.",
        unseen="Nearest boundaries and adversarial directions are the best that were found. Networks that learned from "
        "relabelled rows were not trained again, and models were asked again about a sample of points.",
    ),
    _study(
        "training",
        "Train small networks with one thing changed at a time: what do robustness, distance and transfer go with?",
        unseen="Networks were not trained again, and searches for examples were not repeated.",
    ),
)
