"""The one exception for what a user can mend, and what a stage exits with."""

DONE = 0
FAILED = 1
BAD_INPUT = 2


class UserError(Exception):
    """Bad input or config: one line that says what, where, what is allowed and what to do.

    A stage that raises it exits with `BAD_INPUT` and prints the line without a traceback.
    """
