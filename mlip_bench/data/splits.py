"""Setting structures aside, for testing, in folds or in ever larger subsets: within groups, or in blocks."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Literal, get_args

import numpy as np
from ase import Atoms

from mlip_bench.data import reference
from mlip_bench.errors import UserError, did_you_mean

TEST_SHARE = 0.1

Kind = Literal["random", "blocks"]
RANDOM: Kind = "random"
KINDS: tuple[str, ...] = get_args(Kind)
# The fold of what is in every training.
NEVER_HELD_OUT = -1
DESCRIPTION = {"random": "at random within each group", "blocks": "in blocks of neighbouring frames"}


def split(
    structures: Sequence[Atoms], seed: int, name: str, kind: str = RANDOM
) -> tuple[list[Atoms], list[Atoms]]:
    """Set a tenth of the structures aside for testing; return training and test.

    ``random`` takes a tenth of each group by chance. ``blocks`` takes one run of neighbours from each
    trajectory, which is what a group has of the same atoms: neighbours in time stay on one side, but for
    the ends of a run. Isolated atoms always stay in training, and so does the last structure that has some
    element. Raises :class:`UserError` where there are too few.
    """
    if kind not in KINDS:
        raise UserError(f"--split {kind}: not a way to split{did_you_mean(kind, KINDS)}")
    candidates = [index for index, atoms in enumerate(structures) if not reference.is_isolated_atom(atoms)]
    chosen: list[int] = []
    if len(candidates) > 1:
        key = reference.group if kind == RANDOM else _trajectory
        parts = _parts(structures, candidates, key)
        generator = np.random.default_rng(seed)
        numbers = _shares(
            [len(part) for part in parts], max(1, round(TEST_SHARE * len(candidates))), generator
        )
        choose = _at_random if kind == RANDOM else _in_blocks
        chosen = choose(parts, numbers, _Elements(structures), generator)
    if not chosen:
        many = "one structure" if len(candidates) == 1 else f"{len(candidates)} structures"
        raise UserError(f"{name}: {many} cannot be split; give a test file with --test")
    for_test = set(chosen)
    train = [atoms for index, atoms in enumerate(structures) if index not in for_test]
    return train, [structures[index] for index in sorted(chosen)]


def folds(structures: Sequence[Atoms], n_folds: int, seed: int, kind: str = RANDOM) -> list[int]:
    """Return the fold of each structure, from 0, or ``NEVER_HELD_OUT``.

    ``random`` spreads each group evenly over the folds. ``blocks`` cuts each trajectory into runs of
    neighbours, one for each fold; one that is too short for that goes into one fold, whole. Isolated atoms
    are never held out, and neither is the first structure of an element that one fold would have alone.
    Raises :class:`UserError` where a fold would be empty.
    """
    found = np.full(len(structures), NEVER_HELD_OUT)
    candidates = [index for index, atoms in enumerate(structures) if not reference.is_isolated_atom(atoms)]
    if kind == RANDOM:
        found[candidates] = stratified_folds([structures[index] for index in candidates], n_folds, seed)
    else:
        sizes = np.zeros(n_folds, dtype=int)
        for part in sorted(_parts(structures, candidates, _trajectory), key=len, reverse=True):
            is_long = len(part) >= n_folds
            found[part] = np.arange(len(part)) * n_folds // len(part) if is_long else np.argmin(sizes)
            sizes += np.bincount(found[part], minlength=n_folds)
    for symbol in reference.elements(structures):
        having = [index for index in candidates if symbol in structures[index].symbols]
        if having and len({found[index] for index in having}) == 1:
            found[having[0]] = NEVER_HELD_OUT
    if set(range(n_folds)) - set(found.tolist()):
        raise UserError(
            f"{len(candidates)} training structures do not fill {n_folds} folds; ask for fewer with --folds"
        )
    return found.tolist()


def held_out(structures: Sequence[Atoms], share: float, seed: int) -> np.ndarray:
    """Choose a share of the structures of each group, for validation; the indices are sorted.

    No element goes with them: what is not trained would have the values that it began with.
    """
    generator = np.random.default_rng(seed)
    members_of: dict[str, list[int]] = defaultdict(list)
    for index, atoms in enumerate(structures):
        members_of[reference.group(atoms)].append(index)
    parts = [members for _, members in sorted(members_of.items())]
    numbers = [round(share * len(members)) for members in parts]
    return np.array(sorted(_at_random(parts, numbers, _Elements(structures), generator)), dtype=int)


def stratified_folds(structures: Sequence[Atoms], n_folds: int, seed: int) -> list[int]:
    """Return the fold of each structure: every group is spread evenly, at random, over the folds."""
    generator = np.random.default_rng(seed)
    members: dict[str, list[int]] = defaultdict(list)
    for index, atoms in enumerate(structures):
        members[reference.group(atoms)].append(index)
    shuffled = [index for name in sorted(members) for index in generator.permutation(members[name])]
    fold = np.empty(len(structures), dtype=int)
    fold[shuffled] = np.arange(len(structures)) % n_folds
    return fold.tolist()


def subset(structures: Sequence[Atoms], share: float, seed: int, kind: str = RANDOM) -> list[Atoms]:
    """Return a share of the structures, in their order: what a smaller share has, a larger one has too.

    Isolated atoms are not counted, and are in every subset. ``random`` takes of each group its part by
    chance, at least one structure as long as there are as many as groups, of large groups before small ones.
    ``blocks`` does so with trajectories, and takes of each one run of neighbours, which grows. Structures
    that bring the first atoms of an element come before all. Raises :class:`UserError` where an element
    would be missing.
    """
    order, n_needed = _growing(structures, seed, kind)
    n_taken = round(share * len(order))
    if not n_taken:
        raise UserError(f"--fractions {share:g}: of {len(order)} training structures that is none")
    if n_taken < n_needed:
        raise UserError(
            f"--fractions {share:g}: that is {n_taken} of {len(order)} training structures, and "
            f"{n_needed} are needed to have all elements"
        )
    left_out = set(order[n_taken:])
    return [atoms for index, atoms in enumerate(structures) if index not in left_out]


def _growing(structures: Sequence[Atoms], seed: int, kind: str) -> tuple[list[int], int]:
    """Return the order in which structures come into subsets, and how many it takes to have all elements.

    Places of a part are given as seats are to parties, the first one to each before all others (A.
    Sainte-Lague, Ann. Sci. Ec. Norm. Super. 27, 529 (1910)): no larger subset takes one away.
    """
    generator = np.random.default_rng(seed)
    candidates = [index for index, atoms in enumerate(structures) if not reference.is_isolated_atom(atoms)]
    own_order = _by_chance if kind == RANDOM else _run_that_grows
    key = reference.group if kind == RANDOM else _trajectory
    parts = [own_order(part, generator) for part in _parts(structures, candidates, key)]
    parts = [parts[place] for place in generator.permutation(len(parts))]  # equals follow by chance
    known: set[int] = set()
    first: list[int] = []
    # Those of most elements before others, so that few bring all.
    for index in sorted(_by_seats(parts), key=lambda index: -len(set(structures[index].numbers))):
        if set(structures[index].numbers) - known:
            known |= set(structures[index].numbers)
            first.append(index)
    ahead = [sorted(part, key=lambda index: index not in first) for part in parts]
    order = sorted(_by_seats(ahead), key=lambda index: index not in first)
    return order, len(first)


def _by_seats(parts: Sequence[list[int]]) -> list[int]:
    """Return the members of all parts: the first of each, those of large parts before, then in proportion."""
    seats = [
        (seat > 0, (seat + 0.5) / len(part) if seat else -len(part), index)
        for part in parts
        for seat, index in enumerate(part)
    ]
    return [index for *_, index in sorted(seats, key=lambda seat: seat[:2])]


def _by_chance(part: list[int], generator: np.random.Generator) -> list[int]:
    return generator.permutation(part).tolist()


def _run_that_grows(part: list[int], generator: np.random.Generator) -> list[int]:
    """Return frames from some one to the last, and then those before it, backwards: always one run."""
    start = int(generator.integers(len(part)))
    return part[start:] + part[:start][::-1]


def _trajectory(atoms: Atoms) -> str:
    """Return what the frames of one trajectory share: group, atoms and periodicity."""
    return f"{reference.group(atoms)} {atoms.symbols.get_chemical_formula()} {atoms.pbc}"


def _parts(
    structures: Sequence[Atoms], candidates: Sequence[int], key: Callable[[Atoms], str]
) -> list[list[int]]:
    parts: dict[str, list[int]] = {}
    for index in candidates:
        parts.setdefault(key(structures[index]), []).append(index)
    return list(parts.values())


def _shares(sizes: Sequence[int], total: int, generator: np.random.Generator) -> list[int]:
    """Share a total out in proportion to sizes; the largest remainders round up, ties by chance."""
    exact = total * np.array(sizes) / sum(sizes)
    shares = np.floor(exact).astype(int)
    order = np.lexsort((generator.random(len(sizes)), -np.round(exact - shares, 9)))
    shares[order[: total - shares.sum()]] += 1
    return shares.tolist()


class _Elements:
    """How many structures are left in training with each element."""

    def __init__(self, structures: Sequence[Atoms]):
        self._present = [np.unique(atoms.numbers).tolist() for atoms in structures]
        self._having = Counter(number for present in self._present for number in present)

    def spare(self, indices: Sequence[int]) -> bool:
        """Take structures out of training, or leave them where an element would go with them; tell which."""
        taken = Counter(number for index in indices for number in self._present[index])
        if any(self._having[number] <= count for number, count in taken.items()):
            return False
        self._having.subtract(taken)
        return True


def _at_random(
    parts: Sequence[list[int]], numbers: Sequence[int], elements: _Elements, generator: np.random.Generator
) -> list[int]:
    """Choose members of each part; what a part cannot give, another gives."""
    chosen: list[int] = []
    left: list[int] = []
    for part, number in zip(parts, numbers, strict=True):
        order = generator.permutation(part).tolist()
        taken: list[int] = []
        for index in order:
            (taken if len(taken) < number and elements.spare([index]) else left).append(index)
        chosen += taken
    for index in generator.permutation(left).astype(int).tolist():
        if len(chosen) == sum(numbers):
            break
        if elements.spare([index]):
            chosen.append(index)
    return chosen


def _in_blocks(
    parts: Sequence[list[int]], numbers: Sequence[int], elements: _Elements, generator: np.random.Generator
) -> list[int]:
    """Choose one run of neighbours of each part, where one can be spared."""
    chosen: list[int] = []
    for part, number in zip(parts, numbers, strict=True):
        if not number:
            continue
        for start in generator.permutation(len(part) - number + 1).tolist():
            run = part[start : start + number]
            if elements.spare(run):
                chosen += run
                break
    return chosen
