"""SHA-256 seals: a file that holds its own digest shows by itself whether it is as it was written."""

import hashlib
import re

ZEROS = "0" * 64
_SEAL = re.compile(rb'"seal": ?"([0-9a-f]{64})"')


def sha256(content: bytes) -> str:
    """In hex."""
    return hashlib.sha256(content).hexdigest()


def sealed(content: bytes) -> bytes:
    """The file with its own SHA-256 in the place of its last seal. It is intact if sealing it changes nothing."""
    found = list(_SEAL.finditer(content))
    if not found:
        return content + b" "  # never intact
    a, b = found[-1].span(1)
    bare = content[:a] + ZEROS.encode() + content[b:]
    return content[:a] + sha256(bare).encode() + content[b:]


def sealed_part(content: bytes, run: str, name: str) -> bytes:
    """The same for a safetensors file, in its header alone, so that no bytes of a tensor are taken for the seal.

    `run` and `name` are hashed, too: no file of another run is taken for a part of this one.
    """
    end = 8 + int.from_bytes(content[:8], "little")
    head = content[:end]
    found = _SEAL.search(head)
    if not found:
        return content + b" "  # never intact
    a, b = found.span(1)
    digest = hashlib.sha256(f"{run} {name}".encode() + content[:a] + ZEROS.encode())
    digest.update(memoryview(content)[b:])
    return content[:a] + digest.hexdigest().encode() + content[b:]
