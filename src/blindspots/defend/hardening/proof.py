"""Proves a finished hardening run again: both evaluations from their stored rows, and that the files are that model."""

import copy
from collections.abc import Callable, Iterator
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from blindspots.data import Dataset
from blindspots.defend.hardening.export import PROGRAM, WEIGHTS
from blindspots.defend.hardening.folder import read_harden_file
from blindspots.defend.hardening.record import HardenFile, HardenVerdict, held_out_off
from blindspots.engine.threads import set_threads
from blindspots.errors import InputError
from blindspots.journal import read_run_file, read_shard
from blindspots.models.load import load_model
from blindspots.models.model import Model
from blindspots.oracle import Oracle
from blindspots.packing import unpack_inputs
from blindspots.records import Share
from blindspots.verdict import RunFile
from blindspots.verify import Verification, not_finished, tampered, verify

Say = Callable[[str], None]
Problems = Iterator[str]

_ALIKE = 1e-4  # of the row's largest score: how far the program may be from the network
_ROWS = 256  # on which the two are compared


def verify_harden(
    run: str | Path, model: Model | None = None, data: Dataset | None = None, say: Say = lambda text: None
) -> Verification:
    """Prove both evaluations of a run again, and that its files hold the model that was evaluated.

    Training, held-out checks, controls and side studies are not made again.

    Args:
        run: the folder.
        model: the one that was hardened, where it was given from Python; else it is loaded by its name.
        data: the test rows; else they are opened by their name, and if they are gone, the stored inputs are taken.
        say: gets a sentence on the progress now and then.

    Raises:
        InputError: no finished run is there, or its model cannot be had.
    """
    folder = Path(run)
    file = read_harden_file(folder)
    if file.verdict is None:
        raise not_finished(folder)
    if changed := tampered(folder, file.seal):
        return changed
    with set_threads(file.manifest.threads):
        given = model or _named(file, say)
        return _Proof(folder, file, file.verdict, given, data, say).carry_out()


def _named(file: HardenFile, say: Say) -> Model:
    if file.manifest.model.spec is None:
        raise InputError(
            f"expected the network {file.manifest.model.name!r} itself, since the run was given it from Python: pass "
            "it, as in verify_harden(run, model)"
        )
    return load_model(file.manifest.model.spec, say)


class _Proof:
    """One call of `verify_harden`."""

    def __init__(
        self, folder: Path, file: HardenFile, verdict: HardenVerdict, given: Model, data: Dataset | None, say: Say
    ) -> None:
        self.folder, self.file, self.verdict, self.given, self.data, self.say = folder, file, verdict, given, data, say
        self.checks: list[str] = []
        self.notes = ["Training, its held-out checks, controls and side studies were not made again."]
        self.problems: list[str] = []

    def carry_out(self) -> Verification:
        self._hold("both evaluations are of the model, the rows and the threat of this run", self._same())
        self._take_over("before", self._evaluation("before", self.given))
        try:
            trained, program = self._trained(), self._program()
        except InputError as error:
            self.problems.append(str(error))
        else:
            if program is not None:
                self._hold(f"{PROGRAM} answers as {WEIGHTS} in the network does", self._alike(trained, program))
            self._take_over("after", self._evaluation("after", self._evaluated(trained, program)))
        self._hold("shares and intervals are those of their counts", self._shares())
        return Verification(self.verdict.after.rows, self.checks, self.notes, self.problems)

    def _hold(self, topic: str, problems: Problems) -> None:
        found = list(problems)
        self.problems += found
        if not found:
            self.checks.append(topic)

    def _take_over(self, name: str, outcome: Verification) -> None:
        """What `verify` says of one of the two evaluations."""
        self.checks += [f"{name}: {sentence}" for sentence in outcome.checks]
        self.notes += [f"{name}: {sentence}" for sentence in outcome.notes]
        self.problems += [f"{name}: {sentence}" for sentence in outcome.problems]

    def _evaluation(self, name: str, model: Model) -> Verification:
        return verify(self.folder / name, model, self.data, self.say)

    def _same(self) -> Problems:
        m = self.file.manifest
        for name, verdict in (("before", self.verdict.before), ("after", self.verdict.after)):
            run = read_run_file(self.folder / name)
            if run.verdict != verdict:
                yield f"expected the verdict of {name}/run.json in run.json, found another one"
            found = run.manifest
            if (found.data.digest, found.threat, found.protocol) != (m.test.digest, m.threat, m.protocol):
                yield f"expected the test rows, the threat and the protocol of run.json in {name}/, found others"
        if read_run_file(self.folder / "before").manifest.model.digest != m.model.digest:
            yield f"expected {m.model.name} in before/, found another model"

    def _trained(self) -> Model:
        """The network that was given, with the weights that training left."""
        net = copy.deepcopy(self.given.net)
        try:
            net.load_state_dict(load_file(self.folder / WEIGHTS))
        except (OSError, SafetensorError, RuntimeError) as error:
            said = " ".join(str(error).split())[:200]
            raise InputError(f"expected the weights of {self.given.name} in {WEIGHTS}, got: {said}") from error
        given = self.given
        return Model(net, given.bounds, given.mean, given.std, given.output, f"{given.name}-hardened")

    def _program(self) -> Model | None:
        path = self.folder / PROGRAM
        if path.is_file():
            return load_model(str(path))
        if all(f.code != "export" for f in self.verdict.findings):
            raise InputError(f"expected {PROGRAM} in {self.folder}, which is missing: restore it or run again")
        self.notes.append(f"{PROGRAM} was never written, as the findings say: the weights were taken alone.")
        return None

    def _evaluated(self, trained: Model, program: Model | None) -> Model:
        """Which of the two forms of the model the evaluation after says that it looked at."""
        digest = read_run_file(self.folder / "after").manifest.model.digest
        return trained if program is None or trained.digest == digest else program

    def _alike(self, trained: Model, program: Model) -> Problems:
        x = self._rows(read_run_file(self.folder / "after"))
        ours, theirs = _asked(trained, x), _asked(program, x)
        reach = _ALIKE * ours.abs().amax(1, keepdim=True)
        apart = int(((ours - theirs).abs() > reach).any(1).sum())
        if apart or trained.bounds != program.bounds:
            yield f"expected {PROGRAM} to answer as the network with {WEIGHTS}, it does not on {apart} of {len(x)} rows"

    def _rows(self, run: RunFile) -> Tensor:
        """Some of the rows that were evaluated, as they are stored."""
        return unpack_inputs(read_shard(self.folder / "after", run.shards[0])["x"])[:_ROWS]

    def _shares(self) -> Problems:
        v = self.verdict
        known = [share for e in v.history for share in (e.clean, e.fgsm, e.robust, e.robust_training)]
        known += [v.held_out, *(e.closer for e in v.history if e.closer)]
        known += [share for c in v.controls for share in (c.clean, c.robust)]
        known += [share for c in (v.study.compared if v.study else []) for share in (c.before, c.after)]
        known += [v.claim.hardened, v.claim.control] if v.claim else []
        for share in known:
            if share != Share.of(share.hits, share.rows):
                yield f"expected the share and interval of {share.hits} of {share.rows}, found {share}"
        if v.held_out_off not in (None, held_out_off(v.held_out, v.after)):
            yield f"expected the distance of held-out rows from the verdict, found {v.held_out_off}"


def _asked(model: Model, x: Tensor) -> Tensor:
    oracle = Oracle(model)
    with oracle.session():
        return oracle.logits(x.to(oracle.device)).cpu()
