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


def sentence_of(error: BaseException, log: str = "") -> str:
    """What went wrong as a sentence for the person, whatever raised it.

    Parameters
    ----------
    error
        What was raised.
    log
        Where the details are, such as ``J3-train/log.txt has the details``.
    """
    if isinstance(error, InputError):
        return str(error)
    kind = type(error).__name__
    if isinstance(error, MemoryError) or kind == "OutOfMemoryError" or "out of memory" in str(error):
        return f"Out of memory ({error}). Use a smaller training box, fewer particles, or another device."
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    where = f" {log}." if log else ""
    return f"This is a fault of the program, not of your data ({kind}: {error}).{where}"
