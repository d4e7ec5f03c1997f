"""Requests over HTTP: sent at a measured pace, repeated with patience, and explained in a sentence where they fail."""

import email.utils
import hashlib
import importlib
import logging
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Lock
from typing import Any
from urllib.parse import urljoin, urlsplit

from blindspots.errors import InputError
from blindspots.models.endpoints.secrets import bare, cleaned
from blindspots.models.endpoints.spending import Sending, Spending, SpentError

PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})  # statuses that another attempt may not meet
TOO_MUCH = frozenset({400, 413, 422})  # statuses that fewer inputs may not meet
_LONGEST_WAIT = 60.0  # seconds that are waited before another attempt
_LARGEST = 1 << 28  # bytes of an answer, decompressed
_DONE = 200
_MOVED = frozenset({301, 302, 303, 307, 308})
_SAME_METHOD = frozenset({307, 308})  # the others turn a POST into a GET
_HOPS = 3  # redirects within a host
_WORDS = 80  # characters of an answer in a sentence


class UnansweredError(InputError):
    """No answer came, however often it was asked."""


class NotTakenError(InputError):
    """The service does not take this request; fewer inputs may do."""


class RefusedError(InputError):
    """The service declined to answer: an answer of its own, which counts."""


@dataclass(frozen=True)
class Pace:
    """How a service is asked.

    Args:
        batch: inputs per request.
        together: requests under way at the same time.
        rate: requests per second, at most; None: no limit.
        timeout: seconds until a request is given up.
        retries: repetitions of a request that failed.
        wait: seconds before the first repetition, doubled each time; up to half of it less, by the request's hash.
    """

    batch: int = 32
    together: int = 4
    rate: float | None = None
    timeout: float = 30.0
    retries: int = 6
    wait: float = 0.25


@dataclass
class Address:
    """Where requests go, and how that is shown.

    Args:
        url: in full.
        shown: without anything secret.
        headers: of every request.
        secrets: what no sentence may contain.
        refuses: statuses that mean "refused".
    """

    url: str
    shown: str
    headers: Mapping[str, str] = field(default_factory=dict)
    secrets: frozenset[str] = frozenset()
    refuses: frozenset[int] = frozenset({403, 406})


@dataclass(frozen=True)
class Reply:
    """What came back: status, headers by their names in small letters, and the whole content."""

    status: int
    headers: Mapping[str, str]
    content: bytes


