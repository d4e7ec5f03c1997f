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
from functools import partial
from threading import Lock
from typing import Any
from urllib.parse import urljoin, urlsplit

from blindspots.errors import InputError
from blindspots.models.endpoints.secrets import bare, cleaned
from blindspots.models.endpoints.spending import Sending, Spending

PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})  # statuses that another attempt may not meet
TOO_MUCH = frozenset({400, 413, 422})  # statuses that fewer inputs may not meet
_LONGEST_WAIT = 60.0  # seconds
_MOVED = frozenset({301, 302, 303, 307, 308})
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


class Transport:
    """A pool of connections to one service."""

    def __init__(self, address: Address, pace: Pace) -> None:
        self.address, self.pace, self._lock, self._next = address, pace, Lock(), 0.0
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
            reply = self._tried(partial(self.client.get, url, headers=dict(self.address.headers)), Sending())
            if not isinstance(reply, str) and reply.status_code not in PASSING:
                return None if reply.status_code in (404, 405, 501) else self._content(reply)
            why = self._unanswered(reply)
            if attempt < self.pace.retries:
                time.sleep(self._pause(attempt, url.encode(), reply))
        raise UnansweredError(why)

    def post(self, body: bytes, kind: str, inputs: int, spending: Spending, keep: Callable[[bytes], bool]) -> None:
        """Send a request about so many inputs; `keep` is given the answer, and says whether it is a refusal.

        Raises:
            SpentError: it may not be sent any more.
            RefusedError, UnansweredError, NotTakenError: there is no answer.
            InputError: what came cannot be an answer.
        """
        headers, why = {"Content-Type": kind, **self.address.headers}, "the time is up"
        for attempt in range(self.pace.retries + 1):
            self._take_turn()
            with spending.sending(inputs, again=attempt > 0) as sending:
                left = min(self.pace.timeout, max(0.01, spending.deadline - time.monotonic()))
                reply = self._tried(partial(self._followed, body, headers, left), sending)
                if not isinstance(reply, str):
                    sending.outcome = "failed"
                    if reply.status_code in self.address.refuses:
                        sending.outcome = "refused"
                        raise RefusedError(str(reply.status_code))
                    if reply.status_code not in PASSING:
                        content = self._content(reply)
                        sending.outcome = "answered"  # whatever it says
                        sending.outcome = "refused" if keep(content) else "answered"
                        return
            why = self._unanswered(reply)
            pause = self._pause(attempt, body, reply)
            if attempt == self.pace.retries or time.monotonic() + pause > spending.deadline:
                break
            time.sleep(pause)
        raise UnansweredError(why)

    def close(self) -> None:
        """Until the next request."""
        if self._client is not None:
            self._client.close()
            self._client = None

    # -------------------------------------------------------------- one attempt

    def _tried(self, send: Callable[[], Any], sending: Sending) -> Any:
        """The response, or in words why there is none."""
        http = _library()
        try:
            return send()
        except (http.ConnectError, http.ConnectTimeout, http.PoolTimeout) as error:
            sending.outcome = "unsent"
            self._refuse_certificate(error)
            return self._cleaned(f"{type(error).__name__}: {error}")
        except http.TimeoutException:
            return f"no answer within {self.pace.timeout:g} s"
        except (http.TransportError, http.DecodingError) as error:
            return self._cleaned(f"{type(error).__name__}: {error}")
        except (http.HTTPError, http.InvalidURL) as error:
            raise InputError(self._cleaned(f"expected to reach {self.address.shown}, got {error}")) from None

    def _followed(self, body: bytes, headers: Mapping[str, str], timeout: float) -> Any:
        """The response, after redirects that stay on the same host."""
        url, hops = self.address.url, 0
        while True:
            reply = self.client.post(url, content=body, headers=dict(headers), timeout=timeout)
            target, hops = self._target(url, reply), hops + 1
            if reply.status_code not in (307, 308) or not _same_origin(url, target) or hops > _HOPS:
                return reply
            url = target

    def _target(self, url: str, reply: Any) -> str:
        return urljoin(url, str(reply.headers.get("Location", "")))

    def _refuse_certificate(self, error: Exception) -> None:
        """Another attempt would not help."""
        if "CERTIFICATE" in str(error).upper() or "SSL" in str(error).upper():
            said = self._cleaned(" ".join(str(error).split()))
            raise InputError(
                f"expected a secure connection that this machine trusts to {self.address.shown}, got {said}: check the "
                "address, or add its authority to the system's trust store"
            ) from None

    def _content(self, reply: Any) -> bytes:
        """Of a response that is an answer. Raises InputError: it is not."""
        status, shown = reply.status_code, self.address.shown
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
        if status != 200:
            raise InputError(
                f"expected answers from {shown}, got status {status}, {self._words(reply.content)}: check the address"
            )
        content: bytes = reply.content
        if content.lstrip()[:1] == b"<":
            raise InputError(
                f"expected JSON from {shown}, got a page that begins {self._words(content)}: check the address"
            )
        return content

    def _words(self, content: bytes) -> str:
        return first_words(content, self.address.secrets)

    def _unanswered(self, reply: Any) -> str:
        said = reply if isinstance(reply, str) else f"status {reply.status_code}"
        return f"expected an answer from {self.address.shown}, got {said}, however often it was asked: try again later"

    def _cleaned(self, text: str) -> str:
        return cleaned(text, self.address.secrets)

    # -------------------------------------------------------------- pace

    def _take_turn(self) -> None:
        """Wait until the rate allows another request."""
        if self.pace.rate is None:
            return
        with self._lock:
            now = time.monotonic()
            begin = max(now, self._next)
            self._next = begin + 1 / self.pace.rate
        time.sleep(begin - now)

    def _pause(self, attempt: int, body: bytes, reply: Any) -> float:
        """Seconds until the next attempt: as long as the service says, else doubled each time, with jitter."""
        told = None if isinstance(reply, str) else retry_after(reply.headers.get("Retry-After"))
        digest = hashlib.sha256(body + bytes([attempt])).digest()
        jitter = 1 - int.from_bytes(digest[:4], "big") / 2**33
        return min(_LONGEST_WAIT, max(told or 0.0, self.pace.wait * float(2**attempt) * jitter))


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
