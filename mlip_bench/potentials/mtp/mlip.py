"""The ``.mtp`` files of MLIP-2 and MLIP-3, read and written by ``motep``.

They number the species and do not name them. Ours put the elements into ``potential_tag``; a file of others
needs that line before it can be used with data.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase.data import atomic_numbers
from motep.io.mlip.mtp import read_mtp, write_mtp
from motep.potentials.mtp.data import BasisData, MTPData

from mlip_bench.errors import UserError
from mlip_bench.potentials.mtp.basis import Basis
from mlip_bench.potentials.mtp.tables import Tables

VERSION = "1.1.0"
RADIAL_BASIS = "RBChebyshev"

BLOCKS = (
    "radial_coeffs",
    "alpha_index_basic",
    "alpha_index_times",
    "alpha_moment_mapping",
    "species_coeffs",
    "moment_coeffs",
)


@dataclass
class Content:
    """A potential as its file describes it."""

    tables: Tables
    radial: np.ndarray
    linear: np.ndarray
    species: np.ndarray
    tag: str


def read(path: Path) -> Content:
    """Read a file; one of another version, or truncated, is a :class:`UserError` that says what is wrong."""
    try:
        data = read_mtp(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, IndexError, StopIteration, TypeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a whole .mtp file ({error or 'it ends too early'})") from error
    _refuse_unsupported(path, data)
    basis = Basis(
        data.alpha_index_basic,
        data.alpha_index_times,
        int(data.alpha_moments_count),
        data.alpha_moment_mapping,
    )
    radial = data.radial_basis
    return Content(
        Tables(basis, float(data.scaling), float(radial.min), float(radial.max)),
        np.array(data.radial_coeffs),
        np.array(data.moment_coeffs),
        np.array(data.species_coeffs),
        data.potential_tag,
    )


def _refuse_unsupported(path: Path, data: MTPData) -> None:
    if data.version != VERSION:
        raise UserError(
            f"{path}: version {data.version or 'unknown'} of the .mtp format; {VERSION} is supported"
        )
    if data.radial_basis.type != RADIAL_BASIS:
        raise UserError(f"{path}: radial basis {data.radial_basis.type}; only {RADIAL_BASIS} is supported")
    missing = [name for name in BLOCKS if getattr(data, name) is None]
    if missing:
        raise UserError(f"{path}: no {', '.join(missing)}; the potential is not fitted or the file not whole")
    counts = {
        "moment_coeffs": (len(data.moment_coeffs), data.alpha_scalar_moments),
        "alpha_moment_mapping": (len(data.alpha_moment_mapping), data.alpha_scalar_moments),
        "alpha_index_basic": (len(data.alpha_index_basic), data.alpha_index_basic_count),
        "alpha_index_times": (len(data.alpha_index_times), data.alpha_index_times_count),
        "species_coeffs": (len(data.species_coeffs), data.species_count),
    }
    for name, (found, expected) in counts.items():
        if found != expected:
            raise UserError(f"{path}: {name} has {found} entries, but the file announces {expected}")


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
