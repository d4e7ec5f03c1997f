"""Secrets come from the environment, and whatever is said or written is cleaned of them."""

import base64
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from blindspots.errors import InputError

TOKEN = "BLINDSPOTS_TOKEN"
_SLOT = re.compile(r"\$\{(\w+)\}")
_HEADER = re.compile(r"[!#$%&'*+.^`|~\w-]+", re.ASCII)  # a token of RFC 9110
_SHORTEST = 4  # characters; what is shorter would be found in every sentence


def filled(text: str, where: str, form: Callable[[str], str] = str) -> tuple[str, set[str]]:
    """`text` with every ${NAME} from the environment, and what was filled in.

    Args:
        form: how a value is written there.

    Raises:
        InputError: one is not set.
    """
    names = _SLOT.findall(text)
    if missing := [name for name in names if not variable(name)]:
        raise InputError(
            f"expected the environment variable {missing[0]} for {where}, which is not set: export {missing[0]}=..."
        )
    return _SLOT.sub(lambda slot: form(variable(slot[1])), text), set(map(variable, names))


def in_json(text: str) -> str:
    """As it stands between quotes in JSON."""
    return json.dumps(text)[1:-1]


def filled_url(url: str, where: str) -> tuple[str, set[str]]:
    """The same of an address, where signs of a value with a meaning there are escaped, but for / and : before a query.

    Raises:
        InputError: one is not set, or it is no address then.
    """
    head, mark, query = url.partition("?")
    (head, found), (query, more) = filled(head, where, partial(quote, safe="/:")), filled(query, where, quote_all)
    made = head + mark + query
    if not _is_web(made):
        raise InputError(f"expected an address such as http://host:8000/... as the {where}, got none: mend it")
    return made, found | more


def quote_all(text: str) -> str:
    """As it stands in the query of an address."""
    return quote(text, safe="")


def variable(name: str) -> str:
    """The value of an environment variable without space around it, as files leave it; "" where it is not set."""
    return os.environ.get(name, "").strip()


def checked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Raises InputError: one of them cannot be sent, which is said without repeating it."""
    for name, value in headers.items():
        if not _HEADER.fullmatch(name) or not value.isprintable() or not value.isascii():
            raise InputError(
                f"expected a header of plain ASCII on one line for {name!r}, got other characters in it: check the "
                "token, which may have a line break, an accent or a dash from a word processor in it"
            )
    return dict(headers)


def cleaned(text: str, secrets: Iterable[str]) -> str:
    """`text` with *** in the place of every secret, as it is or as it stands in an address."""
    forms = {form for secret in secrets for form in (secret, quote(secret), quote_all(secret), in_json(secret))}
    for form in sorted(forms, key=len, reverse=True):
        if len(form) >= _SHORTEST:
            text = text.replace(form, "***")
    return text


def secrets_in(url: str) -> set[str]:
    """What a file may say in an address without naming a variable."""
    parts = urlsplit(url)
    values = {value for _, value in parse_qsl(parts.query)} | {
        part.partition("=")[2] for part in parts.query.split("&")
    }
    user = parts.netloc.rpartition("@")[0]
    basic = base64.b64encode(unquote(user).encode()).decode()
    return {word for word in (parts.username, parts.password, user and basic, *values) if word}


def bare(url: str) -> str:
    """An address without user, password, query and fragment: what may be shown."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def checked_url(url: str, spec: str) -> str:
    """Raises InputError: no address of a web service, or one with a secret in it, which run.json would show."""
    if not _is_web(url):
        shown = url.partition("?")[0].rpartition("@")[2]
        raise InputError(
            f"expected an address such as {spec}:http://host:8000/..., got {shown!r}: name the service in full"
        )
    parts = urlsplit(url)
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise InputError(
            f"expected the address of {parts.hostname} without user, password, query and fragment, which run.json and "
            f"reports would show: put them into the environment, {TOKEN}=... for a bearer token, or into a "
            "template:FILE.toml that names variables"
        )
    return url.rstrip("/")


def _is_web(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
