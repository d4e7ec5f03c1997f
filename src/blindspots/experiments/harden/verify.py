"""Verifies a hardening run: what follows from the stored parts, and that the files hold the model that was judged."""

import copy
import json
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np
import torch
from safetensors.torch import load
from scipy.stats import binom
from sklearn.metrics import confusion_matrix
from torch import Tensor

from blindspots.ball import parse_ball
from blindspots.errors import InputError
from blindspots.experiments.harden.config import HardenConfig
from blindspots.experiments.harden.rows import divide, held_out
from blindspots.experiments.harden.verdict import CONTROL, PROGRAM, STUDY, TRAINING, WEIGHTS, HardenVerdict
from blindspots.models.load import load_program
from blindspots.models.model import Model
from blindspots.models.text_files import DESCRIPTION, WEIGHTS_FILE, built
from blindspots.packing import unpack_inputs, unpacked_text
from blindspots.runs.again import EDGE, SLACK, share
from blindspots.runs.columns import check_columns
from blindspots.runs.experiment import Check, Columns
from blindspots.runs.metric import numbers_of
from blindspots.runs.store import Parts, Run
from blindspots.runs.verify import differing, note
from blindspots.runs.world import World
from blindspots.threats import parse_threat

MODEL_FILE = "model.pt2"
_ALIKE = 1e-4  # of a row's largest score: how far the program may be from the network
_STRAIGHT = 1e-3  # of a cosine with a gradient
_AS_FAR, _POINTS = 2.5, 61  # of the curve
_CALL = 256  # rows
Problems = Iterator[str]


def inside(run: Run[HardenConfig, HardenVerdict], part: str, world: World) -> Mapping[str, Any]:
    """The model that one of the evaluations was given, and its rows, as far as they can be had."""
    proof = _Proof(run.config, run.parts, world)
    model = world.named("model") if part == "before" else proof.judged
    return {"model": model, **({} if proof.test is None else {"data": proof.test})}


def checks(config: HardenConfig, verdict: HardenVerdict, parts: Parts, world: World) -> Iterator[Check]:
    """What `verify` looks at; both evaluations are verified as runs of their own."""
    proof = _Proof(config, parts, world)
    proof.check_shapes()
    yield differing("every number of the verdict follows from the parts", numbers_of(verdict), proof.numbers(verdict))
    yield Check("both evaluations are of the model, the rows and the threat of this run", list(proof.same()))
    if not world.same["model"]:
        return
    if not proof.program:
        yield note(f"{proof.program_file} was never written, as the findings say: the weights were taken alone.")
    yield Check(f"{proof.program_file} answers as the weights in the network do", list(proof.alike()))
    yield Check("controls are right where it says so, and fall to what is stored", list(proof.controls()))
    if config.study_rows:
        yield Check("gradients of inputs came out again, before and after", list(proof.gradients()))
    if world.same.get("data"):
        yield Check(
            "the best weights are as accurate on held-out rows as the history says", list(proof.held_out_rows())
        )
    else:
        yield note("The data are not at hand, so held-out rows were not looked at again.")


