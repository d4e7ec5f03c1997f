"""Secrets come from the environment, and whatever is said or written is cleaned of them."""

import os
import re
from collections.abc import Iterable
from urllib.parse import quote, urlsplit

from blindspots.errors import InputError

TOKEN = "BLINDSPOTS_TOKEN"
_SLOT = re.compile(r"\$\{(\w+)\}")
_SHORTEST = 4  # characters; what is shorter would be found in every sentence


def filled(text: str, where: str) -> tuple[str, set[str]]:
    """`text` with every ${NAME} from the environment, and what was filled in. Raises InputError: it is not set."""
    names = _SLOT.findall(text)
    if missing := [name for name in names if not os.environ.get(name)]:
        raise InputError(
            f"expected the environment variable {missing[0]} for {where}, which is not set: export {missing[0]}=..."
        )
    return _SLOT.sub(lambda slot: os.environ[slot[1]], text), {os.environ[name] for name in names}


def cleaned(text: str, secrets: Iterable[str]) -> str:
    """`text` with *** in the place of every secret, as it is or as it stands in an address."""
    forms = {form for secret in secrets for form in (secret, quote(secret), quote(secret, safe=""))}
    for form in sorted(forms, key=len, reverse=True):
        if len(form) >= _SHORTEST:
            text = text.replace(form, "***")
    return text


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
