"""The family of the documentation: a torch model of others in one short file."""

import importlib.util
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from mlip_bench import potentials
from mlip_bench.errors import UserError
from mlip_bench.measure.errors import comparison, summary
from mlip_bench.testing import Case, conformance

FILE = Path(__file__).parent.parent / "docs" / "own-network" / "schnet.py"
SMALL = {"channels": 8, "layers": 2, "cutoff": 4.0, "steps": 4, "atoms_per_step": 32}


@pytest.fixture(scope="module")
def schnet():
    specification = importlib.util.spec_from_file_location("schnet_of_the_docs", FILE)
    module = importlib.util.module_from_spec(specification)
    sys.modules[module.__name__] = module
    with warnings.catch_warnings():  # of what PyTorch Geometric stands on
        warnings.simplefilter("ignore")
        specification.loader.exec_module(module)
    return module.SchNet


@pytest.fixture(scope="module")
def case(schnet, alloys):
    return Case(schnet, SMALL | {"double_precision": True}, alloys[:12], alloys[20:])


def test_it_is_short():
    assert len(FILE.read_text().splitlines()) < 60


@pytest.mark.parametrize("check", conformance.CHECKS, ids=lambda check: check.__name__)
def test_it_honours_the_interface(check, case, monkeypatch):
    class Entry:
        def load(self):
            return case.family

    registered = potentials._registered()
    monkeypatch.setattr(potentials, "_registered", lambda: registered | {"schnet": Entry()})
    case.run(check)


def test_it_learns(schnet, alloys):
    errors = []
    for steps in (2, 60):
        hypers = SMALL | {"steps": steps, "averaging": 0.5}
        found = schnet(**hypers).fit(alloys[:12]).predict(alloys[:12])
        errors.append(summary(comparison(alloys[:12], found))["force_rmse"])
    assert errors[1] < 0.8 * errors[0]


def test_it_has_no_heat_flux_and_says_so(case):
    with pytest.raises(UserError, match="schnet gives no energy of each atom by its edges"):
        case.potential.heat_flux(case.probes[0], np.zeros((8, 3)))
