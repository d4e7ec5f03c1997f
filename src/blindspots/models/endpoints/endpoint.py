"""A model behind an address: asked through a store of answers, within a budget, as if it were here."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import torch
from torch import Tensor

from blindspots.box import Numbers
from blindspots.errors import InputError
from blindspots.findings import Finding
from blindspots.models.endpoints import answers as kept_answers
from blindspots.models.endpoints import spending as kept_spending
from blindspots.models.endpoints.answers import Answers, Key
from blindspots.models.endpoints.protocol import About, Protocol
from blindspots.models.endpoints.reading import (
    FAR,
    REFUSED,
    Answer,
    Reader,
    Said,
    classes_in,
    is_refusal,
    kind_of,
    parsed,
    stored,
)
from blindspots.models.endpoints.secrets import cleaned
from blindspots.models.endpoints.spending import Spending, SpentError, Terms
from blindspots.models.endpoints.transport import (
    Address,
    NotTakenError,
    Pace,
    RefusedError,
    Transport,
    UnansweredError,
)
from blindspots.models.model import Model, Service
from blindspots.problem import Need

PROBES = 5  # answers to one and the same input before the first real query
SAME = 1e-4  # by how much these may differ, of the largest score: graphics cards do not always add in the same order


class Endpoint(Model):
    """A classifier, or a model of values, that is asked over HTTP.

    Every answer is kept before it is used, by what was sent, and is never asked for again. Where five answers to the
    same input differ, the endpoint is randomised, and equal inputs are asked anew.

    Args:
        protocol: how it is spoken to.
        address: where, with what headers.
        pace: how fast.
        terms: what it costs.
        about: what is known of its answers; what is not is asked, or seen in the first answer.
        bounds: the smallest and the largest value of an input, as in `Model`.
        identity: what else decides what it is asked and which part of a reply is kept; how that is read does not.
        name, spec: as in `Model`.
    """

    def __init__(
        self,
        protocol: Protocol,
        address: Address,
        pace: Pace | None = None,
        terms: Terms | None = None,
        about: About | None = None,
        bounds: tuple[Numbers, Numbers] = (0.0, 1.0),
        identity: str = "",
        name: str | None = None,
        spec: str | None = None,
    ) -> None:
        super().__init__(self.logits, bounds, name=name or protocol.called, spec=spec)
        about = about or About()
        self.protocol, self.pace, self.told = protocol, pace or Pace(), about
        self.transport, protocol.shown = Transport(address, self.pace), address.shown
        self._asked_as = repr((protocol.name, address.shown, urlsplit(address.url).netloc.rpartition("@")[2], identity))
        self._read_as = repr((self.bounds, about))
        self.class_names = None if about.class_names is None else list(about.class_names)
        self.repeats = 0  # repetitions are counted in `spending`
        self.silent, self.failure, self.spent = False, "", False
        self.reader: Reader | None = None
        self.varies: bool | None = None  # whether equal inputs get different answers, once it is known
        self.refusals = False  # see `rejects`
        self._times = Counter[bytes]()
        self._alone = False  # it takes one input at a time
        self._open(None, terms or Terms())

    # -------------------------------------------------------------- what the rest of blindspots sees

    @property
    def service(self) -> Service:
        return self

    @property
    def classes(self) -> int | None:
        """Their number, once it is known."""
        if self.reader is not None:
            return self.reader.classes
        return self.told.classes if self.class_names is None else len(self.class_names)

    @property
    def rejects(self) -> bool:
        """Whether a refusal is a class of its own, the last one; else it is no answer."""
        return self.refusals and self.output != "values"

    @property
    def levels(self) -> int | None:
        """How many steps there are between the bounds, where inputs are sent as whole numbers."""
        return self.protocol.levels

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of how it is asked: what lies behind an address is known by its answers alone."""
        return hashlib.sha256((self._asked_as + self._read_as).encode()).hexdigest()

    def of_values(self) -> Model:
        self.output = "values"
        return self

    def keep_in(self, folder: Path | None, answers: Path | None, terms: Terms, refusals: bool) -> None:
        """Go on with the account and the answers in a folder, as a run wants it.

        Args:
            answers: a file of them that others share.
            refusals: whether it `rejects`.
        """
        self.close()
        self._open(folder, terms, answers)
        self.refusals = refusals
        self.reader = None if self.reader is None else replace(self.reader, rejects=self.rejects)

    def _open(self, folder: Path | None, terms: Terms, answers: Path | None = None) -> None:
        inside = None if folder is None else folder / kept_answers.NAME
        self.answers = Answers(answers or inside, hashlib.sha256(self._asked_as.encode()).digest())
        self.spending = Spending(None if folder is None else folder / kept_spending.NAME, terms)

    def close(self) -> None:
        """Close files and connections."""
        self.answers.close()
        self.spending.close()
        self.transport.close()

    def begin(self, deadline: float = float("inf")) -> None:
        """Another part of a run begins, which has until `deadline` (of time.monotonic())."""
        self.spending.deadline, self.spent, self.silent = deadline, False, False

    def rest(self) -> None:
        """Close files and connections until it is asked again."""
        self.answers.rest()
        self.spending.rest()
        self.transport.close()

    @property
    def paid(self) -> Decimal:
        """What was spent so far, exact."""
        return self.spending.terms.cost(self.spending.counts.billed)

    # -------------------------------------------------------------- before the first real query

    def meet(self, x: Tensor, names: Sequence[str] | None = None) -> None:
        """Learn how it answers, from what it says of itself and, as far as needed, from its answer to x (1, *shape).

        Args:
            names: classes of the data, for endpoints that answer with names without telling all of them.

        Raises:
            InputError: it does not answer, does not let us in, or what it answers is not understood.
        """
        if self.reader is not None:
            return
        about = self._about()
        kind: Said | None = "values" if self.output == "values" else self.told.kind or about.kind
        self.class_names = self.class_names or (None if about.class_names is None else list(about.class_names))
        classes = self.classes or about.classes
        answer: Answer | None = None
        if kind is None or (kind != "values" and classes is None):
            answer = self._first(x)
            kind = kind or kind_of(answer)
            where, known = self.transport.address.shown, self.class_names
            classes, self.class_names = classes_in(answer, kind, classes, known, names, where)
        self.access = Need.LABEL if kind == "labels" else Need.VALUE
        where = self.transport.address.shown
        self.reader = Reader(kind, classes, self.class_names, self.rejects, where)

    def _about(self) -> About:
        """What it says of itself, before the first query."""
        try:
            return self.protocol.about(self._told)
        except InputError as error:
            raise InputError(cleaned(str(error), self.transport.address.secrets)) from None

    def _told(self, url: str) -> bytes | None:
        """What lies at an address of the service, kept for whoever reads the answers when it is gone."""
        mark = f"told {hashlib.sha256(url.encode()).hexdigest()}"
        if kept := self.spending.marked(mark):
            return kept.encode()
        content = self.transport.get(url)
        if content is not None:
            said = cleaned(content.decode("utf-8", "replace"), self.transport.address.secrets)
            self.spending.mark(mark, said)
        return content

    def _first(self, x: Tensor) -> Answer:
        """What it says of an input, which may not be refused."""
        (key,) = self._keys([self._row(x[0])], draw=0)
        kept = self._asked(x, [key])[key]
        shown = self.transport.address.shown
        if kept is None:
            raise InputError(self.failure)
        if is_refusal(kept, shown):
            raise InputError(
                f"expected an answer to the first input from {shown}, but it was refused with status "
                f"{stored(kept, shown)[REFUSED]}: check the address and the token"
            )
        return parsed(stored(kept, shown), shown)

    def probe(self, x: Tensor) -> Tensor:
        """Answers to one input x (1, *shape), asked five times: scores (5, C). Says whether it is randomised."""
        self.meet(x)
        assert self.reader is not None
        row = self._row(x[0])
        keys = [Key(hashlib.sha256(row).digest(), draw) for draw in range(PROBES)]
        kept = self._asked(x.expand(PROBES, *x.shape[1:]), keys)
        scores = self.reader.scores([kept[key] for key in keys])
        self.varies = _vary(scores[~self.reader.refused(scores)])
        self.spending.mark("varies", json.dumps(self.varies))
        return scores

    @property
    def is_random(self) -> bool:
        """Whether the five answers differed, in this process or in an earlier one of the run."""
        if self.varies is None:
            self.varies = json.loads(self.spending.marked("varies") or "null")
        return bool(self.varies)

    @property
    def notes(self) -> list[Finding]:
        return [*super().notes, *self._meaning()]

    def _meaning(self) -> Iterable[Finding]:
        if self.reader is None:
            return
        what = {
            "labels": "labels alone",
            "probabilities": "scores that make 1, which are taken for probabilities",
            "logits": "scores, which are taken as they are",
            "values": "numbers",
        }[self.reader.kind]
        yield Finding(
            code="endpoint-answers",
            severity="note",
            saw=f"{self.transport.address.shown} answers with {what}.",
            do="If that is wrong, say what it answers in a template:FILE.toml.",
        )

    # -------------------------------------------------------------- asking

    def logits(self, x: Tensor) -> Tensor:
        """Scores (B, C) of inputs x (B, *shape), with "reject" (B, C + 1) where it may refuse; or values (B, ...).

        NaN for rows without an answer.
        """
        x = x.detach().cpu()
        if not len(x):
            return torch.zeros(0, (self.classes or 1) + self.rejects)
        self.meet(x[:1])
        assert self.reader is not None
        keys = self._keys([self._row(one) for one in x])
        kept = self._asked(x, keys)
        scores = self.reader.scores([kept[key] for key in keys])
        self.silent = self.silent or all(answer is None for answer in kept.values())
        return scores

    def _row(self, x: Tensor) -> bytes:
        """What is sent for an input (*shape)."""
        if self.levels is None:
            return self.protocol.row(x.numpy())
        lo, hi = self.box.like(x)
        return self.protocol.row(((x - lo) / (hi - lo) * self.levels).round().to(torch.int64).numpy())

    def _keys(self, rows: Sequence[bytes], draw: int | None = None) -> list[Key]:
        """By what answers are kept; of a randomised endpoint every time another one."""
        hashes = [hashlib.sha256(row).digest() for row in rows]
        if draw is not None or not self.is_random:
            return [Key(one, draw or 0) for one in hashes]
        found = []
        for one in hashes:
            found.append(Key(one, self._times[one]))
            self._times[one] += 1
        return found

    def _asked(self, x: Tensor, keys: Sequence[Key]) -> dict[Key, bytes | None]:
        """Answers by their keys: those that are kept, and those that are asked for; None where there is none."""
        kept = self.answers.of(dict.fromkeys(keys))
        missing = {key: i for i, key in enumerate(keys) if key not in kept}
        if missing and not self.silent:
            size = 1 if self._alone else min(self.pace.batch, self.protocol.most or self.pace.batch)
            parts = [list(missing.items())[i : i + size] for i in range(0, len(missing), size)]
            self._send_all([(x[[i for _, i in part]], [key for key, _ in part]) for part in parts])
            kept |= self.answers.of(missing)
        return {key: kept.get(key) for key in keys}

    def _send_all(self, parts: Sequence[tuple[Tensor, list[Key]]]) -> None:
        if len(parts) == 1:
            self._send(*parts[0])
            return
        with ThreadPoolExecutor(self.pace.together) as pool:
            for done in [pool.submit(self._send, *part) for part in parts]:
                done.result()

    def _send(self, x: Tensor, keys: list[Key]) -> None:
        """Ask about the inputs x (n, *shape); what is answered is kept. Some may be left without an answer."""
        rows = [self._row(one) for one in x]
        body = self.protocol.body(rows, tuple(x.shape[1:]))
        try:
            self.transport.post(body, self.protocol.headers(body), len(x), self.spending, partial(self._keep, keys))
        except SpentError as error:
            self.failure, self.spent, self.silent = str(error), True, True
        except UnansweredError as error:
            self.failure = str(error)
        except (RefusedError, NotTakenError) as error:
            if len(x) > 1:  # one of them may be the reason
                self._alone = self._alone or isinstance(error, NotTakenError)
                for i, key in enumerate(keys):
                    self._send(x[i : i + 1], [key])
            elif isinstance(error, RefusedError):
                self.answers.keep({keys[0]: json.dumps({REFUSED: int(str(error))}).encode()})
            else:
                self.failure = str(error)

    def _keep(self, keys: list[Key], content: bytes) -> bool:
        """Keep the answers in a reply. Says whether they are refusals."""
        address = self.transport.address
        answers = self.protocol.split(content, len(keys), address.shown, address.secrets)
        self.answers.keep(dict(zip(keys, answers, strict=True)))
        return all(is_refusal(answer, address.shown) for answer in answers)


def _vary(scores: Tensor) -> bool:
    """Whether answers (n, C) to one input differ by more than rounding."""
    answered = scores[~scores.isnan().any(1)]
    if len(answered) < 2:
        return False
    telling_ones = answered[:, (answered > FAR).any(0)]
    return bool((telling_ones - telling_ones[0]).abs().max() > SAME * telling_ones[0].abs().max())
