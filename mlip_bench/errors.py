"""The exceptions that users see as a sentence instead of a traceback."""

import difflib
import errno
from collections.abc import Iterable


class UserError(Exception):
    """Something the user gave cannot be used; the message says what, where and what to do.

    The command line prints the message on one line and exits with code 2.
    """


class NotFinite(UserError):
    """A potential predicted a number that is NaN or infinite."""


class LammpsError(Exception):
    """LAMMPS stopped with an error of its own; the message is LAMMPS's."""


def is_disk_full(error: OSError) -> bool:
    """Tell whether an error means that no more can be written: disk, quota, or limit of file size."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `` (did you mean 'x'?)`` for the nearest known name, or the list of names."""
    names = sorted(known)
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if not near:
        folded = {name.casefold(): name for name in names}
        near = [folded[n] for n in difflib.get_close_matches(word.casefold(), folded, n=1, cutoff=0.6)]
    if near:
        return f" (did you mean '{near[0]}'?)"
    return f" (known: {', '.join(names)})"