class _Proof:
    def __init__(self, config: HardenConfig, parts: Parts, world: World) -> None:
        self.config, self.parts, self.world = config, parts, world

    @cached_property
    def log(self) -> Any:
        return json.loads(unpacked_text(self.parts["training"]["log"]))

    @cached_property
    def program(self) -> bytes:
        return self.parts["program"]["program"].numpy().tobytes()

    @cached_property
    def made(self) -> dict[str, Columns]:
        return {name: self.parts[name] for name in self.parts if name.startswith("controls/")}

    def check_shapes(self) -> None:
        """Raises InputError: a part lacks a column, or has others."""
        tables = {"training": TRAINING, "program": PROGRAM, **dict.fromkeys(self.made, CONTROL)}
        for name, table in (tables | ({"study": STUDY} if self.config.study_rows else {})).items():
            columns = {c: t for c, t in self.parts[name].items() if not c.startswith(WEIGHTS)}
            check_columns(columns, table, name)

    # -------------------------------------------------------------- numbers

    def numbers(self, verdict: HardenVerdict) -> dict[str, Any]:
        """The verdict, from what is stored."""
        history, best = self.log["history"], self._best()
        chosen = share(best["closer"]["hits"], best["closer"]["rows"])
        before, after = (self.parts.run(name).verdict.model_dump(mode="json") for name in ("before", "after"))
        off = 100 * (chosen["share"] - after["robust_accuracy"]) if self._own_threat() else None
        return {
            "before": before,
            "after": after,
            "epochs": self.log["epochs"],
            "best_epoch": best["epoch"],
            "held_out": chosen,
            "held_out_off": off,
            "history": [_counted(epoch) for epoch in history],
            "events": self.log["events"],
            "controls": self._control_numbers(verdict),
            "claim": self._claim(),
            "study": self._study(verdict) if self.config.study_rows else None,
        }

    def _best(self) -> Mapping[str, Any]:
        """Of the epochs that were looked at closely, the best one; of equal ones what stood more often, or later."""
        looked = [epoch for epoch in self.log["history"] if epoch["closer"]]
        if not looked:
            raise ValueError("no epoch was looked at closely")
        best: Mapping[str, Any] = max(looked, key=lambda e: (e["closer"]["share"], e["robust"]["share"], e["epoch"]))
        return best

    def _own_threat(self) -> bool:
        adversary = json.loads(self.config.settings)["adversary"] or {}
        named = adversary.get("threats", ()) if adversary.get("kind") == "attack" else ()
        return not named or [parse_threat(text).spec for text in named] == [parse_threat(self.config.threat).spec]

    @cached_property
    def _trained(self) -> dict[str, Columns]:
        """The controls that have figures, by their names."""
        named = {part.removeprefix("controls/").replace("-", " "): c for part, c in self.made.items()}
        return {name: columns for name, columns in named.items() if not columns["diverged"]}

    def _control_numbers(self, verdict: HardenVerdict) -> list[dict[str, Any]]:
        words = {control.name: control.what for control in verdict.controls}
        return [
            {
                "name": name, "what": words.get(name), "epochs": self.config.epochs,
                "clean": share(np.count_nonzero(c["right"]), len(c["right"])),
                "robust": share(np.count_nonzero(c["right"]) - len(c["broken"]), len(c["right"])),
            }
            for name, c in self._trained.items()
        ]  # fmt: skip

    def _claim(self) -> dict[str, Any] | None:
        if not self._trained:
            return None
        hits = {name: np.count_nonzero(c["right"]) for name, c in self._trained.items()}
        best = next(name for name, n in hits.items() if n == max(hits.values()))
        hardened, control = self._stored("after", "right").numpy(), self._trained[best]["right"].numpy()
        (_, theirs), (ours, _) = confusion_matrix(hardened, control, labels=[False, True]).tolist()
        p = min(1.0, 2 * float(binom.cdf(min(ours, theirs), ours + theirs, 0.5)))
        return {
            "hardened": share(np.count_nonzero(hardened), len(hardened)),
            "control": share(hits[best], len(control)), "against": best, "only_hardened": ours,
            "only_control": theirs, "p_value": p,
        }  # fmt: skip

    def _study(self, verdict: HardenVerdict) -> dict[str, Any]:
        c = {name: t.numpy() for name, t in self.parts["study"].items()}
        rows, radius = len(c["distance_before"]), parse_ball(self.config.threat).radius
        radii: list[float] = np.linspace(0, _AS_FAR * float(radius or 0), _POINTS).tolist()
        if verdict.study and np.allclose(verdict.study.curve.radii, radii, rtol=1e-6):  # these are float32
            radii = verdict.study.curve.radii
        named = json.loads(unpacked_text(self.parts["study"]["compared"]))
        pairs = zip(named, c["stands_before"], c["stands_after"], strict=True)
        return {
            "rows": rows,
            "compared": [
                {**words, "before": share(np.count_nonzero(b), rows), "after": share(np.count_nonzero(a), rows)}
                for words, b, a in pairs
            ],
            "curve": {
                "norm": parse_ball(self.config.threat).name, "radii": radii,
                "before": _beyond(c["distance_before"], radii), "after": _beyond(c["distance_after"], radii),
            },
            "alignment": {"before": _middle(c["alignment_before"]), "after": _middle(c["alignment_after"])},
        }  # fmt: skip

    # -------------------------------------------------------------- evaluations

    def same(self) -> Problems:
        threat = parse_threat(self.config.threat).spec
        before, after = (self.parts.run(name) for name in ("before", "after"))
        for run in (before, after):
            c = run.config
            own = (threat, self.config.padding, self.config.protocol, self.config.seed)
            if (parse_threat(c.threat).spec, c.padding, c.protocol, c.seed) != own:
                yield f"expected {threat}, {self.config.protocol} and this run's seed in {run.parts.at}, found others"
        if before.manifest.world["data"] != after.manifest.world["data"]:
            yield "expected the same rows in before/ and after/, found others"
        if before.manifest.world["model"]["digest"] != self.parts.begun.manifest.world["model"]["digest"]:
            yield "expected the model of this run in before/, found another"
        if self.world.same["model"] and after.manifest.world["model"]["digest"] != self.judged.digest:
            yield "expected the hardened model in after/, found another"

    @cached_property
    def test(self) -> Any:
        """The rows that judge; None where they cannot be had."""
        if not self.world.same.get("test", self.world.same.get("data")):
            return None
        named = self.world.rows.get("test")
        return named or divide(self.world.data, None, self.config.test_rows, self.config.seed)[1]

    def _stored(self, run: str, column: str) -> Tensor:
        return torch.cat([shard[column] for shard in self.parts.run(run).parts.below("shards")])

    @cached_property
    def _rows(self) -> tuple[Tensor, Tensor]:
        """The rows that judge, as they are stored: verifying the evaluations compares them with the data."""
        shards = self.parts.run("before").parts.below("shards")
        x, y = zip(*((unpack_inputs(shard["x"]), shard["y"]) for shard in shards), strict=True)
        return torch.cat(x), torch.cat(y)

    # -------------------------------------------------------------- networks

    def _network(self, columns: Columns) -> Model:
        """The given network with other weights."""
        model = copy.deepcopy(self.world.named("model"))
        model.forget()
        weights = {name.removeprefix(WEIGHTS): t for name, t in columns.items() if name.startswith(WEIGHTS)}
        try:
            model.net.load_state_dict(weights)
        except RuntimeError as error:
            said = " ".join(str(error).split())[:200]
            raise InputError(f"expected the weights of {model.name}, got: {said}: restore the part") from error
        return model

    @cached_property
    def trained(self) -> Model:
        return self._network(self.parts["training"])

    @cached_property
    def judged(self) -> Model:
        """The hardened model as it was evaluated: the file that the run folder has, where there is one."""
        name = self.program_file
        content = self.parts.files.get(f"{self.parts.at}{name}", b"")
        if bool(content) != bool(self.program) or content != self.program:
            raise InputError(f"expected {name} as it was exported, found it gone or changed: run again")
        if content and name == DESCRIPTION:
            return built(content, load(self.parts.files[f"{self.parts.at}{WEIGHTS_FILE}"]), name)
        return load_program(content, name) if content else self.trained

    @property
    def program_file(self) -> str:
        """What the model can be opened by."""
        return DESCRIPTION if self.config.of_texts else MODEL_FILE

    def alike(self) -> Problems:
        x = self._rows[0][:_CALL]
        ours, theirs = _scores(self.trained, x), _scores(self.judged, x)
        apart = int(((ours - theirs).abs() > _ALIKE * ours.abs().amax(1, keepdim=True)).any(1).sum())
        if apart or self.trained.bounds != self.judged.bounds:
            yield f"expected {self.program_file} to answer as the network does, it does not on {apart} of {len(x)} rows"

    def controls(self) -> Problems:
        x, y = self._rows
        for name, c in self._trained.items():
            self.world.say(f"asking the control {name} again")
            model = self._network(c)
            scores, at, moved = _scores(model, x), c["broken"], c["adversarial"]
            bad = ((scores.argmax(1) == y) != c["right"]) & ~_on_edge(scores)
            yield from _told(bad, f"the control {name} to be right as it is stored")
            yield from _told(~c["right"][at], f"rows that the control {name} got right to fall")
            fallen = _scores(model, moved)
            yield from _told((fallen.argmax(1) == y[at]) & ~_on_edge(fallen), f"what makes the control {name} err")
            yield from _told(
                _outside(parse_ball(self.config.threat), moved, x[at], model.bounds, self.config.padding),
                "changes within the threat and the bounds",
            )

    def gradients(self) -> Problems:
        """Of the predicted class's score minus the strongest other."""
        c = self.parts["study"]
        x = self._rows[0][: len(c["alignment_before"])]
        for when, model in (("before", self.world.named("model")), ("after", self.judged)):
            slopes, scores = _slopes(model, x)
            a, b = x.flatten(1).double().numpy(), slopes.flatten(1).double().numpy()
            lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
            cosine = np.abs((a * b).sum(1)) / np.maximum(lengths, 1e-30)
            sure = ~_on_edge(scores)
            bad = torch.from_numpy(np.abs(cosine - c[f"alignment_{when}"].numpy()) > _STRAIGHT) & sure
            yield from _told(bad, f"the alignment {when} that the network has")
            wrong = scores.argmax(1) != self._rows[1][: len(x)]
            yield from _told(((c[f"distance_{when}"] == 0) != wrong) & sure, f"distance 0 {when} where it is wrong")

    def held_out_rows(self) -> Problems:
        """The clean accuracy of the best epoch."""
        data = divide(self.world.data, self.world.rows.get("test"), self.config.test_rows, self.config.seed)[0]
        x, y = data.rows(0, len(data))
        at, _ = held_out(len(y), self.config.seed)
        scores, said = _scores(self.trained, x[at]), self._best()["clean"]
        hits = int((scores.argmax(1) == y[at]).sum())
        if said["rows"] != len(at) or abs(said["hits"] - hits) > int(_on_edge(scores).sum()):
            yield f"expected {hits} of {len(at)} held-out rows right, found {said['hits']} of {said['rows']}"