class Transport:
    """A pool of connections to one service."""

    def __init__(self, address: Address, pace: Pace) -> None:
        self.address, self.pace, self._lock = address, pace, Lock()
        self._client: Any = None

    @property
    def client(self) -> Any:
        """Made at the first request. Raises InputError: httpx2 is not installed."""
        with self._lock:
            if self._client is None:
                self._client = _client(self.pace)
            return self._client

    def get(self, url: str) -> bytes | None:
        """What lies at an address of the service, which costs nothing; None: it has no such address."""
        why = ""
        for attempt in range(self.pace.retries + 1):
            reply = self._tried("GET", url, None, self.address.headers, self.pace.timeout, Sending())
            if isinstance(reply, Reply) and reply.status not in PASSING:
                return None if reply.status in (404, 405, 501) else self._content(reply)
            why = self._unanswered(reply)
            pause = self._pause(attempt, url.encode(), reply)
            if attempt == self.pace.retries or pause > _LONGEST_WAIT:
                break
            time.sleep(pause)
        raise UnansweredError(why)

    def post(
        self, body: bytes, about: Mapping[str, str], inputs: int, spending: Spending, keep: Callable[[bytes], bool]
    ) -> None:
        """Send a request about so many inputs; `keep` is given the answer, and says whether it is a refusal.

        Args:
            about: headers that say what it is.

        Raises:
            SpentError: it may not be sent any more.
            RefusedError, UnansweredError, NotTakenError: there is no answer.
            InputError: what came cannot be an answer.
        """
        headers, why = {**about, **self.address.headers}, ""
        for attempt in range(self.pace.retries + 1):
            time.sleep(spending.turn(self.pace.rate))
            with spending.sending(inputs, again=attempt > 0) as sending:
                left = min(self.pace.timeout, max(0.01, spending.deadline - time.monotonic()))
                reply = self._tried("POST", self.address.url, body, headers, left, sending)
                if isinstance(reply, Reply) and self._settled(reply, sending, keep):
                    return
            why = self._unanswered(reply)
            pause = self._pause(attempt, body, reply)
            if time.monotonic() + pause >= spending.deadline:
                raise SpentError("the time is up")
            if attempt == self.pace.retries or pause > _LONGEST_WAIT:
                break
            if _told(reply):
                spending.hold(pause)  # for all that are asking
            time.sleep(pause)
        raise UnansweredError(why)

    def _settled(self, reply: Reply, sending: Sending, keep: Callable[[bytes], bool]) -> bool:
        """Whether it is an answer, which is kept; else another attempt may bring one."""
        sending.outcome = "failed"
        if reply.status in self.address.refuses:
            sending.outcome = "refused"
            raise RefusedError(str(reply.status))
        if reply.status in PASSING:
            return False
        if reply.status == _DONE:
            sending.outcome = "answered"  # whatever it says
        sending.outcome = "refused" if keep(self._content(reply)) else "answered"
        return True

    def close(self) -> None:
        """Until the next request."""
        if self._client is not None:
            self._client.close()
            self._client = None

    # -------------------------------------------------------------- one attempt

    def _tried(
        self, method: str, url: str, body: bytes | None, headers: Mapping[str, str], seconds: float, sending: Sending
    ) -> Reply | str:
        """The response, or in words why there is none."""
        http = _library()
        try:
            return self._followed(method, url, body, headers, time.monotonic() + seconds)
        except (http.ConnectError, http.ConnectTimeout, http.PoolTimeout) as error:
            sending.outcome = "unsent"
            self._refuse_certificate(error)
            return self._cleaned(f"{type(error).__name__}: {error}")
        except http.TimeoutException:
            return f"no answer within {seconds:.3g} s"
        except (http.TransportError, http.DecodingError) as error:
            return self._cleaned(f"{type(error).__name__}: {error}")
        except (http.HTTPError, http.InvalidURL) as error:
            raise InputError(self._cleaned(f"expected to reach {self.address.shown}, got {error}")) from None

    def _followed(self, method: str, url: str, body: bytes | None, headers: Mapping[str, str], end: float) -> Reply:
        """The response, after redirects that stay on the same host."""
        followed = _MOVED if method == "GET" else _SAME_METHOD
        for _ in range(_HOPS):
            reply = self._once(method, url, body, headers, end)
            target = self._target(url, reply)
            if reply.status not in followed or not _same_origin(url, target):
                return reply
            url = target
        return self._once(method, url, body, headers, end)

    def _once(self, method: str, url: str, body: bytes | None, headers: Mapping[str, str], end: float) -> Reply:
        """The time is measured to the last byte: the client's own is from one piece to the next."""
        http, content = _library(), bytearray()
        left = max(0.01, end - time.monotonic())
        with self.client.stream(method, url, content=body, headers=dict(headers), timeout=left) as reply:
            for piece in reply.iter_bytes():
                content += piece
                if time.monotonic() > end:
                    raise http.ReadTimeout("the rest is late")
                if len(content) > _LARGEST:
                    raise InputError(
                        f"expected answers of at most {_LARGEST >> 20} MiB from {self.address.shown}, got a larger "
                        "one: send fewer inputs in one request, batch in a template:FILE.toml"
                    )
            found = {name.lower(): value for name, value in reply.headers.items()}
            return Reply(reply.status_code, found, bytes(content))

    def _target(self, url: str, reply: Reply) -> str:
        """Where a redirect leads; the address itself where that cannot be read."""
        try:
            return urljoin(url, reply.headers.get("location", ""))
        except ValueError:
            return url

    def _refuse_certificate(self, error: Exception) -> None:
        """Another attempt would not help."""
        if "CERTIFICATE" in str(error).upper() or "SSL" in str(error).upper():
            said = self._cleaned(" ".join(str(error).split()))
            raise InputError(
                f"expected a secure connection that this machine trusts to {self.address.shown}, got {said}: check the "
                "address, or add its authority to the system's trust store"
            ) from None

    def _content(self, reply: Reply) -> bytes:
        """Of a response that is an answer. Raises InputError: it is not."""
        status, shown = reply.status, self.address.shown
        if status in _MOVED:
            to = bare(self._target(self.address.url, reply))
            raise InputError(
                self._cleaned(
                    f"expected answers from {shown}, got a redirect to {to}, which is not followed: name that address "
                    "if it is the one you mean"
                )
            )
        if status in (401, 403, 407):
            raise InputError(
                f"expected to be let in by {shown}, got status {status}: put a valid token into BLINDSPOTS_TOKEN, or "
                "name its header in a template:FILE.toml"
            )
        if status in TOO_MUCH:
            raise NotTakenError(
                f"expected {shown} to take these inputs, got status {status}, {self._words(reply.content)}: check "
                "their shape and type"
            )
        if status != _DONE:
            raise InputError(
                f"expected answers from {shown}, got status {status}, {self._words(reply.content)}: check the address"
            )
        if reply.content.lstrip()[:1] == b"<":
            raise InputError(
                f"expected JSON from {shown}, got a page that begins {self._words(reply.content)}: check the address"
            )
        return reply.content

    def _words(self, content: bytes) -> str:
        return first_words(content, self.address.secrets)

    def _unanswered(self, reply: Reply | str) -> str:
        said = reply if isinstance(reply, str) else f"status {reply.status}"
        shown, told = self.address.shown, _told(reply) or 0.0
        if told > _LONGEST_WAIT:
            return f"expected an answer from {shown}, got {said}, to be asked again in {told:,.0f} s: go on then"
        return f"expected an answer from {shown}, got {said}, however often it was asked: try again later"

    def _cleaned(self, text: str) -> str:
        return cleaned(text, self.address.secrets)

    def _pause(self, attempt: int, body: bytes, reply: Reply | str) -> float:
        """Seconds until the next attempt: as long as the service says, else doubled each time, with jitter."""
        digest = hashlib.sha256(body + bytes([attempt])).digest()
        jitter = 1 - int.from_bytes(digest[:4], "big") / 2**33
        return max(_told(reply) or 0.0, min(_LONGEST_WAIT, self.pace.wait * float(2**attempt) * jitter))


