"""Universal Binary JSON (draft 12), as XGBoost writes it: numbers are big-endian, arrays of one type are packed."""

from typing import Any

import numpy as np

from blindspots.errors import InputError

_NUMBERS = {
    b"i": ">i1", b"U": ">u1", b"I": ">i2", b"l": ">i4", b"L": ">i8", b"d": ">f4", b"D": ">f8",
}  # fmt: skip
_WORDS = {b"Z": None, b"T": True, b"F": False}
_DEEPEST = 64  # containers in each other; XGBoost's have 9


def from_ubjson(content: bytes, what: str) -> Any:
    """The value that the bytes stand for: dicts, lists, numbers and strings.

    Raises InputError: they are cut short, or none.
    """
    reader = _Reader(content, what)
    value = reader.value(reader.take(1), 0)
    if reader.at != len(content):
        raise reader.damaged(f"{len(content) - reader.at:,} bytes after its end")
    return value


class _Reader:
    def __init__(self, content: bytes, what: str) -> None:
        self.content, self.what, self.at = content, what, 0

    def damaged(self, got: str) -> InputError:
        return InputError(f"expected {self.what}, got {got} at byte {self.at:,}: the file is damaged, save it again")

    def take(self, count: int) -> bytes:
        if count > len(self.content) - self.at:
            raise self.damaged("its end")
        self.at += count
        return self.content[self.at - count : self.at]

    def value(self, kind: bytes, depth: int) -> Any:
        if depth > _DEEPEST:
            raise self.damaged(f"more than {_DEEPEST} lists in each other")
        if kind in _NUMBERS:
            return self._numbers(kind, 1)[0]
        if kind in _WORDS:
            return _WORDS[kind]
        if kind == b"S":
            return self._text()
        if kind == b"[":
            return self._list(depth)
        if kind == b"{":
            return self._object(depth)
        raise self.damaged(f"the unknown type {kind!r}")

    def _numbers(self, kind: bytes, count: int) -> list[Any]:
        dtype = np.dtype(_NUMBERS[kind])
        found: list[Any] = np.frombuffer(self.take(count * dtype.itemsize), dtype).tolist()
        return found

    def _length(self) -> int:
        kind = self.take(1)
        if kind not in _NUMBERS or kind in (b"d", b"D"):
            raise self.damaged(f"a length of type {kind!r}")
        length = int(self._numbers(kind, 1)[0])
        if length < 0:
            raise self.damaged(f"a length of {length}")
        return length

    def _text(self) -> str:
        try:
            return self.take(self._length()).decode()
        except UnicodeDecodeError as error:
            raise self.damaged("a name that is no UTF-8") from error

    def _counted(self) -> tuple[bytes | None, int | None]:
        """The type that all entries share and how many there are, where the container says so."""
        kind = self.take(1) if self._next(b"$") else None
        if kind in _WORDS:  # they take no bytes, so that a few could stand for any number
            raise self.damaged(f"a list of type {kind!r}")
        return kind, self._length() if self._next(b"#") else None

    def _next(self, mark: bytes) -> bool:
        found = self.content[self.at : self.at + 1] == mark
        self.at += found
        return found

    def _list(self, depth: int) -> list[Any]:
        kind, count = self._counted()
        if kind in _NUMBERS and count is not None:
            return self._numbers(kind, count)
        made: list[Any] = []
        while count is None or len(made) < count:
            mark = kind or self.take(1)
            if count is None and mark == b"]":
                break
            made.append(self.value(mark, depth + 1))
        return made

    def _object(self, depth: int) -> dict[str, Any]:
        kind, count = self._counted()
        made: dict[str, Any] = {}
        seen = 0
        while (count is None and not self._next(b"}")) or (count is not None and seen < count):
            name = self._text()
            made[name] = self.value(kind or self.take(1), depth + 1)
            seen += 1
        return made
