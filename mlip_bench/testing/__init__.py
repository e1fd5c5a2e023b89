"""The conformance suite: what every family must honour, one named check per rule.

For the author of a family::

    import pytest
    from mlip_bench.testing import CHECKS, Case

    @pytest.fixture(scope="module")
    def case():
        return Case(MyFamily, {"cutoff": 4.0}, train, probe)

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
    def test_conformance(check, case):
        case.run(check)

A check that a family declares in ``exemptions`` is skipped, and the reason shows.

Checks of the heat flux are skipped for families that predict forces directly; these must refuse it. What
takes torch is not imported here: ``graphs``, ``lennard_jones``, and ``oracles`` of the heat flux.
"""

from mlip_bench.testing import conformance, flux
from mlip_bench.testing.case import ROUNDING, Case, Check, Skipped
from mlip_bench.testing.conformance import states_its_revision

CHECKS: tuple[Check, ...] = (*conformance.CHECKS, *flux.CHECKS)
"""All checks, each a function of a :class:`Case`."""

__all__ = ["CHECKS", "ROUNDING", "Case", "Check", "Skipped", "states_its_revision"]
