"""Which keys of a frame hold its labels.

All labels of a frame come from one prefix: a reference's own (``REF_energy``, ``dft_force``, ...) before bare
names, which a model may have written over them. Capitals, ``_`` and the end at which the prefix stands do not
matter. Of bare names those that ASE knows (its calculator's results) come first. ``free_energy`` comes before
``energy``, because forces are its gradient.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms

from mlip_bench.data.reading import ReadingOptions
from mlip_bench.errors import UserError, did_you_mean

# In the order they are tried: words for a reference, codes, functionals, and last no prefix at all.
BARE = ""
PREFIXES = (
    *("ref", "reference", "dft", "target", "label", "true", "qm", "abinitio"),
    *("vasp", "castep", "qe", "espresso", "cp2k", "aims", "gpaw", "pbe", "pbesol", "scan", "r2scan"),
    BARE,
)

# The names of each label, in the order they are tried.
NAMES = {
    "free_energy": ("freeenergy",),
    "energy": ("energy", "totenergy", "totalenergy", "potentialenergy", "etot"),
    "forces": ("forces", "force"),
    "stress": ("stress",),
    "virial": ("virial", "virials"),
}
LABEL = {name: label for label, names in NAMES.items() for name in names}

LOOKS_LIKE_A_LABEL = re.compile("energy|force|gradient|stress|virial")

# Ends of the names of what no family takes into account.
UNSEEN = re.compile(
    "(?<!borneffective)(magmoms?[xyz]?|moments?[xyz]?|magneti[sz]ations?|nupdown|charges?(ref)?|mulliken|spins?"
    "|multiplicity|dipoles?|dipolemoments?|(electric|external|e)fields?)$"
)

# What an energy may be called that is none of the names above: a frame with such a key is not without one.
MAY_BE_AN_ENERGY = re.compile("energ|^e([^a-z]|$)|^(e0|etot|toten|epot|pot)")

# Where no key looks like the label that is missing, so many are named.
KEYS_LISTED = 8

# Energies (eV) and forces (eV/Å) of two keys agree to this: files keep so many digits.
SAME = 1e-5


class Keys(NamedTuple):
    """The keys that the labels of a frame are taken from; None where it has none."""

    energy: str | None
    forces: str | None
    stress: str | None


def values(atoms: Atoms) -> dict[str, Any]:
    """Return all values of a frame by their keys: results of its calculator first, then info and arrays."""
    results = {} if atoms.calc is None else atoms.calc.results
    arrays = {key: array for key, array in atoms.arrays.items() if key not in ("numbers", "positions")}
    found = {**results}
    for key, value in (*atoms.info.items(), *arrays.items()):
        found.setdefault(key, value)
    return {key: value for key, value in found.items() if value is not None}


def choose(frame: Mapping[str, Any], options: ReadingOptions, needs_forces: bool) -> Keys:
    """Return the keys to take the labels of a frame from; raises :class:`UserError` where there is no choice.

    A key that the user named must be there. Labels that were not named come from the prefix of those that
    were, else from the first prefix that has energy and forces. A frame with forces, and no key that could be
    an energy, has none.
    """
    named = {"energy": options.energy_key, "forces": options.forces_key, "stress": options.stress_key}
    if not needs_forces:
        named["forces"] = named["forces"] if named["forces"] in frame else None
        named["stress"] = named["stress"] if named["stress"] in frame else None
    for label, key in named.items():
        if key is not None and key not in frame:
            raise UserError(f"no key '{key}' (--{label}-key){_nearest(key, frame)}")
    own_keys = [key for key in (named["energy"], named["forces"]) if key is not None]
    own = tuple(prefix for prefix in map(prefix_of, own_keys) if prefix is not None)
    composed = _composed_prefixes(tuple(frame))
    table = _by_prefix(tuple(frame), (*own, *composed))
    prefixes = list(dict.fromkeys([*own, *PREFIXES[:-1], *composed, BARE]))
    energy, forces = named["energy"], named["forces"]
    for prefix in prefixes:
        labels = table.get(prefix, {})
        energy = named["energy"] or _first(labels, "free_energy", "energy")
        forces = named["forces"] or labels.get("forces")
        if energy and (forces or not needs_forces):
            break
    else:
        alone = _forces_alone(frame, table, named) if needs_forces else None
        if alone is None:
            raise _incomplete(frame, table, named)
        prefix, energy, forces = alone[0], None, alone[1]
    if named["energy"] is None and named["forces"] is None:
        _refuse_contradiction(frame, table, Keys(energy, forces, None), prefixes[: prefixes.index(prefix)])
    stress = named["stress"] or _first(table.get(prefix, {}), "stress", "virial")
    return Keys(energy, forces, stress)


def same_prefix(frame: Mapping[str, Any], key: str, label: str) -> str | None:
    """Return the key of another label under the prefix of ``key``, or None."""
    prefix = prefix_of(key)
    return None if prefix is None else _by_prefix(tuple(frame), (prefix,)).get(prefix, {}).get(label)


def is_virial(key: str) -> bool:
    """Tell whether a key names a virial (eV, positive in compression) rather than a stress."""
    return "virial" in _plain(key)


def not_read(frame: Mapping[str, Any], read: Iterable[str | None]) -> list[str]:
    """Return the keys that look like labels and are not among those that were read."""
    return [key for key in frame if key not in read and LOOKS_LIKE_A_LABEL.search(_plain(key))]


def unseen(frame: Mapping[str, Any]) -> list[str]:
    """Return the keys of magnetic moments, charges and the like that say anything: not 0, and no singlet."""
    return [key for key in frame if UNSEEN.search(_plain(key)) and _says_something(key, frame[key])]


@lru_cache(maxsize=4096)
def prefix_of(key: str) -> str | None:
    """Return the prefix (or what stands behind) of a key that ends or begins with a label's name."""
    plain = _plain(key)
    for name in sorted(LABEL, key=len, reverse=True):
        if plain.endswith(name):
            return plain.removesuffix(name)
        if plain.startswith(name):
            return plain.removeprefix(name)
    return None


