from typing import Any


def checks(config: Any, verdict: Any, parts: Any, world: Any) -> Any:
    yield from ()
