from collections.abc import Iterator
def checks(config, verdict, parts, world):
    return iter(())
