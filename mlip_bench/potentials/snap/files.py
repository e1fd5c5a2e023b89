"""Files of LAMMPS's SNAP: coefficients, parameters, and the definition that may add ZBL.

A published SNAP is a ``.snapcoeff`` and a ``.snapparam`` file, and often a piece of LAMMPS input beside them,
``.snap`` or ``.mod``, that says how they are used. Keywords and commands are read by a whitelist: one that
changes the physics and is not honoured is refused by name.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase.data import atomic_numbers

from mlip_bench.errors import UserError, did_you_mean
from mlip_bench.lammps.input import commands, is_number, text_of, types_of, words_of

DEFINITIONS = (".snap", ".mod")

NUMBERS = ("rcutfac", "rfac0", "rmin0")
FLAGS = (
    "switchflag", "bzeroflag", "quadraticflag", "chemflag", "bnormflag", "wselfallflag", "switchinnerflag",
)  # fmt: skip
PER_ELEMENT = ("sinner", "dinner")
# How LAMMPS shares the work out, and the only choice of components that it still has.
HARMLESS = ("chunksize", "parallelthresh", "diagonalstyle")
KEYWORDS = (*NUMBERS, "twojmax", *FLAGS, *PER_ELEMENT, *HARMLESS)

# Commands of a definition that do not change what the potential is.
HARMLESS_COMMANDS = (
    "atom_style", "clear", "comm_modify", "echo", "info", "log", "mass", "neigh_modify", "neighbor", "newton",
    "print", "thermo", "thermo_modify", "thermo_style", "timestep",
)  # fmt: skip

# The same style on other hardware.
ACCELERATED = re.compile(r"/(gpu|intel|kk|kk/device|kk/host|omp|opt)$")


@dataclass(frozen=True)
class Coefficients:
    """Content of a ``.snapcoeff`` file: ``values`` (n_elements, n_coefficients), eV."""

    elements: tuple[str, ...]
    radii: dict[str, float]
    weights: dict[str, float]
    values: np.ndarray

    def of(self, elements: Sequence[str], path: Path) -> "Coefficients":
        """Return those of these elements, in their order."""
        missing = sorted(set(elements) - set(self.elements))
        if missing:
            raise UserError(f"{path}: no coefficients of {', '.join(missing)}")
        rows = [self.elements.index(element) for element in elements]
        return Coefficients(
            tuple(elements),
            {element: self.radii[element] for element in elements},
            {element: self.weights[element] for element in elements},
            self.values[rows],
        )


@dataclass(frozen=True)
class Parameters:
    """Content of a ``.snapparam`` file: numbers and flags, and ``sinner``, ``dinner`` of each element."""

    numbers: dict[str, float]
    flags: dict[str, int]
    twojmax: int
    per_element: dict[str, list[float]]


@dataclass(frozen=True)
class Definition:
    """What a ``.snap`` or ``.mod`` file says: the element of each type, its two files, cutoffs of ZBL (Å)."""

    elements: tuple[str, ...]
    coefficients: Path
    parameters: Path
    zbl: tuple[float, ...]


def read_coefficients(path: Path) -> Coefficients:
    """Read a ``.snapcoeff`` file."""
    lines = _content(path)
    try:
        n_elements, n_coefficients = (int(word) for word in words_of(lines[0])[:2])
        blocks = [
            lines[1 + index * (n_coefficients + 1) :][: n_coefficients + 1] for index in range(n_elements)
        ]
        headers = [words_of(block[0]) for block in blocks]
        values = np.array([[float(value) for value in block[1:]] for block in blocks])
        radii = {header[0]: float(header[1]) for header in headers}
        weights = {header[0]: float(header[2]) for header in headers}
    except (IndexError, ValueError) as error:
        raise UserError(f"{path}: not a complete .snapcoeff file ({error})") from error
    if values.shape != (n_elements, n_coefficients):
        raise UserError(f"{path}: {n_elements} x {n_coefficients} coefficients announced, fewer found")
    for element in radii:
        if element not in atomic_numbers:
            raise UserError(f"{path}: '{element}' is not a chemical element")
    if len(radii) < n_elements:
        raise UserError(f"{path}: an element has two blocks of coefficients")
    return Coefficients(tuple(radii), radii, weights, values)


def read_parameters(path: Path) -> Parameters:
    """Read a ``.snapparam`` file; a keyword or value that is not honoured is refused by name."""
    found: dict[str, list[str]] = {}
    for line in _content(path):
        keyword, *values = words_of(line)
        if keyword not in KEYWORDS:
            raise UserError(f"{path}: unknown keyword '{keyword}'{did_you_mean(keyword, KEYWORDS)}")
        if keyword in found:
            raise UserError(f"{path}: '{keyword}' is given twice")
        if not values or (len(values) > 1 and keyword not in PER_ELEMENT):
            raise UserError(f"{path}: '{line}' is not a keyword with one value")
        found[keyword] = values
    for keyword in ("rcutfac", "twojmax"):
        if keyword not in found:
            raise UserError(f"{path}: no '{keyword}'")
    if found.get("diagonalstyle", ["3"]) != ["3"]:
        raise UserError(f"{path}: 'diagonalstyle {found['diagonalstyle'][0]}' is not supported, only 3 is")
    try:
        parameters = Parameters(
            {keyword: float(found[keyword][0]) for keyword in NUMBERS if keyword in found},
            {keyword: int(found[keyword][0]) for keyword in FLAGS if keyword in found},
            int(found["twojmax"][0]),
            {
                keyword: [float(value) for value in found[keyword]]
                for keyword in PER_ELEMENT
                if keyword in found
            },
        )
    except ValueError as error:
        raise UserError(f"{path}: not a .snapparam file ({error})") from error
    for keyword, flag in parameters.flags.items():
        if flag not in (0, 1):
            raise UserError(f"{path}: '{keyword} {flag}' must be 0 or 1")
    inner = parameters.flags.get("switchinnerflag", 0)
    for keyword in PER_ELEMENT:
        if (keyword in found) != bool(inner):
            raise UserError(f"{path}: 'switchinnerflag {inner}' and '{keyword}' contradict each other")
    return parameters


def definition_of(coefficients: Path) -> Definition | None:
    """Return the definition beside a ``.snapcoeff`` file that names it; None where there is none.

    The one of the same name is its own; of others all must say the same.
    """
    beside = sorted(path for path in coefficients.parent.iterdir() if path.suffix in DEFINITIONS)
    naming = [path for path in beside if _names(path, coefficients.name)]
    own = [path for path in naming if path.stem == coefficients.stem] or naming
    if not own:
        return None
    found = [read_definition(path) for path in own]
    if any(other != found[0] for other in found[1:]):
        names = ", ".join(path.name for path in own)
        raise UserError(
            f"{coefficients}: used in different ways by {names}; give the one of these files that you mean"
        )
    return found[0]


def read_definition(path: Path) -> Definition:
    """Read LAMMPS input that defines a SNAP, alone or on top of ZBL; all else is refused by name."""
    styles: list[str] | None = None
    zbl: tuple[float, ...] = ()
    snap: list[str] | None = None
    charges: list[list[str]] = []
    for words in commands(path):
        command, arguments = words[0], words[1:]
        if command == "pair_style":
            styles, zbl = _styles(path, arguments)
        elif command == "pair_coeff":
            style, numbers = _pair_coefficients(path, styles, arguments)
            if style == "snap":
                snap = numbers
            elif style == "zbl":
                charges.append(numbers)
        elif command == "units":
            if arguments != ["metal"]:
                raise UserError(f"{path}: 'units {' '.join(arguments)}' is not supported, only metal is")
        elif command not in HARMLESS_COMMANDS:
            raise UserError(f"{path}: the command '{command}' is not supported in the definition of a SNAP")
    if styles is None or snap is None:
        raise UserError(f"{path}: no pair_style and pair_coeff of a SNAP")
    definition = _definition(path, snap, zbl)
    if ("zbl" in styles) or charges:
        _refuse_other_charges(path, definition.elements, charges)
    return definition


def _definition(path: Path, arguments: Sequence[str], zbl: tuple[float, ...]) -> Definition:
    if len(arguments) < 5 or list(arguments[:2]) != ["*", "*"]:
        raise UserError(f"{path}: 'pair_coeff {' '.join(arguments)}' is not '* *', two files and elements")
    coefficients, parameters, *elements = arguments[2:]
    for element in elements:
        if element not in atomic_numbers:
            raise UserError(f"{path}: '{element}' in pair_coeff is not a chemical element")
    # Of a path only the name counts: the files are beside the definition.
    return Definition(
        tuple(elements),
        path.with_name(Path(coefficients).name),
        path.with_name(Path(parameters).name),
        zbl,
    )


def _styles(path: Path, arguments: Sequence[str]) -> tuple[list[str], tuple[float, ...]]:
    """Return the pair styles that are added, and the inner and outer cutoff (Å) of ZBL."""
    if not arguments:
        raise UserError(f"{path}: a pair_style without a name")
    overlay = arguments[0] == "hybrid/overlay"
    styles: list[str] = []
    numbers: dict[str, list[str]] = {}
    for word in arguments[1:] if overlay else arguments:
        if styles and is_number(word):
            numbers[styles[-1]].append(word)
            continue
        style = ACCELERATED.sub("", word)
        if style == "nocoeff" and styles[-1:] == ["zero"]:
            continue
        if style not in ("snap", "zbl", "zero"):
            raise UserError(
                f"{path}: the pair style '{word}' is not supported, only snap and zbl with it are"
            )
        if style in styles:
            raise UserError(f"{path}: the pair style '{style}' is added twice, which is not supported")
        styles.append(style)
        numbers[style] = []
    if "snap" not in styles:
        raise UserError(f"{path}: no pair style snap")
    cutoffs = tuple(float(word) for word in numbers.get("zbl", []))
    if numbers["snap"] or ("zbl" in styles and len(cutoffs) != 2):
        raise UserError(f"{path}: 'pair_style {' '.join(arguments)}': zbl has two cutoffs and snap none")
    return (["hybrid/overlay", *styles] if overlay else styles), cutoffs


def _pair_coefficients(
    path: Path, styles: Sequence[str] | None, arguments: Sequence[str]
) -> tuple[str, list[str]]:
    """Return the pair style that a pair_coeff is for, and its arguments without the style."""
    if styles is None:
        raise UserError(f"{path}: pair_coeff before pair_style")
    if styles[0] != "hybrid/overlay":
        return styles[0], list(arguments)
    style = ACCELERATED.sub("", arguments[2]) if len(arguments) > 2 else ""
    if style not in styles:
        raise UserError(f"{path}: 'pair_coeff {' '.join(arguments)}' is for no pair style of the definition")
    return style, [*arguments[:2], *arguments[3:]]


def _refuse_other_charges(path: Path, elements: Sequence[str], given: Sequence[Sequence[str]]) -> None:
    """Refuse ZBL with charges that are not those of the elements, or for some pairs only."""
    numbers = [atomic_numbers[element] for element in elements]
    covered = set()
    for arguments in given:
        text = f"pair_coeff {' '.join(arguments)}"
        if len(arguments) != 4 or not all(is_number(word) for word in arguments[2:]):
            raise UserError(f"{path}: '{text}' is not two types and two charges of zbl")
        first, second = (types_of(path, word, len(elements)) for word in arguments[:2])
        charges = (float(arguments[2]), float(arguments[3]))
        for i in first:
            for j in second:
                if i > j:
                    continue
                if charges != (numbers[i], numbers[j]):
                    raise UserError(
                        f"{path}: '{text}': the charges of {elements[i]} and {elements[j]} are {numbers[i]} "
                        f"and {numbers[j]}; others are not supported"
                    )
                covered.add((i, j))
    for i in range(len(elements)):
        for j in range(i, len(elements)):
            if (i, j) not in covered:
                raise UserError(f"{path}: zbl is missing for {elements[i]}-{elements[j]}; not supported")


def _names(path: Path, name: str) -> bool:
    """Tell whether a pair_coeff of a file names this file of coefficients; the file may be anything."""
    try:
        found = list(commands(path, strict=False))
    except UserError:
        return False
    return any(words[0] == "pair_coeff" and any(Path(word).name == name for word in words) for words in found)


def _content(path: Path) -> list[str]:
    """Return the lines of a file without comments and blank lines."""
    lines = [line.split("#")[0].strip() for line in text_of(path).splitlines()]
    return [line for line in lines if line]
