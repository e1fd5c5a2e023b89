"""Reading LAMMPS's input: its commands with the values of variables put in, and its words."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from mlip_bench.errors import UserError
from mlip_bench.lammps.loading import quiet_instance


def commands(path: Path, strict: bool = True) -> Iterator[list[str]]:
    """Yield the words of each command with its variables put in; ``strict`` refuses what it does not know."""
    variables: dict[str, str] = {}
    for line in _joined_lines(path):
        filled = _filled(path, line, variables, strict)
        words = words_of(filled)
        if not words:
            continue
        if words[0] != "variable":
            yield words
        elif strict or len(words) > 3:
            _set(path, words[1:], variables, strict)


def _joined_lines(path: Path) -> list[str]:
    """Return the lines of LAMMPS input, those that end in ``&`` joined with the next, without comments."""
    joined = re.sub(r"&[ \t\r]*\n", " ", text_of(path))
    return [
        re.split(r"#(?=(?:[^\"']|\"[^\"]*\"|'[^']*')*$)", line, maxsplit=1)[0] for line in joined.splitlines()
    ]


def _set(path: Path, words: Sequence[str], variables: dict[str, str], strict: bool) -> None:
    """Take a variable of style index, string or equal; an index that is set already keeps its value."""
    if len(words) < 3:
        raise UserError(f"{path}: 'variable {' '.join(words)}' is not a name, a style and a value")
    name, style, *values = words
    if style == "index":
        variables.setdefault(name, values[0])
    elif style == "string" or (style == "equal" and all(is_number(value) for value in values[:1])):
        variables[name] = values[0]
    elif style == "equal" and strict:
        variables[name] = _evaluated(path, "".join(values), variables)
    elif strict:
        raise UserError(
            f"{path}: 'variable {name} {style}' is not supported, only index, string and equal are"
        )


def _filled(path: Path, line: str, variables: dict[str, str], strict: bool) -> str:
    """Put the values of ``$x``, ``${name}`` and ``$(formula)`` into a line."""

    def value(found: re.Match[str]) -> str:
        if found["formula"] is not None:
            return _evaluated(path, found["formula"], variables) if strict else found[0]
        name = found["name"] or found["letter"]
        if name in variables:
            return variables[name]
        if strict:
            raise UserError(f"{path}: the variable '{name}' has no value before it is used")
        return found[0]

    return re.sub(r"\$(?:\{(?P<name>\w+)\}|\((?P<formula>[^()]*)\)|(?P<letter>\w))", value, line)


def _evaluated(path: Path, formula: str, variables: dict[str, str]) -> str:
    """Let LAMMPS evaluate the formula of an equal-style variable."""
    lmp = quiet_instance()
    try:
        for name, value in variables.items():
            if is_number(value):
                lmp.command(f"variable {name} equal {value}")
        lmp.command(f'variable mlip_bench_value equal "{formula}"')
        return repr(float(lmp.extract_variable("mlip_bench_value")))
    except Exception as error:  # LAMMPS raises its own
        raise UserError(f"{path}: LAMMPS cannot evaluate '{formula}' ({error})") from error
    finally:
        lmp.close()


def is_number(word: str) -> bool:
    """Tell whether a word is a number."""
    try:
        float(word)
    except ValueError:
        return False
    return True


def words_of(line: str) -> list[str]:
    """Return the words of a line as LAMMPS takes them: quotes hold together and go."""
    return [word.strip("\"'") for word in re.findall(r"\"[^\"]*\"|'[^']*'|[^\s\"']+", line)]


def types_of(path: Path, word: str, n_types: int) -> range:
    """Return the atom types, from 0, that LAMMPS means by ``2``, ``*``, ``2*`` or ``1*3``."""
    found = re.fullmatch(r"(\d*)(\*?)(\d*)", word)
    if not found or not word:
        raise UserError(f"{path}: '{word}' is not a range of atom types")
    low, star, high = found.groups()
    first = int(low or 1)
    last = int(high or n_types) if star else first
    if not 1 <= first <= last <= n_types:
        raise UserError(f"{path}: atom types '{word}' of {n_types}")
    return range(first - 1, last)


def text_of(path: Path) -> str:
    """Return the text of a file, whatever its encoding; raises :class:`UserError` where it cannot be read."""
    try:
        return path.read_text(errors="replace")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
