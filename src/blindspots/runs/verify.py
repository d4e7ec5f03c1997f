"""To prove a finished run of any kind again, from its files alone: with none of the code that made it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from blindspots.arguments import checked
from blindspots.data import Data, as_data
from blindspots.errors import InputError
from blindspots.models.first_look import as_model
from blindspots.models.foreign import own_state
from blindspots.models.model import Model
from blindspots.runs.experiment import Check, kind
from blindspots.runs.folder import Files, Folder
from blindspots.runs.seals import sealed, sha256
from blindspots.runs.store import RUN, Run, opened, place, read_run
from blindspots.runs.world import World

Say = Callable[[str], None]
BROKEN = (InputError, ArithmeticError, LookupError, TypeError, ValueError, RuntimeError, AssertionError)
SENTENCES = "The words of the findings are taken as they are stored."


@dataclass(frozen=True)
class Verification:
    """What `verify` found, in sentences: what holds, what it could not show, and what does not hold."""

    checks: list[str]
    notes: list[str]
    problems: list[str]

    @property
    def ok(self) -> bool:
        return not self.problems


@own_state()
@checked(model=as_model, data=as_data)
def verify(
    run: str | Path,
    model: Model | None = None,
    data: Data | None = None,
    *,
    given: Mapping[str, Any] | None = None,
    say: Say = lambda text: None,
) -> Verification:
    """Compute every claim of a finished run of any kind again, from its folder.

    Args:
        run: the folder.
        model, data: needed where the run was given them from Python; else they are opened by their names in run.json.
        given: further models and data of that kind, by the names of its fields.
        say: hears how far it is.

    Returns:
        The outcome; `ok` is False as soon as one byte is not what it was.

    Raises:
        InputError: no finished run is there, or its model cannot be had.
    """
    others = {k: as_model(v) if isinstance(v, nn.Module) else v for k, v in (given or {}).items()}
    named = {"model": model, "data": data, **others}
    return verify_files(Folder(Path(run)), {k: v for k, v in named.items() if v is not None}, say)


def verify_files(
    files: Files, given: Mapping[str, Any] | None = None, say: Say = lambda text: None, *, quick: bool = False
) -> Verification:
    """The same for a run in memory or elsewhere; `quick`: seals and digests alone."""
    checks = list(_checks(files, "", given or {}, say, quick))
    claims = [c.claim for c in checks if not isinstance(c, Note) and not c.problems]
    notes = [c.claim for c in checks if isinstance(c, Note)]
    return Verification(claims, list(dict.fromkeys(notes)), [p for c in checks for p in c.problems])


class Note(Check):
    """What was seen, but proves nothing."""


def note(text: str) -> Note:
    """To be yielded by the checks of a kind."""
    return Note(text, [])


def _checks(files: Files, at: str, given: Mapping[str, Any], say: Say, quick: bool) -> Iterator[Check]:
    """Ends early where a failure leaves nothing that could be proved."""
    here = f"{at}{RUN}"
    if here not in files:
        raise InputError(
            f"expected a run folder with a run.json, found none in {place(files, at)}: name a finished run"
        )
    content = files[here]
    if sealed(content) != content:
        file_problem = _reason(files, at)
        yield Check("", [file_problem or f"expected {here} as it was sealed, found other bytes: it was changed"])
        return
    done = opened(files, at)
    yield Check(f"{here} is, to the last byte, as it was sealed", [])
    yield from _files(done)
    runs = [name for name in done.parts if _is_run(done, name)]
    if quick:
        for name in runs:
            yield from _checks(files, f"{at}{name}/", {}, say, quick)
        return
    with closing(World(done.config, given, say=say)) as world:
        world.home = done.folder
        yield from _same_world(done, world)
        with _threads(done.manifest.made_by.threads):
            yield from _proved(done, world, say)
        for name in runs:
            say(f"proving {at}{name}")
            try:
                inner = _inside(done, name, world)
            except BROKEN as error:  # of parts that are changed, as their digests said
                yield Check("", [f"expected what {at}{name} was given, got this: {_brief(error)}"])
                continue
            yield from _checks(files, f"{at}{name}/", inner, say, quick)
    yield note(f"{kind(done.manifest.kind, done.config).unseen} {SENTENCES}".strip())


def _reason(files: Files, at: str) -> str:
    """What is wrong with a run.json whose seal is broken, if it can be said; old versions are refused."""
    try:
        read_run(files, at)
    except InputError as error:
        if "found one of" in str(error):
            raise
        return str(error)
    return ""


def _inside(done: Run[Any, Any], name: str, world: World) -> Mapping[str, Any]:
    """What a run inside the run was given."""
    found = kind(done.manifest.kind, done.config)
    given: Mapping[str, Any] = found.load("inside")(done, name, world) if found.inside else {}
    return given


def _is_run(done: Run[Any, Any], name: str) -> bool:
    return f"{done.parts.at}{name}/{RUN}" in done.files


def _files(done: Run[Any, Any]) -> Iterator[Check]:
    problems = []
    for name, digest in (done.parts.digests or {}).items():
        path = f"{done.parts.at}{name}/{RUN}" if _is_run(done, name) else done.parts.file(name)
        content = done.files.get(path)
        if content is None:
            problems.append(f"expected {path}, which run.json lists, but it is missing: restore it or run again")
        elif sha256(content) != digest:
            problems.append(f"expected the bytes that run.json recorded in {path}, found others")
        elif not _is_run(done, name) and done.parts.kept(name) is None:
            problems.append(f"expected {path} with the seal of this run, found another: it belongs to another run")
    yield Check(f"every part of {done.parts.at or 'the run'} has the digest that was recorded", problems)
    problems = [
        f"expected {path} as it was written, found it gone or changed: restore it or run again"
        for path, digest in done.exports.items()
        if sha256(done.files.get(f"{done.parts.at}{path}", b"")) != digest
    ]
    yield Check("the files beside the parts are as they were written", problems)
    yield Check("there are no parts but those that run.json lists", list(_strangers(done)))


def _strangers(done: Run[Any, Any]) -> Iterator[str]:
    at, inner = done.parts.at, tuple(f"{done.parts.at}{name}/" for name in done.parts if _is_run(done, name))
    listed = {done.parts.file(name) for name in done.parts} | {f"{at}{path}" for path in done.exports}
    for path in done.files:
        if path.startswith(at) and not path.startswith(inner) and path.endswith(".safetensors") and path not in listed:
            yield f"expected the parts that run.json lists and no others, found {path}"


def _same_world(done: Run[Any, Any], world: World) -> Iterator[Check]:
    for name in done.config.models():
        record = done.manifest.world[name]
        world.hulls[name] = tuple(record["bounds"])
        if record["spec"] is None and name not in world.given:
            raise InputError(
                f"expected the network {record['name']!r} itself, since the run was given it from Python: pass it, as "
                f"in bs.verify(run, {'model' if name == 'model' else f'given={{{name!r}: model}}'})"
            )
        found = world.named(name)
        claim = f"the model {record['name']!r} is the one that the run saw"
        problems = []
        if found.digest != record["digest"]:
            problems.append(
                f"expected the model with the digest {record['digest']}, found {found.digest}: its weights or its "
                "structure differ"
            )
        if found.rejects != record["rejects"]:
            problems.append("expected a model that may reject as the run's did, found the opposite: pass that one")
        yield Check(claim, problems)
        world.same[name] = not problems
    yield from _same_data(done, world)


def _same_data(done: Run[Any, Any], world: World) -> Iterator[Check]:
    for name, source in done.config.datasets().items():
        record = done.manifest.world[name]
        if record["spec"] is None and name not in world.given and not source.is_digits_to_learn:
            yield note(f"{name} came from Python: its inputs and labels were taken as they are stored.")
            continue
        try:
            found = world.rows[name]
        except InputError as error:
            if Path(source.spec).exists():
                yield Check(f"{name} is what the run saw", [f"expected {name} as the run saw it, but now: {error}"])
            else:
                yield note(f"{name} could not be opened, so what is stored of it was taken ({error})")
            continue
        same = (found.digest, len(found)) == (record["digest"], record["rows"])
        other = (
            f"expected {record['rows']:,} rows of {name} with the digest {record['digest']}, found {len(found):,} with "
            f"{found.digest}"
        )
        yield Check(f"{name} is what the run saw", [] if same else [other])
        world.same[name] = same


def _proved(done: Run[Any, Any], world: World, say: Say) -> Iterator[Check]:
    checks = kind(done.manifest.kind, done.config).load("checks")
    try:
        yield from checks(done.config, done.verdict, done.parts, world)
    except BROKEN as error:  # a part is gone or changed: the digests said so, too
        yield Check("", [_brief(error)])


def _brief(error: Exception) -> str:
    if isinstance(error, InputError):
        return str(error)
    said = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    return f"expected parts that fit together, found some that do not ({said})"


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


# ------------------------------------------------------------------ for the checks of a kind

SAME = 1e-9  # two float64 numbers that came about in other ways, maybe in other versions of numpy and scipy


def differing(claim: str, stored: Mapping[str, Any], again: Mapping[str, Any]) -> Check:
    """That the numbers of a verdict are those that were computed again, every one of them, by other code."""
    problems = [f"expected {name} among the numbers, found none" for name in again if name not in stored]
    problems += [f"{name} was not computed again: verify is incomplete" for name in stored if name not in again]
    problems += [
        f"expected {name} to be {_said(again[name])}, as it follows from the parts, found {_said(stored[name])}"
        for name in stored
        if name in again and not same(stored[name], again[name])
    ]
    return Check(claim, problems)


def _said(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 200 else f"{text[:200]}…"


def same(a: Any, b: Any) -> bool:
    """Whether two plain values are the same, numbers up to rounding."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, bool) or isinstance(b, bool) or not (isinstance(a, int | float) and isinstance(b, int | float)):
        return bool(a == b)
    return a == b or abs(a - b) <= SAME * max(abs(a), abs(b), 1)
