"""What a user says about the reading of a file, and what reading it gives."""

from dataclasses import dataclass

from ase import Atoms
from ase.data import chemical_symbols

from mlip_bench.data import pressure
from mlip_bench.errors import UserError, did_you_mean

# Units of n2p2's ``input.data``, which does not say its own.
METAL, ATOMIC = "metal", "atomic"


@dataclass(frozen=True)
class ReadingOptions:
    """Options of reading; those that are None are decided by the file. Raises :class:`UserError` if wrong."""

    energy_key: str | None = None
    """Key of the energy (eV) in each frame."""
    forces_key: str | None = None
    """Key of the forces (eV/Å)."""
    stress_key: str | None = None
    """Key of the stress (eV/Å³, ASE's sign), or of the virial (eV, minus the stress times the volume)."""
    stress_unit: str | None = None
    """Unit of the stress; ``eV`` says that it was not divided by the volume."""
    turn_stress: bool = False
    """Turn the sign of the stress."""
    elements: tuple[str, ...] = ()
    """Elements of the types 0, 1, ... in a ``.cfg`` of MLIP."""
    units: str | None = None
    """Units of n2p2's ``input.data``: ``metal`` (eV, Å) or ``atomic`` (Hartree, Bohr)."""
    skip_bad: bool = False
    """Leave bad frames out, and name them, instead of refusing the file."""

    def __post_init__(self) -> None:
        """Refuse what no file could be read with."""
        if self.stress_unit is not None:
            pressure.parse_unit(self.stress_unit)
        if self.units not in (None, METAL, ATOMIC):
            raise UserError(f"--units {self.units}: unknown{did_you_mean(self.units, [METAL, ATOMIC])}")
        for symbol in self.elements:
            if symbol not in chemical_symbols[1:]:
                raise UserError(
                    f"--elements: '{symbol}' is no element{did_you_mean(symbol, chemical_symbols[1:])}"
                )


@dataclass(frozen=True)
class Reading:
    """Structures of a file with reference values, and what is to be said of them, a sentence each."""

    structures: list[Atoms]
    notes: tuple[str, ...] = ()