@lru_cache(maxsize=256)
def _composed_prefixes(keys: tuple[str, ...]) -> tuple[str, ...]:
    """Return prefixes of several words, the first or the last a reference's, as in DFT_PBE_energy."""
    found = []
    for key in keys:
        words = re.split("[^a-z0-9]+", key.casefold())
        prefix = prefix_of(key)
        if prefix and prefix not in PREFIXES and {words[0], words[-1]} & set(PREFIXES[:-1]):
            found.append(prefix)
    return tuple(dict.fromkeys(found))


@lru_cache(maxsize=4096)
def _plain(key: str) -> str:
    return re.sub("[^a-z0-9]", "", key.casefold())


@lru_cache(maxsize=4096)
def _name(key: str, prefix: str) -> str | None:
    """Return the name of a label that a key has under a prefix."""
    plain = _plain(key)
    names = {plain.removeprefix(prefix)} if plain.startswith(prefix) else set()
    names |= {plain.removesuffix(prefix)} if plain.endswith(prefix) else set()
    return next((name for name in names if name in LABEL), None)


@lru_cache(maxsize=256)
def _by_prefix(keys: tuple[str, ...], own: tuple[str, ...]) -> dict[str, dict[str, str]]:
    """Return the key of each label by prefix; of several names of one label the first in ``NAMES``."""
    table: dict[str, dict[str, str]] = {}
    for prefix in {*PREFIXES, *own}:
        found = [(name, key) for key in keys if (name := _name(key, prefix)) is not None]
        # A frame has its calculator's results first: they win over info of the same name.
        for name, key in sorted(found, key=lambda pair: NAMES[LABEL[pair[0]]].index(pair[0])):
            table.setdefault(prefix, {}).setdefault(LABEL[name], key)
    return table


def _first(labels: Mapping[str, str], *order: str) -> str | None:
    return next((labels[label] for label in order if label in labels), None)


def _refuse_contradiction(
    frame: Mapping[str, Any],
    table: Mapping[str, Mapping[str, str]],
    taken: Keys,
    prefixes: Sequence[str],
) -> None:
    """Raise where a reference's prefix has a part of the labels, and what is taken in its stead differs."""
    for prefix in prefixes:
        for label in ("free_energy", "energy", "forces"):
            key = table.get(prefix, {}).get(label)
            instead = taken.forces if label == "forces" else taken.energy
            if key is None or instead is None or _agree(frame[key], frame[instead]):
                continue
            raise UserError(
                f"'{key}' has no complete set of labels beside it, and '{instead}' differs from it; name the "
                "keys that belong together with --energy-key and --forces-key"
            )


def _forces_alone(
    frame: Mapping[str, Any], table: Mapping[str, Mapping[str, str]], named: Mapping[str, str | None]
) -> tuple[str, str] | None:
    """Return prefix and key of the forces of a frame that has no energy, or None of any other frame."""
    if named["energy"] is not None or any(MAY_BE_AN_ENERGY.search(_plain(key)) for key in frame):
        return None
    if named["forces"] is not None:
        return prefix_of(named["forces"]) or BARE, named["forces"]
    found = [(prefix, labels["forces"]) for prefix, labels in table.items() if "forces" in labels]
    order = [*PREFIXES[:-1], BARE]
    return min(found, key=lambda one: order.index(one[0]) if one[0] in order else 0, default=None)


def _agree(one: Any, other: Any) -> bool:
    one, other = np.asarray(one), np.asarray(other)
    return one.shape == other.shape and bool(np.allclose(one, other, rtol=1e-9, atol=SAME))


def _incomplete(
    frame: Mapping[str, Any], table: Mapping[str, Mapping[str, str]], named: Mapping[str, str | None]
) -> UserError:
    energies = [key for labels in table.values() if (key := _first(labels, "free_energy", "energy"))]
    forces = [labels["forces"] for labels in table.values() if "forces" in labels]
    if (energies or named["energy"]) and (forces or named["forces"]):
        energy, force = named["energy"] or energies[0], named["forces"] or forces[0]
        return UserError(
            f"'{energy}' and '{force}' are of different prefixes; if they belong together, say so with "
            f"--energy-key {energy} --forces-key {force}"
        )
    label = "forces" if energies or named["energy"] else "energy"
    pattern = "force" if label == "forces" else "energy"
    near = [key for key in frame if pattern in _plain(key) and key not in energies]
    hint = f"; its keys are {', '.join(map(repr, list(frame)[:KEYS_LISTED]))}" if frame else ""
    if near:
        hint = f"; if {' or '.join(map(repr, near[:3]))} is it, say so with --{label}-key"
    return UserError(f"no {label}; every frame needs energy (eV) and forces (eV/Å){hint}")


def _nearest(key: str, frame: Mapping[str, Any]) -> str:
    return did_you_mean(key, frame) if frame else " (the frame has no keys)"


def _says_something(key: str, value: Any) -> bool:
    try:
        numbers = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        return True
    nothing = 1.0 if "multiplicity" in _plain(key) else 0.0
    return bool(np.any(numbers != nothing))
