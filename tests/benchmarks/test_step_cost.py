"""Cost of an MD step of every family against the ruler: what ``mlip-bench compare`` reads.

python -m pytest tests/benchmarks/test_step_cost.py -m benchmark --benchmark-json new.json
mlip-bench compare old.json new.json --fail-above 10%
"""

import numpy as np
import pinned
import pytest

from mlip_bench.measure.cost.timing import half_interquartile
from mlip_bench.potentials import family, family_names

pytestmark = pytest.mark.benchmark

SIZES = (432, 2000)


# What LAMMPS has a pair style of is timed in it, and under a second name by our kernels.
TIMED = [(name, True) for name in family_names()]
TIMED += [(name, False) for name in family_names() if family(name).native_in_lammps]


@pytest.fixture(scope="module", params=TIMED, ids=lambda one: f"{one[0]}{'' if one[1] else ', mlip-bench'}")
def potential(request, tmp_path_factory):
    name, _ = request.param
    return *request.param, pinned.fitted(name, tmp_path_factory.mktemp(name))


@pytest.mark.parametrize("n_atoms", SIZES)
def test_step(benchmark, potential, n_atoms):
    """Blocks of the potential and of the ruler in turn; the ratio is in the extra information."""
    name, native, folder = potential
    blocks = benchmark.pedantic(pinned.blocks, args=(folder, n_atoms), kwargs={"native": native}, rounds=1)
    values = blocks.ratios
    benchmark.extra_info.update(
        potential=name if native else f"{name}, mlip-bench",
        preset=pinned.PRESET,
        n_atoms=blocks.own.n_atoms,
        cost_ratio=float(np.median(values)),
        cost_ratio_spread=half_interquartile(values),
        n_blocks=len(values),
        ruler_s_per_step=float(np.median(blocks.ruler.per_step)),
    )
