def checks(config, verdict, parts, world):
    yield from ()