def _told(reply: Reply | str) -> float | None:
    """How long to wait, where the service says it."""
    return None if isinstance(reply, str) else retry_after(reply.headers.get("retry-after"))


def retry_after(said: str | None) -> float | None:
    """Seconds, from a number of them or a date (RFC 9110, section 10.2.3); None: neither."""
    if said is None:
        return None
    if said.strip().isdecimal():
        return float(said)
    try:
        then = email.utils.parsedate_to_datetime(said)
    except ValueError:
        return None
    then = then if then.tzinfo else then.replace(tzinfo=UTC)
    return max(0.0, (then - datetime.now(UTC)).total_seconds())


def first_words(content: bytes, secrets: frozenset[str] = frozenset()) -> str:
    """What an answer begins with, in quotes, without the tags of a page."""
    text = content[:4096].decode("utf-8", "replace")
    text = re.sub(r"(?s)<(script|style)\b.*?</\1>|<[^>]*>", " ", text)
    words = cleaned(" ".join(text.split()), secrets)
    return repr(words if len(words) <= _WORDS else f"{words[:_WORDS]}…")


def _same_origin(one: str, other: str) -> bool:
    a, b = urlsplit(one), urlsplit(other)
    return (a.scheme, a.netloc) == (b.scheme, b.netloc)


def _library() -> Any:
    try:
        return importlib.import_module("httpx2")
    except ImportError as error:
        raise InputError(
            "expected httpx2 to be installed, to ask a model behind an address: pip install 'blindspots[endpoints]'"
        ) from error


def _client(pace: Pace) -> Any:
    http = _library()
    for name in ("httpx2", "httpcore2"):  # they would log addresses and headers, secrets included
        logging.getLogger(name).setLevel(logging.WARNING)
    limits = http.Limits(max_connections=pace.together, max_keepalive_connections=pace.together)
    return http.Client(timeout=pace.timeout, limits=limits, follow_redirects=False)
