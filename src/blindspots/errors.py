"""The one exception for bad input: a sentence that says what was expected, what came and what to do."""


class InputError(ValueError):
    """Something the user gave cannot be used. The command line prints it and exits with 2."""
