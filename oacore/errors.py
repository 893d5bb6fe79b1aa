"""The one error a user's input can cause."""


class InputError(ValueError):
    """Input that cannot be used: the message names the file, the row and the cure."""
