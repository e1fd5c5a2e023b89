"""Numbers as programs in Fortran write them, too: an exponent may begin with D."""

import re

NUMBER = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))[dD]([+-]?\d+)")


def to_float(word: str) -> float:
    """Return a number, ``1.0D-02`` as well as ``1.0e-2``; ``ValueError`` for a word that is none."""
    fortran = NUMBER.fullmatch(word)
    return float(f"{fortran[1]}e{fortran[2]}" if fortran else word)
