"""The files of GAP: an XML, and beside it one file of sparse points per descriptor.

What our kernels evaluate are potentials of SOAP descriptors with dot-product kernels of integer powers, as
:class:`~mlip_bench.potentials.gap.GAP` fits them. :func:`parts` tells where a file has anything else: other
descriptors (pairs, three atoms), other radial functions, kernels that are not normalised.
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
        names = re.findall(r'sparseX_filename="([^"]+)"', content.decode(errors="replace"))
        files = {name: (path.parent / name).read_bytes() for name in names}
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be read ({error.strerror})") from error
    return {XML: content} | files


def zeros(files: dict[str, bytes]) -> dict[int, float]:
    """Return the energy (eV) of an isolated atom by atomic number."""
    tree = ElementTree.fromstring(files[XML])
    return {int(found.attrib["Z"]): float(found.attrib["value"]) for found in tree.iter("e0")}


def parts(files: dict[str, bytes]) -> list[Part] | None:
    """Return the sums that make up the energy, or None where our kernels do not know one of them."""
    tree = ElementTree.fromstring(files[XML])
    data = tree.find("GAP_params/GAP_data")
    if data is None or data.get("do_core", "F") != "F":
        return None
    found: list[Part] = []
    for coordinates in tree.iter("gpCoordinates"):
        text = coordinates.findtext("descriptor") or ""
        soap = _soap(text)
        name, zeta = coordinates.get("sparseX_filename"), float(coordinates.get("zeta", "0"))
        is_plain = coordinates.get("covariance_type") == "2" and float(coordinates.get("signal_mean", 0)) == 0
        if soap is None or name is None or not is_plain or zeta < 1 or zeta != int(zeta):
            return None
        points = np.array(files[name].split(), float).reshape(-1, soap.dimensions)
        sparse = list(coordinates.iter("sparseX"))
        weights = np.array([float(one.attrib["alpha"]) * float(one.attrib["sparseCutoff"]) for one in sparse])
        found.append(Part(soap, int(zeta), float(coordinates.attrib["signal_variance"]) * weights, points))
    return found


def _soap(text: str) -> Soap | None:
    """Read a descriptor; None where it is not SOAP, or asks for what our kernels do not honour."""
    kind, _, rest = text.strip().partition(" ")
    given = {
        key: braces.strip("{}") if braces else plain
        for key, braces, plain in re.findall(r"(\w+)=(?:(\{+[^}]*\}+)|(\S+))", rest)
    }
    needed = {"cutoff", "n_max", "l_max", "atom_sigma", "Z", "species_Z"}
    if kind != "soap" or not set(given) <= HONOURED | OF_FITS or not needed <= set(given):
        return None
    centres, species = ([int(number) for number in given[key].split()] for key in ("Z", "species_Z"))
    if len(centres) != 1 or 0 in (*centres, *species):
        return None
    return Soap(
        centres[0],
        tuple(species),
        float(given["cutoff"]),
        float(given.get("cutoff_transition_width", 0.5)),
        int(given["n_max"]),
        int(given["l_max"]),
        float(given["atom_sigma"]),
        float(given.get("central_weight", 1.0)),
    )
