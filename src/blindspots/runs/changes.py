"""What differs between a run that was begun and the one that is asked for, in words."""

import re
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import Any

_LONGEST = 60  # characters of a value in a sentence


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """ "the seed changed from 0 to 1", "the data changed (rows: 500 then, 400 now)": what differs, in words."""
    for group in ("kind", "made_by", "config", "world"):
        old, new = before[group], now[group]
        if group == "kind" and old != new:
            yield f"it is a run of `blindspots {old}`, not of `blindspots {new}`"
        elif group != "kind":
            for name in {**old, **new}:
                yield from _change(name, old.get(name), new.get(name))


def _change(name: str, old: Any, new: Any) -> Iterator[str]:
    if old == new:
        return
    parts = list(_parts(old, new))
    called = f"version of {name}" if name in ("blindspots", "torch", "python") else name.replace("_", " ")
    if parts:
        yield f"the {called} changed ({', '.join(parts)})"
    else:
        yield f"the {called} changed from {_brief(old)} to {_brief(new)}"


def _parts(old: Any, new: Any, at: str = "") -> Iterator[str]:
    """The entries of two records or two lists that differ; nothing where they are neither."""
    if isinstance(old, dict) and isinstance(new, dict):
        pairs = [(str(k).replace("_", " "), old.get(k), new.get(k)) for k in {**old, **new}]
    elif isinstance(old, list) and isinstance(new, list):
        pairs = [(str(i), a, b) for i, (a, b) in enumerate(zip_longest(old, new), 1)]
    else:
        return
    for name, a, b in pairs:
        if a != b:
            here = f"{at} {name}".strip()
            yield from list(_parts(a, b, here)) or [f"{here}: {_brief(a)} then, {_brief(b)} now"]


def _brief(value: Any) -> str:
    """A value in a sentence: digests by their beginning, what is long by both of its ends."""
    if isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value):
        return f"{value[:8]}…"
    text = "none" if value is None else value if isinstance(value, str) else f"{value}"
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]} … {text[-_LONGEST // 2 :]}"
