"""Native pair styles: how LAMMPS runs a potential, and the files that it reads for it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations_with_replacement
from pathlib import Path

from ase.data import atomic_numbers

from mlip_bench.errors import UserError


@dataclass(frozen=True)
class LammpsStyle:
    """How LAMMPS runs a potential natively.

    ``pair_coeff`` is a list of argument strings in which the names of ``files`` are words of their own, and
    ``{elements}`` stands for the element of each atom type, in order.
    """

    pair_style: str
    pair_coeff: tuple[str, ...]
    cutoff: float
    files: dict[str, str] = field(default_factory=dict)
    pair_coeff_of_pairs: str = ""
    """Arguments for each pair of atom types ``{i}``, ``{j}``, with the charges of their nuclei
    ``{charge_i}``, ``{charge_j}``."""

    order: tuple[str, ...] = ()
    """The elements in the order in which the files speak of them without names: atom types must have it, all
    of them. Empty where files name the element of each number."""

    def write_files(self, folder: Path) -> None:
        """Write the files that the pair style reads into ``folder``."""
        for name, text in self.files.items():
            (folder / name).write_text(text)

    def commands(self, elements: Sequence[str], paths: Mapping[str, str] | None = None) -> list[str]:
        """Return the LAMMPS commands that define the interaction for these atom types.

        ``paths`` says where files are by their names; without, they are where LAMMPS runs. Raises
        :class:`UserError` for another order of elements than the files have: LAMMPS would take it in silence.
        """
        if self.order and tuple(elements) != self.order:
            raise UserError(
                f"atom types {', '.join(elements)}: the files of this potential hold for the types "
                f"{', '.join(self.order)}, all of them and in this order"
            )
        lines = [f"pair_style {self.pair_style}"]
        numbers = [atomic_numbers[element] for element in elements]
        for i, j in combinations_with_replacement(range(len(numbers)), 2) if self.pair_coeff_of_pairs else ():
            filled = self.pair_coeff_of_pairs.format(
                i=i + 1, j=j + 1, charge_i=numbers[i], charge_j=numbers[j]
            )
            lines.append(f"pair_coeff {filled}")
        for arguments in self.pair_coeff:
            words = arguments.format(elements=" ".join(elements)).split()
            lines.append(" ".join(["pair_coeff", *((paths or {}).get(word, word) for word in words)]))
        return lines
