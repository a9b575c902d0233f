"""The exception for bad input, and exit codes of stages."""

FAILED = 1
BAD_INPUT = 2


class UserError(Exception):
    """Bad input or config: one line that says what, where, what is allowed and what to do.

    A stage that raises it exits with `BAD_INPUT` and prints the line without a traceback. As text
    it is one line whatever stands in it: names of files and keys may hold line breaks.
    """

    def __str__(self) -> str:
        return one_line(super().__str__())


def one_line(text: str) -> str:
    """Return `text` for a message: line breaks and other control characters as escapes."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
