"""The files of GAP: an XML, and beside it one file of sparse points per descriptor.

What our kernels evaluate are potentials of SOAP descriptors with dot-product kernels of integer powers, as
:class:`~mlip_bench.potentials.gap.GAP` fits them. :func:`parts` tells where a file has anything else: other
descriptors (pairs, three atoms), other radial functions, kernels that are not normalised, a core potential.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from mlip_bench.errors import UserError
from mlip_bench.potentials.gap.soap import Soap

XML = "potential.xml"

# Keys of a descriptor that our kernels honour, and those that only matter in a fit.
HONOURED = {
    "cutoff", "cutoff_transition_width", "n_max", "l_max", "atom_sigma", "central_weight",
    "Z", "n_species", "species_Z", "zeta", "covariance_type",
}  # fmt: skip
OF_FITS = {
    "delta", "n_sparse", "sparse_method", "add_species", "config_type_n_sparse", "sparse_file",
    "print_sparse_index", "unique_hash_tolerance", "unique_descriptor_tolerance",
}  # fmt: skip


# Version of QUIP from which on the central atom is in the density of its own species only.
FIRST_VERSION = 1426512068


@dataclass(frozen=True)
class Part:
    """The energies of the atoms of one element: Σ_k weights_k (p̂ · points_k)^ζ."""

    soap: Soap
    zeta: int
    weights: np.ndarray
    """δ² b_k (eV), (n_sparse,)."""
    points: np.ndarray
    """(n_sparse, components)."""


def read(path: Path) -> dict[str, bytes]:
    """Return the XML, under our name for it, and the side files that it names."""
    try:
        content = path.read_bytes()
        tree = ElementTree.fromstring(content)
        names = [one.attrib["sparseX_filename"] for one in tree.iter() if "sparseX_filename" in one.attrib]
        files = {name: (path.parent / name).read_bytes() for name in names}
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be read ({error.strerror})") from error
    except ElementTree.ParseError as error:
        raise UserError(f"{path}: not an XML file ({error})") from error
    return {XML: content} | files


def zeros(files: dict[str, bytes]) -> dict[int, float]:
    """Return the energy (eV) of an isolated atom by atomic number."""
    tree = ElementTree.fromstring(files[XML])
    return {int(found.attrib["Z"]): float(found.attrib["value"]) for found in tree.iter("e0")}


def parts(files: dict[str, bytes], path: Path | str) -> list[Part] | None:
    """Return the sums that make up the energy, or None where our kernels do not know one of them.

    Raises :class:`UserError`, naming ``path``, where numbers are missing or are none.
    """
    tree = ElementTree.fromstring(files[XML])
    if not _is_plain(tree):
        return None
    found = []
    try:
        for coordinates in tree.iter("gpCoordinates"):
            part = _part(coordinates, files)
            if part is None:
                return None
            found.append(part)
    except (KeyError, ValueError) as error:
        raise UserError(f"{path}: not a GAP that can be read ({error})") from error
    return found


def _is_plain(tree: ElementTree.Element) -> bool:
    """Tell whether the file is one GAP and nothing beside it: no core, no sum, no scale, no old version."""
    params, potential = tree.findall("GAP_params"), tree.find("Potential")
    if len(params) != 1 or potential is None:
        return False
    data = params[0].find("GAP_data")
    return (
        potential.get("init_args") == f"IP GAP label={params[0].get('label')}"
        and int(params[0].get("gap_version", "0")) >= FIRST_VERSION
        and data is not None
        and data.get("do_core", "F") == "F"
        and "e0" not in data.attrib
    )


def _part(coordinates: ElementTree.Element, files: dict[str, bytes]) -> Part | None:
    soap = _soap(coordinates.findtext("descriptor") or "")
    name, zeta = coordinates.get("sparseX_filename"), float(coordinates.get("zeta", "0"))
    is_plain = coordinates.get("covariance_type") == "2" and float(coordinates.get("signal_mean", "0")) == 0
    if soap is None or name is None or not is_plain or zeta < 1 or zeta != int(zeta):
        return None
    points = np.array(files[name].split(), float).reshape(-1, soap.dimensions)
    sparse = list(coordinates.iter("sparseX"))
    weights = np.array([float(one.attrib["alpha"]) * float(one.attrib["sparseCutoff"]) for one in sparse])
    if len(weights) != len(points):
        raise ValueError(f"{len(weights)} coefficients, but {len(points)} sparse points in {name}")
    # What the file calls a variance is δ itself.
    return Part(soap, int(zeta), float(coordinates.attrib["signal_variance"]) ** 2 * weights, points)


def _soap(text: str) -> Soap | None:
    """Read a descriptor; None where it is not SOAP, or asks for what our kernels do not honour."""
    kind, _, rest = text.strip().partition(" ")
    pattern = r"(\w+)=(?:\{+([\d ]*)\}+|([\w.+-]+))(?:\s+|$)"
    given = {key: braces or plain for key, braces, plain in re.findall(pattern, rest)}
    is_all = not re.sub(pattern, "", rest).strip()
    needed = {"cutoff", "n_max", "l_max", "atom_sigma", "Z", "species_Z"}
    if kind != "soap" or not is_all or not set(given) <= HONOURED | OF_FITS or not needed <= set(given):
        return None
    centres, species = ([int(number) for number in given[key].split()] for key in ("Z", "species_Z"))
    # With one species QUIP sees the central atom in its density, whatever its element.
    if len(centres) != 1 or 0 in species or (len(species) == 1 and species != centres):
        return None
    return Soap(
        centres[0],
        tuple(species),
        float(given["cutoff"]),
        float(given.get("cutoff_transition_width", "0.5")),
        int(given["n_max"]),
        int(given["l_max"]),
        float(given["atom_sigma"]),
        float(given.get("central_weight", "1")),
    )
