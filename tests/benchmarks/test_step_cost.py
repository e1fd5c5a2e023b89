"""Cost of an MD step of every family against the ruler: what ``mlip-bench compare`` reads.

python -m pytest tests/benchmarks/test_step_cost.py -m benchmark --benchmark-json new.json
mlip-bench compare old.json new.json --fail-above 10%
"""

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from mlip_bench.data import records
from mlip_bench.measure.cost import half_interquartile, ratios, timed_blocks
from mlip_bench.potentials import family, family_names
from mlip_bench.potentials.presets import hypers

pytestmark = pytest.mark.benchmark

SIZES = (432, 2000)


@pytest.fixture(scope="module", params=family_names())
def fitted(request):
    data = records.load("embedded", "Mo")
    settings = hypers(request.param, "quick", "Mo")
    if "epochs" in settings:
        settings["epochs"] = 1  # the cost of a step does not depend on how well a network is trained
    return family(request.param)(**settings).fit(data.train)


@pytest.mark.parametrize("n_atoms", SIZES)
def test_step(benchmark, fitted, n_atoms):
    """Blocks of the potential and of the ruler in turn; the ratio is in the extra information."""
    crystal = records.load("embedded", "Mo").crystal
    with threadpool_limits(1):
        blocks, n_atoms, n_ruler_atoms = benchmark.pedantic(
            timed_blocks, args=(fitted, crystal, n_atoms), rounds=1
        )
    values = ratios(blocks, n_atoms, n_ruler_atoms)
    benchmark.extra_info.update(
        potential=fitted.family,
        n_atoms=n_atoms,
        cost_ratio=float(np.median(values)),
        cost_ratio_spread=half_interquartile(values),
        n_blocks=len(values),
        ruler_s_per_step=float(np.median(blocks[:, 1])),
    )
