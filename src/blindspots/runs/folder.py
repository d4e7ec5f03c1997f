"""Where files of a run lie: a mapping from names to bytes, in memory a dict, on a disk a `Folder`."""

from collections.abc import Iterator, MutableMapping
from pathlib import Path

from blindspots.errors import InputError
from blindspots.files import make_folder, write_whole

Files = MutableMapping[str, bytes]


class Folder(MutableMapping[str, bytes]):
    """Files below a path. Each holds what it held before or all of its new bytes, also when the power fails."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __getitem__(self, name: str) -> bytes:
        try:
            return self._at(name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            raise KeyError(name) from None

    def __setitem__(self, name: str, content: bytes) -> None:
        path = self._at(name)
        make_folder(path.parent)
        write_whole(path, content)

    def __delitem__(self, name: str) -> None:
        try:
            self._at(name).unlink()
        except FileNotFoundError:
            raise KeyError(name) from None

    def __iter__(self) -> Iterator[str]:
        return (p.relative_to(self.path).as_posix() for p in sorted(self.path.rglob("*")) if p.is_file())

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._at(name).is_file()

    def _at(self, name: str) -> Path:
        """Whatever run.json says, inside the folder."""
        if any(word in ("", ".", "..") for word in name.split("/")):
            raise InputError(f"expected the name of a file inside {self.path}, got {name!r}: the run was changed")
        return self.path / name
