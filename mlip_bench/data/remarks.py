"""What is to be said of a file that was read: keys taken and not taken, what no family sees, bad frames."""

import re
from collections import Counter
from dataclasses import dataclass, field

from mlip_bench.data import keys, reference
from mlip_bench.data.reading import ReadingOptions
from mlip_bench.data.reference_values import ImplausibleStress, Taken, disagreement
from mlip_bench.errors import UserError

# So many bad frames are named, and so many keys in a note.
LISTED = 20
KEYS_LISTED = 12

# Energies per atom (eV) beyond this are those of all electrons, or of pseudopotentials with many of them.
ALL_ELECTRON = 1.0e3

# Where more than this share of the stresses cannot be, none of the others is believed.
BELIEVED = 0.05


# A sentence on one frame, as readers begin it.
FRAME = re.compile(r"(?P<file>.*?)frame (?P<number>\d+): (?P<reason>.+)", re.DOTALL)


@dataclass
class Remarks:
    """Counts over the frames of a file, made into sentences at the end."""

    options: ReadingOptions
    taken: Counter[keys.Keys] = field(default_factory=Counter)
    not_read: Counter[str] = field(default_factory=Counter)
    unseen: Counter[str] = field(default_factory=Counter)
    disagreeing: Counter[tuple[str, str]] = field(default_factory=Counter)
    without_forces: int = 0
    without_energy: int = 0
    without_volume: int = 0
    padded: int = 0
    with_stress: int = 0
    largest_energy: float = 0.0
    energy_apart: float = 0.0
    other_energy: str = ""
    bad: list[str] = field(default_factory=list)
    implausible: list[str] = field(default_factory=list)
    more: list[str] = field(default_factory=list)

    def add(self, taken: Taken) -> None:
        """Count a frame that can be used."""
        self.taken[taken.keys] += 1
        other = disagreement(taken, self.options)
        if other is not None:
            self.disagreeing[str(taken.keys.stress), other] += 1
        self._compare_energies(taken)
        self.not_read.update(keys.not_read(taken.frame, (*taken.keys, self._sibling(taken), other)))
        self.unseen.update(keys.unseen(taken.frame))
        self.without_forces += taken.keys.forces is None
        has_stress = reference.stress(taken.atoms) is not None
        self.with_stress += has_stress
        self.without_volume += taken.keys.stress is not None and not has_stress
        self.padded += bool(taken.atoms.pbc.any()) and taken.atoms.cell.rank < 3
        self.without_energy += taken.keys.energy is None
        if taken.keys.energy is not None:
            per_atom = reference.energy(taken.atoms) / len(taken.atoms)
            self.largest_energy = max(self.largest_energy, per_atom, key=abs)

    def reject(self, where: str, error: UserError) -> None:
        """Count a frame that cannot be used."""
        sentence = str(error) if str(error).startswith(where) else f"{where}: {error}"
        self.bad.append(sentence)
        if isinstance(error, ImplausibleStress):
            self.implausible.append(sentence)

    def refuse(self, name: str) -> None:
        """Raise :class:`UserError` that names the bad frames, unless they are to be left out."""
        if len(self.implausible) > BELIEVED * (self.with_stress + len(self.implausible)):
            # The unit is wrong in all of them; the small ones among them only do not show it.
            raise UserError(self._listed(name, self.implausible))
        if self.bad and not (self.options.skip_bad and self.taken):
            raise UserError(self._listed(name, self.bad))

    def notes(self) -> tuple[str, ...]:
        """Return the sentences."""
        notes = [
            self._keys_taken(),
            self._energies(),
            *self._stress(),
            *self.more,
            self._not_read(),
            self._unseen(),
        ]
        if self.without_forces:
            notes.append(
                f"{_frames(self.without_forces)} of an isolated atom without forces, taken with zero forces"
            )
        if self.without_energy:
            notes.append(
                f"{_frames(self.without_energy)} without an energy: only potentials that predict forces "
                "alone can be fitted to them"
            )
        if self.padded:
            notes.append(
                f"no cell vector along open directions in {_frames(self.padded)}: vacuum is put there, and "
                "there is no stress"
            )
        if abs(self.largest_energy) > ALL_ELECTRON:
            notes.append(
                f"energies reach {self.largest_energy:.6g} eV per atom, as all-electron and other total ones "
                "do: the zero of each element is subtracted; check the unit if they are none"
            )
        if self.bad:
            notes.append(self._listed("", self.bad))
        return tuple(note for note in notes if note)

    def _sibling(self, taken: Taken) -> str | None:
        """Return the other of free energy and energy, which the note on them names, or which is the same."""
        if taken.keys.energy is None:
            return None
        labels = ("free_energy", "energy")
        others = [keys.same_prefix(taken.frame, taken.keys.energy, label) for label in labels]
        return next((other for other in others if other not in (None, taken.keys.energy)), None)

    def _compare_energies(self, taken: Taken) -> None:
        other = self._sibling(taken)
        if other is None:
            return
        try:
            apart = abs(float(taken.frame[other]) - reference.energy(taken.atoms))
        except (TypeError, ValueError):
            return
        if apart > self.energy_apart:
            self.energy_apart, self.other_energy = apart, other

    def _keys_taken(self) -> str:
        if not self.taken:
            return ""
        described = [
            (f"energy from '{found.energy}'" if found.energy else "no energy")
            + (f", forces from '{found.forces}'" if found.forces else ", no forces")
            + (f", stress from '{found.stress}'" if found.stress else ", no stress")
            + (f" ({_frames(count)})" if len(self.taken) > 1 else "")
            for found, count in self.taken.most_common(KEYS_LISTED)
        ]
        more = len(self.taken) - len(described)
        return "; ".join(described) + (f"; and {more} other sets of keys" if more else "")

    def _energies(self) -> str:
        if self.energy_apart <= keys.SAME:
            return ""
        (found, _), *_ = self.taken.most_common(1)
        free = found.energy is not None and "free" in found.energy.casefold()
        free = free and keys.prefix_of(str(found.energy)) is not None
        reason = ", because forces are its gradient" if free and self.options.energy_key is None else ""
        return (
            f"'{found.energy}' is taken as the energy{reason}; it differs from '{self.other_energy}' by up "
            f"to {self.energy_apart:.3g} eV; --energy-key {self.other_energy} takes that one"
        )

    def _stress(self) -> list[str]:
        notes = [
            f"'{stress}' and '{virial}' do not agree in {_frames(count)}; '{stress}' is taken, --stress-key "
            f"{virial} takes the other"
            for (stress, virial), count in self.disagreeing.items()
        ]
        changes = [f"read in {self.options.stress_unit}"] if self.options.stress_unit else []
        changes += ["its sign turned"] if self.options.turn_stress else []
        if changes:
            notes.append(f"stress {' and '.join(changes)}")
        if self.without_volume:
            notes.append(f"stress of {_frames(self.without_volume)} without a volume is not used")
        return notes

    def _not_read(self) -> str:
        return f"not read, though by name a label: {_counted(self.not_read)}" if self.not_read else ""

    def _unseen(self) -> str:
        seen = f"no family sees magnetic moments, charges or dipoles: {_counted(self.unseen)} left out"
        return seen if self.unseen else ""

    def _listed(self, name: str, sentences: list[str]) -> str:
        """Return bad frames as one text, those of one reason together."""
        if len(sentences) == 1 and name:
            return sentences[0]
        n_frames = sum(self.taken.values()) + len(self.bad)
        grouped = _of_one_reason([sentence.removeprefix(f"{name}, ") for sentence in sentences])
        listed = "".join(f"\n  {sentence}" for sentence in grouped[:LISTED])
        more = f"\n  and {len(grouped) - LISTED} more" if len(grouped) > LISTED else ""
        if not name:
            return f"left out: {len(sentences)} of {n_frames} frames that cannot be used:{listed}{more}"
        advice = "; --skip-bad leaves them out" if sentences is self.bad else ""
        return f"{name}: {len(sentences)} of {n_frames} frames cannot be used{advice}:{listed}{more}"


def _of_one_reason(sentences: list[str]) -> list[str]:
    """Return sentences on frames, those of one file and reason as one."""
    frames: dict[tuple[str, str], list[str]] = {}
    for sentence in sentences:
        found = FRAME.fullmatch(sentence)
        key = (found["file"], found["reason"]) if found else (sentence, "")
        frames.setdefault(key, []).append(found["number"] if found else "")
    grouped = []
    for (file, reason), numbers in frames.items():
        more = f" and {len(numbers) - LISTED} more" if len(numbers) > LISTED else ""
        which = f"frame{'s' if len(numbers) > 1 else ''} {', '.join(numbers[:LISTED])}{more}"
        grouped.append(f"{file}{which}: {reason}" if reason else file)
    return grouped


def _frames(count: int) -> str:
    return f"{count} frame{'s' if count > 1 else ''}"


def _counted(counter: Counter[str]) -> str:
    named = [f"'{key}' ({_frames(count)})" for key, count in counter.most_common(KEYS_LISTED)]
    more = len(counter) - len(named)
    return ", ".join(named) + (f" and {more} more" if more else "")