def _scores(model: Model, x: Tensor) -> Tensor:
    """(N, C), on the CPU."""
    with model.borrowed(), torch.no_grad():
        parts = [model.logits(part.to(model.device)).cpu() for part in torch.split(x, _CALL)]
    return torch.cat(parts)


def _slopes(model: Model, x: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients (N, *shape) of the largest score minus the second one, and the scores (N, C)."""
    at = x.to(model.device, copy=True).requires_grad_()
    with model.borrowed(), torch.enable_grad():
        scores = model.logits(at)
        two = scores.topk(2, 1).values
        (slopes,) = torch.autograd.grad((two[:, 0] - two[:, 1]).sum(), at)
    return slopes.cpu(), scores.detach().cpu()


def _on_edge(scores: Tensor) -> Tensor:
    """(N,) bool: rounding may decide the class."""
    two = scores.topk(2, 1).values
    return (two[:, 0] - two[:, 1]) <= EDGE * scores.abs().amax(1)


def _outside(
    threat: Any, moved: Tensor, x: Tensor, bounds: tuple[float, float], padding: float | None = None
) -> Tensor:
    """(k,) bool: beyond the radius, beyond the bounds, or other than `x` where that is nothing but padding."""
    order = {"linf": np.inf, "l2": 2, "l1": 1}[threat.name]
    sizes = np.linalg.norm((moved - x).flatten(1).double().numpy(), order, axis=1)
    beyond = torch.from_numpy(sizes > threat.radius * (1 + SLACK))
    beyond |= (moved.flatten(1).amin(1) < bounds[0]) | (moved.flatten(1).amax(1) > bounds[1])
    return beyond if padding is None else beyond | _changed_padding(moved, x, padding)


def _changed_padding(moved: Tensor, x: Tensor, padding: float) -> Tensor:
    """(k,) bool: something changed after the last value of the row that is no padding."""
    columns = [(t != other).reshape(len(t), -1, t.shape[-1]).any(1) for t, other in ((x, padding), (moved, x))]
    last = [(found * torch.arange(1, x.shape[-1] + 1)).amax(1) for found in columns]
    return last[1] > last[0]


def _counted(epoch: Mapping[str, Any]) -> dict[str, Any]:
    """What is stored of an epoch, with shares and intervals of its counts."""
    shares = ("clean", "fgsm", "robust", "robust_training", "closer")
    return {k: share(v["hits"], v["rows"]) if k in shares and v else v for k, v in epoch.items()}


def _beyond(distances: np.ndarray, radii: list[float]) -> list[float]:
    ordered = np.sort(distances)
    return [(len(ordered) - int(np.searchsorted(ordered, np.float32(r), "right"))) / len(ordered) for r in radii]


def _middle(values: np.ndarray) -> float:
    """The median; of an even number of values the smaller one in the middle."""
    return float(np.sort(values)[(len(values) - 1) // 2])


def _told(bad: Tensor, expected: str) -> Problems:
    """One sentence on the rows that are `bad`."""
    if bad.any():
        first = int(bad.int().argmax())
        yield f"expected {expected}, found it otherwise in {int(bad.sum())} rows, the first of them {first}"
