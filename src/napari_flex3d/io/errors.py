"""What is wrong with a person's input, in words: what was found, what is needed, what to do."""


class InputError(ValueError):
    """Input that cannot be used; the message names file, row or field, what was found and what is needed."""


class Question(InputError):
    """Input that leaves something open that only a person can say.

    Parameters
    ----------
    text
        The question.
    flag
        The command-line flag that answers it, such as ``--voltage``.
    """

    def __init__(self, text: str, flag: str) -> None:
        super().__init__(f"{text} Answer with {flag}.")
        self.flag = flag


class InputWarning(UserWarning):
    """Input that can be used, with something that its owner should know."""
