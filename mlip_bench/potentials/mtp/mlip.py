"""The ``.mtp`` files of MLIP-2, MLIP-3 and ``motep``: read by a whitelist, written by ``motep``.

They number the species and do not name them. Ours put the elements into ``potential_tag``; a file of others
needs that line before it can be used with data. Every key is honoured or refused by name. What follows the
potential from ``#MVS`` on is the state of active learning, which energies do not depend on.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from ase.data import atomic_numbers
from motep.io.mlip.mtp import write_mtp
from motep.potentials.mtp.data import BasisData, MTPData

from mlip_bench.data.fortran import to_float
from mlip_bench.errors import UserError, did_you_mean
from mlip_bench.potentials.mtp.basis import Basis
from mlip_bench.potentials.mtp.tables import Tables

VERSION = "1.1.0"
RADIAL_BASIS = "RBChebyshev"

# What MLIP takes where a file has no scaling.
DEFAULT_SCALING = 1.0

# Names of one thing in files of different versions, and what it is called here.
RENAMED = {
    "min_val": "min_dist", "min": "min_dist",
    "max_val": "max_dist", "max": "max_dist",
    "basis_size": "radial_basis_size", "size": "radial_basis_size",
}  # fmt: skip

COUNTS = (
    "species_count",
    "radial_basis_size",
    "radial_funcs_count",
    "alpha_moments_count",
    "alpha_index_basic_count",
    "alpha_index_times_count",
    "alpha_scalar_moments",
)
LENGTHS = ("min_dist", "max_dist", "scaling")
WORDS = ("version", "potential_name", "potential_tag", "radial_basis_type")
COEFFICIENTS = ("radial_coeffs", "species_coeffs", "moment_coeffs")
TABLES = ("alpha_index_basic", "alpha_index_times", "alpha_moment_mapping")
KNOWN = (*COUNTS, *LENGTHS, *WORDS, *COEFFICIENTS, *TABLES)
UNREAD = (*WORDS, "radial_coeffs")
"""Those that are no list of numbers."""
OPTIONAL = ("scaling", "potential_name", "potential_tag", "version")

# Physics that is not implemented, by the beginnings of its keys.
FOREIGN = {
    "magnetic": "magnetic moments",
    "mag_": "magnetic moments",
    "min_mag": "magnetic moments",
    "max_mag": "magnetic moments",
    "spline": "splines",
    "charge": "charges",
    "electrostatic": "charges",
    "zbl": "a ZBL potential",
}

# Rank of the tensors of level 28, the largest here.
LARGEST_RANK = 12

# Beginning of the state of active learning, after which a file may be binary.
SELECTION = b"#MVS"


@dataclass
class Content:
    """A potential as its file describes it."""

    tables: Tables
    radial: np.ndarray
    linear: np.ndarray
    species: np.ndarray
    tag: str
    notes: list[str] = field(default_factory=list)
    """What of the file was not read: one sentence each."""


def read(path: Path) -> Content:
    """Read a file; one of another kind, not whole, or with unknown keys is a :class:`UserError`."""
    try:
        potential, selection, _ = path.read_bytes().partition(SELECTION)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        given = _entries(potential.decode("utf-8"))
        _refuse_foreign(given)
        numbers = {key: _value(key, text) for key, text in given.items() if key not in UNREAD}
        content = _content(numbers, given["radial_coeffs"], given.get("potential_tag", ""))
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not a whole .mtp file (it is not a text file)") from error
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error
    if selection:
        content.notes.append(f"{path.name}: the state of active learning (#MVS) in it is not read")
    return content


def _entries(text: str) -> dict[str, str]:
    """Return what stands behind each key: the rest of its line, or braces over several lines."""
    title = re.match(r"\s*MTP[ \t]*\r?(?:\n|$)", text.removeprefix("\ufeff"))
    if title is None:
        raise ValueError("not a whole .mtp file (it does not begin with 'MTP')")
    text, place = text.removeprefix("\ufeff"), title.end()
    found: dict[str, str] = {}
    entry = re.compile(r"\s*(?:(radial_coeffs)\b[ \t]*=?|([A-Za-z]\w*)[ \t]*=[ \t]*(?:(?=\s*\{)|([^\r\n]*)))")
    while text[place:].strip():
        match = entry.match(text, place)
        if match is None:
            line = text[place:].strip().splitlines()[0]
            raise ValueError(f"not a whole .mtp file (a line that is no 'key = value': {line[:40]!r})")
        key, place = match[1] or match[2], match.end()
        value = match[3]
        if value is None:
            value, place = _braces(text, place, key)
        key = RENAMED.get(key, key)
        if key in found:
            raise ValueError(f"{key} is there twice; which one counts?")
        found[key] = value.strip()
    return found


def _braces(text: str, start: int, key: str) -> tuple[str, int]:
    """Return the braces that begin here, with labels of species like ``0-1`` between, and where they end."""
    end, depth = start, 0
    group = re.compile(r"\s*(?:\d+\s*-\s*\d+)?\s*\{")
    while match := group.match(text, end):
        end, depth = match.end(), 1
        while depth:
            brace = re.compile("[{}]").search(text, end)
            if brace is None:
                raise ValueError(f"not a whole .mtp file ({key} ends before its last brace)")
            depth += 1 if brace[0] == "{" else -1
            end = brace.end()
        if key != "radial_coeffs":
            break
    return text[start:end], end


def _refuse_foreign(given: dict[str, str]) -> None:
    for key in given:
        if key not in KNOWN:
            foreign = next(
                (what for beginning, what in FOREIGN.items() if key.lower().startswith(beginning)), None
            )
            if foreign is not None:
                raise ValueError(f"'{key}': {foreign} in an MTP are not supported")
            raise ValueError(f"'{key}' is not a key of .mtp files that is known{did_you_mean(key, KNOWN)}")
    version, basis = given.get("version", ""), given.get("radial_basis_type", "")
    if version != VERSION:
        raise ValueError(f"version {version or 'unknown'} of the .mtp format; {VERSION} is supported")
    if basis != RADIAL_BASIS:
        raise ValueError(f"radial basis {basis or 'unknown'}; only {RADIAL_BASIS} is supported")
    missing = [key for key in KNOWN if key not in given and key not in OPTIONAL]
    if missing:
        raise ValueError(f"no {', '.join(missing)}; the potential is not fitted or the file not whole")


def _value(key: str, text: str) -> np.ndarray:
    """Return the numbers behind a key, in one row."""
    is_single = key in COUNTS or key in LENGTHS
    kind = int if key in COUNTS or key in TABLES else to_float
    numbers = _numbers(key, text if is_single else _inner(key, text), kind)
    if is_single and numbers.shape != (1,):
        raise ValueError(f"{key} is {text!r}, not one number")
    return numbers


def _inner(key: str, text: str) -> str:
    """Return what is in the braces of a list, without those within."""
    if not (text.startswith("{") and text.endswith("}")):
        raise ValueError(f"{key} is no list in braces")
    inner = text[1:-1]
    if key in ("alpha_index_basic", "alpha_index_times"):
        if not re.fullmatch(r"\s*(\{[^{}]*\}\s*,?\s*)*", inner):
            raise ValueError(f"{key} is no list of rows in braces")
        rows = re.findall(r"\{([^{}]*)\}", inner)
        if any(len(row.replace(",", " ").split()) != 4 for row in rows):
            raise ValueError(f"{key} has a row without four numbers")
        return ", ".join(rows)
    return inner


def _numbers(key: str, text: str, kind: Callable[[str], float]) -> np.ndarray:
    words = text.replace(",", " ").split()
    try:
        found = np.array([kind(word) for word in words], dtype=np.int64 if kind is int else float)
    except (ValueError, OverflowError) as error:
        raise ValueError(
            f"{key} has something other than {'whole ' * (kind is int)}numbers ({error})"
        ) from error
    if not np.all(np.isfinite(found)):
        raise ValueError(f"{key} has a number that is not finite")
    return found


def _content(given: dict[str, np.ndarray], radial: str, tag: str) -> Content:
    """Put a potential together; ``ValueError`` where its parts do not fit each other."""
    counts = {key: int(given[key][0]) for key in COUNTS}
    basic, times = (given[key].reshape(-1, 4) for key in ("alpha_index_basic", "alpha_index_times"))
    mapping = given["alpha_moment_mapping"]
    _refuse_wrong_counts(given | {"alpha_index_basic": basic, "alpha_index_times": times}, counts)
    _refuse_wrong_indices(basic, times, mapping, counts)
    least, cutoff = float(given["min_dist"][0]), float(given["max_dist"][0])
    scaling = float(given["scaling"][0]) if "scaling" in given else DEFAULT_SCALING
    if not 0 <= least < cutoff:
        raise ValueError(f"min_dist = {least:g}, max_dist = {cutoff:g}; it must be 0 <= min_dist < max_dist")
    basis = Basis(basic.astype(np.int32), times.astype(np.int32), counts["alpha_moments_count"], mapping)
    return Content(
        Tables(basis, scaling, least, cutoff),
        _radial(radial, counts),
        given["moment_coeffs"],
        given["species_coeffs"],
        tag,
    )


def _refuse_wrong_counts(given: dict[str, np.ndarray], counts: dict[str, int]) -> None:
    for key, count in counts.items():
        if count < (0 if key == "alpha_index_times_count" else 1):
            raise ValueError(f"{key} = {count} is too small")
    announced = {
        "moment_coeffs": "alpha_scalar_moments",
        "alpha_moment_mapping": "alpha_scalar_moments",
        "alpha_index_basic": "alpha_index_basic_count",
        "alpha_index_times": "alpha_index_times_count",
        "species_coeffs": "species_count",
    }
    for key, name in announced.items():
        if len(given[key]) != counts[name]:
            raise ValueError(
                f"{key} has {len(given[key])} entries, but the file announces {counts[name]} ({name})"
            )


def _refuse_wrong_indices(
    basic: np.ndarray, times: np.ndarray, mapping: np.ndarray, counts: dict[str, int]
) -> None:
    """Refuse what would reach beyond the tables: kernels do not look."""
    moments = counts["alpha_moments_count"]
    columns = {
        "alpha_index_basic": (basic[:, 0], counts["radial_funcs_count"]),
        "alpha_index_times": (times[:, [0, 1, 3]], moments),
        "alpha_moment_mapping": (mapping, moments),
    }
    for key, (found, limit) in columns.items():
        if found.size and (found.min() < 0 or found.max() >= limit):
            raise ValueError(f"{key} has an index that is not from 0 to {limit - 1}")
    if not len(basic) <= moments <= len(basic) + len(times):
        raise ValueError(
            f"alpha_moments_count = {moments} does not fit the tables alpha_index_basic and _times"
        )
    if basic.min() < 0 or basic[:, 1:].sum(axis=1).max() > LARGEST_RANK or not np.any(basic[:, 0] == 0):
        raise ValueError(f"alpha_index_basic has other tensors than those of ranks 0 to {LARGEST_RANK}")


def _radial(text: str, counts: dict[str, int]) -> np.ndarray:
    """Return c (species of i, species of j, μ, β) from blocks that begin with ``i-j``, in any order."""
    n, functions, size = (counts[key] for key in ("species_count", "radial_funcs_count", "radial_basis_size"))
    found: dict[tuple[int, int], list[np.ndarray]] = {}
    for one, other, block in re.findall(r"(\d+)\s*-\s*(\d+)((?:\s*\{[^{}]*\})+)", text):
        rows = [_numbers("radial_coeffs", row, to_float) for row in re.findall(r"\{([^{}]*)\}", block)]
        if len(rows) != functions or any(len(row) != size for row in rows):
            raise ValueError(
                f"radial_coeffs of {one}-{other} are not {functions} rows (radial_funcs_count) of {size} "
                "numbers (radial_basis_size)"
            )
        if (int(one), int(other)) in found:
            raise ValueError(f"radial_coeffs of {one}-{other} are there twice")
        found[int(one), int(other)] = rows
    wanted = [(i, j) for i in range(n) for j in range(n)]
    if sorted(found) != wanted:
        wrong = ", ".join(f"{i}-{j}" for i, j in sorted(set(found) ^ set(wanted))[:3])
        raise ValueError(f"radial_coeffs are not those of {n} species (species_count): see {wrong}")
    return np.array([found[pair] for pair in wanted]).reshape(n, n, functions, size)


def elements(path: Path, content: Content) -> tuple[str, ...]:
    """Return the elements that ``potential_tag`` names."""
    found = tuple(content.tag.replace(",", " ").split())
    n_species = len(content.species)
    if len(found) != n_species or any(element not in atomic_numbers for element in found):
        raise UserError(
            f"{path}: the file numbers its species and does not name them; write the elements into its line "
            f"'potential_tag = ...', {n_species} in all, e.g. 'potential_tag = Mo'"
        )
    return found


def unfitted(tables: Tables, names: tuple[str, ...], size: int) -> MTPData:
    """Return motep's description of a basis with ``size`` polynomials, without coefficients."""
    basis = tables.basis
    return MTPData(
        version=VERSION,
        potential_name="MTP",
        scaling=tables.scaling,
        species_count=len(names),
        potential_tag=" ".join(names),
        radial_basis=BasisData(RADIAL_BASIS, tables.least, tables.cutoff, size),
        radial_funcs_count=basis.radial_functions,
        alpha_moments_count=basis.moments_count,
        alpha_index_basic_count=len(basis.index_basic),
        alpha_index_basic=basis.index_basic,
        alpha_index_times_count=len(basis.index_times),
        alpha_index_times=basis.index_times,
        alpha_scalar_moments=len(basis.moment_mapping),
        alpha_moment_mapping=basis.moment_mapping,
    )


def write(
    path: Path,
    tables: Tables,
    radial: np.ndarray,
    linear: np.ndarray,
    species: np.ndarray,
    names: tuple[str, ...],
) -> None:
    """Write a potential, with the elements in ``potential_tag``."""
    data = unfitted(tables, names, radial.shape[3])
    data.radial_coeffs, data.moment_coeffs, data.species_coeffs = radial, linear, species
    write_mtp(path, data, legacy=True)
