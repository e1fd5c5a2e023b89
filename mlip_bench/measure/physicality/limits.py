"""What no potential of matter may do: limits of the numbers, and a sentence for each that is passed."""

from collections.abc import Sequence
from dataclasses import dataclass

from mlip_bench.measure.base import Value


@dataclass(frozen=True)
class Limit:
    """Where a number stops being physical, and what that means, with ``{value}`` and ``{group}``."""

    sentence: str
    most: float = float("inf")
    least: float = -float("inf")
    not_of: str = ""
    """A group that it does not hold for."""

    def is_passed(self, value: float, group: str | None = None) -> bool:
        """Tell whether a number is beyond the limit."""
        return group != self.not_of and not self.least <= value <= self.most


LIMITS = {
    "dimer_turn": Limit("two atoms {group} alone attract each other from {value:.2f} Å down", most=0.0),
    # Two nuclei at 0.5 Å are tens of eV up by the screened repulsion of Ziegler, Biersack and Littmark, those
    # of lithium as well; only two protons are bound there (W. Kolos, L. Wolniewicz, doi:10.1063/1.1697142).
    "wall": Limit("two atoms {group} pushed to 0.5 Å gain energy, {value:+.2f} eV", least=0.0, not_of="H-H"),
    "pushed_turn": Limit("{group} pushed together attract each other from {value:.2f} Å down", most=0.0),
    "compression_turn": Limit("compressed to {value:.2f} of its volume the crystal collapses", most=0.0),
    "dilation_turn": Limit("beyond {value:.2f} times its volume the crystal's energy falls", most=0.0),
    "lowest_pressure": Limit("the pressure of the compressed crystal falls to {value:.3g} GPa", least=0.0),
    # Dense matter from random starts has neighbours a little nearer than any in training, and may bond what
    # is not bonded there (H2 in water), but not nearer than covalent radii allow.
    "quench_distance": Limit("random starts end with atoms at {value:.2f} of training's shortest", least=0.7),
    "quench_energy": Limit("random starts end {value:+.2f} eV/atom from the crystal's energy", least=-0.05),
    # Fits to molybdenum are at 0.001 to 0.02. A curvature that jumps, as at the cutoff of an MTP, leaves at
    # most a half of its jump; a force that jumps has no bound.
    "roughness": Limit("the energy is not smooth: curvature ({group}) changes by {value:.2g}", most=0.2),
    "work_mismatch": Limit("energy and work of forces differ by {value:.2g} meV/atom on a path", most=1.0),
    # Rounding of single precision is a thousand times less.
    "copy_energy": Limit("two copies ({group}) have {value:.2g} meV/atom more or less than one", most=0.1),
    "copy_force": Limit("a copy far away ({group}) changes forces by {value:.2g} meV/Å", most=0.5),
    "response_beyond": Limit("an atom changes forces beyond its reach by {value:.2g} meV/Å", most=0.5),
    "exchange_energy": Limit("with {group} exchanged the crystal has {value:+.2f} eV/atom", least=-0.1),
    # Crystals of elements that do not mix, grown all the same, are up to some tenths of an eV above these.
    "decomposition_energy": Limit("its elements apart are {value:+.2f} eV/atom from the crystal", least=-0.5),
}


# What an error says where dynamics or a crystal blew up, and not where something is not predicted at all.
NOT_FINITE = "not finite"


def broken(values: Sequence[Value]) -> list[str]:
    """Return a sentence for each number that there is none of because a prediction was not finite."""
    return list(dict.fromkeys(value.error for value in values if value.error and NOT_FINITE in value.error))


def passed(values: Sequence[Value]) -> list[str]:
    """Return a sentence for each number that is beyond its limit."""
    return [
        limit.sentence.format(value=value.value, group=value.group)
        for value in values
        if value.error is None
        and (limit := LIMITS.get(value.metric)) is not None
        and limit.is_passed(value.value, value.group)
    ]
