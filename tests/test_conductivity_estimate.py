"""The thermal conductivity that follows from a series of heat fluxes, and its error."""

import os
from pathlib import Path

import numpy as np
import pytest
from scipy import constants
from scipy.signal import lfilter

from mlip_bench.errors import UserError
from mlip_bench.lammps.session import LammpsSession
from mlip_bench.md.cepstral import at_zero_frequency
from mlip_bench.md.fitted_spectrum import fitted_conductivity
from mlip_bench.md.green_kubo import FluxSeries, conductivity, running_integral

SILICA = Path(os.environ.get("MLIP_BENCH_DATA", "nowhere")) / "silica-heatflux" / "Silica.dat"

INTERVAL, VOLUME, TEMPERATURE = 4.0, 5000.0, 700.0  # fs, Å³, K

# Coefficients of autoregressive processes x_t = Σ a_k x_(t-k) + noise: a peak at zero; a resonance at 0.1 per
# sample that stands 300 times above zero; a decay so slow that 8000 samples hold only 240 of it.
PEAK = (0.9,)
RESONANCE = (2 * 0.97 * np.cos(0.6), -(0.97**2))
SLOW = (0.97,)


def process(generator, coefficients, shape, noise=1.0):
    """Return autoregressive series in their steady state, time last."""
    burned = 2000
    white = noise * generator.normal(size=(*shape[:-1], shape[-1] + burned))
    return lfilter([1], [1, *(-a for a in coefficients)], white, axis=-1)[..., burned:]


def integral_of(coefficients, noise=1.0):
    """Return Σ over all lags of the autocorrelation, halved: ∫_0^∞ in units of the interval."""
    return noise**2 / (1 - sum(coefficients)) ** 2 / 2


def kappa_of(integral):
    """Return the conductivity (W/mK) of an integral in (eV Å/fs)² intervals, by SI units."""
    flux_unit = constants.e * 1e-10 / 1e-15
    volume = VOLUME * 1e-30
    return integral * flux_unit**2 * INTERVAL * 1e-15 / (volume * constants.k * TEMPERATURE**2)


def series_of(flux, **changed):
    given = {"interval": INTERVAL, "volume": VOLUME, "temperature": TEMPERATURE} | changed
    return FluxSeries(flux, **given)


@pytest.fixture(scope="module")
def known():
    """Four runs of a process of known integral, in three equal directions."""
    flux = process(np.random.default_rng(1), PEAK, (4, 3, 20000)).swapaxes(1, 2)
    return series_of(flux), kappa_of(integral_of(PEAK))


def test_the_conductivity_of_a_known_process_is_found(known):
    series, exact = known
    found = conductivity(series, isotropic=True)
    assert abs(found.kappa - exact) < 2 * found.spread
    assert found.spread < 0.1 * exact
    assert found.spread_of_runs == pytest.approx(found.spread, rel=1.0)


def estimates(coefficients):
    """Return 200 errors of the logarithm, from three series of 8000 samples each, and the errors given."""
    generator, exact, found = np.random.default_rng(0), integral_of(coefficients), []
    for _ in range(200):
        series = series_of(process(generator, coefficients, (1, 3, 8000)).swapaxes(1, 2))
        limit = at_zero_frequency(series.spectrum(np.eye(3)) / series.prefactor / INTERVAL, 3)
        found.append((limit.log_value - np.log(exact), limit.log_spread))
    return np.transpose(found)


@pytest.mark.parametrize("coefficients", [PEAK, RESONANCE], ids=["peak", "resonance"])
def test_one_standard_error_covers_the_truth_as_often_as_it_should(coefficients):
    errors, spreads = estimates(coefficients)
    assert 0.60 <= (abs(errors) < spreads).mean() <= 0.76


def test_runs_of_few_correlation_times_give_a_value_too_low_by_half_an_error():
    """The top of a peak of few ordinates is smoothed away: known, and less than the error that is given."""
    errors, spreads = estimates(SLOW)
    assert -0.7 * spreads.mean() < errors.mean() < 0
    assert (abs(errors) < spreads).mean() >= 0.5
    assert (abs(errors) < 2 * spreads).mean() >= 0.8


def test_two_low_ordinates_do_not_set_the_value():
    """The logarithm of an ordinate can be far below the spectrum by chance; what follows it says so."""
    ordinates = np.random.default_rng(12).gamma(3, 1 / 3, 2000)
    ordinates[:2] = 0.06, 0.13
    assert abs(at_zero_frequency(ordinates, 3).log_value) < 0.2


def test_a_narrow_peak_beside_a_strong_optical_band_is_not_cut_off():
    """What a crystal does: heat is carried below a hundredth of the frequencies with the most power."""
    generator = np.random.default_rng(2)
    slow, optical = (0.98,), (2 * 0.95 * np.cos(1.0), -(0.95**2))
    shape = (8, 3, 20000)
    flux = process(generator, slow, shape, 0.05) + process(generator, optical, shape, 0.2)
    found = conductivity(series_of(flux.swapaxes(1, 2)), isotropic=True)
    exact = kappa_of(integral_of(slow, 0.05) + integral_of(optical, 0.2))
    assert abs(found.kappa - exact) < 2 * found.spread
    assert found.spread < 0.12 * exact


def test_the_tensor_of_coupled_and_unequal_directions_is_found():
    mixing = np.array([[1.0, 0.0, 0.0], [0.5, 1.5, 0.0], [0.0, 0.0, 2.0]])
    flux = process(np.random.default_rng(3), PEAK, (16, 3, 10000)).swapaxes(1, 2) @ mixing.T
    found = conductivity(series_of(flux), isotropic=False)
    exact = kappa_of(integral_of(PEAK)) * mixing @ mixing.T
    assert (abs(found.tensor - exact) < 2.5 * found.tensor_spread).all()
    assert (found.tensor == found.tensor.T).all()
    assert found.kappa == pytest.approx(np.trace(found.tensor) / 3)
    assert found.tensor_spread[0, 0] < 0.15 * exact[0, 0]


def test_a_constant_part_of_the_flux_changes_nothing(known):
    series, _ = known
    shifted = series_of(series.flux + np.array([3.0, -20.0, 100.0]))
    found, shifted_found = (conductivity(each, isotropic=True) for each in (series, shifted))
    assert shifted_found.kappa == pytest.approx(found.kappa)
    np.testing.assert_allclose(shifted_found.integral.values, found.integral.values, rtol=1e-6)


def test_rotating_the_flux_rotates_the_tensor():
    flux = process(np.random.default_rng(4), PEAK, (8, 3, 10000)).swapaxes(1, 2) * [1.0, 2.0, 3.0]
    turn = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    plain, turned = (conductivity(series_of(each), False).tensor for each in (flux, flux @ turn.T))
    np.testing.assert_allclose(turned, turn @ plain @ turn.T)


def test_errors_of_unlike_directions_are_those_of_the_runs():
    """Directions that differ were taken for noise, or for as many equal series."""
    stretched = np.sqrt([0.1, 0.1, 10.0])
    generator = np.random.default_rng(0)
    found = []
    for _ in range(20):
        flux = process(generator, PEAK, (4, 3, 8000)).swapaxes(1, 2) * stretched
        found.append(conductivity(series_of(flux), isotropic=False))
    values, stated = (
        np.array([getattr(one.integral, key)[100] for one in found]) for key in ("values", "spreads")
    )
    assert stated.mean() == pytest.approx(values.std(ddof=1), rel=0.4)
    exact = kappa_of(integral_of(PEAK)) * 10.2 / 3
    assert np.mean([one.by_run for one in found]) == pytest.approx(exact, rel=0.1)
    single = running_integral(series_of(flux[:1]), isotropic=False)
    assert np.isnan(single.spreads).all()


def test_the_running_integral_follows_the_exponential(known):
    series, exact = known
    integral = running_integral(series, isotropic=True)
    lag = 10
    at_lag = integral.times[lag] * 1e3 / INTERVAL
    assert at_lag == pytest.approx(lag)
    # The trapezoid over 0.9^n, with the variance 1/(1 - 0.81) at lag zero.
    terms = 0.9 ** np.arange(lag + 1)
    expected = kappa_of((terms.sum() - (terms[0] + terms[-1]) / 2) / (1 - 0.81))
    assert abs(integral.values[lag] - expected) < 3 * integral.spreads[lag]
    # In the plateau it stands where the cepstral estimate does.
    assert abs(integral.values[100] - exact) < 3 * integral.spreads[100]
    assert integral.spreads[100] < 0.15 * exact


def test_stacie_is_of_the_same_opinion(known):
    series, exact = known
    found = fitted_conductivity(series_of(series.flux[:, :3000]), isotropic=True)
    assert not found.failure
    assert abs(found.kappa - exact) < 3 * found.spread
    assert found.spread < 0.15 * exact


def test_a_fit_that_stacie_cannot_make_is_said():
    flux = process(np.random.default_rng(5), PEAK, (1, 3, 80)).swapaxes(1, 2)
    found = fitted_conductivity(series_of(flux), isotropic=True)
    assert np.isnan(found.kappa) == bool(found.failure)


def test_runs_of_unequal_length_are_cut_to_the_shortest():
    generator = np.random.default_rng(6)
    runs = [generator.normal(size=(n, 3)) for n in (300, 200, 250)]
    series = FluxSeries.of(runs, INTERVAL, VOLUME, TEMPERATURE)
    assert series.flux.shape == (3, 200, 3)
    np.testing.assert_array_equal(series.flux[0], runs[0][:200])


def with_nan():
    flux = np.random.default_rng(7).normal(size=(2, 100, 3))
    flux[1, 42, 2] = np.nan
    return flux


NOISE = np.random.default_rng(8).normal(size=(2, 100, 3))


@pytest.mark.parametrize(
    ("flux", "changed", "words"),
    [
        (with_nan(), {}, "along z of run 1 is nan at sample 42"),
        (NOISE, {"volume": 0.0}, "volume .* 0 Å³"),
        (NOISE, {"temperature": -1.0}, "temperature .* -1 K"),
        (NOISE, {"interval": np.nan}, "time between samples .* nan fs"),
        (NOISE[:, :60], {}, "60 samples a run, fewer than 66"),
        (NOISE * [1, 0, 1], {}, "along y of run 0 never changes"),
        (NOISE[0], {}, r"\(runs, samples, 3\), these are \(100, 3\)"),
        (NOISE[:0], {}, r"these are \(0, 100, 3\)"),
    ],
)
def test_fluxes_that_cannot_be_right_are_refused(flux, changed, words):
    with pytest.raises(UserError, match=words):
        series_of(flux, **changed)


def test_runs_too_short_for_the_slowest_motion_are_refused():
    flux = process(np.random.default_rng(9), (0.9995,), (4, 3, 2000)).swapaxes(1, 2)
    with pytest.raises(UserError, match=r"runs of 8 ps are too short for the slowest motion .* run longer"):
        conductivity(series_of(flux), isotropic=True)


def test_runs_of_enough_correlation_times_are_not_refused():
    generator = np.random.default_rng(10)
    for _ in range(20):
        flux = process(generator, (0.98,), (1, 3, 4000)).swapaxes(1, 2)
        assert conductivity(series_of(flux), isotropic=True).kappa > 0


def test_samples_too_far_apart_show_at_the_highest_frequency():
    flux = process(np.random.default_rng(11), PEAK, (1, 3, 20000)).swapaxes(1, 2)
    close, far = (conductivity(series_of(each), True) for each in (flux, flux[:, ::20]))
    assert close.at_highest_frequency < 0.01
    assert far.at_highest_frequency > 0.5


@pytest.mark.skipif(
    not SILICA.is_file(),
    reason="MLIP_BENCH_DATA names no folder with silica-heatflux/: the published value is not checked",
)
def test_the_published_series_of_silica_gives_the_published_value_and_error():
    # LAMMPS's metal units: eV Å/ps; volume and temperature are in the file's header.
    flux = np.loadtxt(SILICA, skiprows=6, usecols=(1, 2, 3)) / 1e3
    series = FluxSeries.of([flux], interval=1.0, volume=3130.431110818, temperature=983.172635)
    found = conductivity(series, isotropic=True)
    published, published_spread = 2.205, 0.215
    assert abs(found.kappa - published) < published_spread
    assert found.spread == pytest.approx(published_spread, rel=0.20)
    fitted = fitted_conductivity(series, isotropic=True)
    assert abs(fitted.kappa - found.kappa) < found.spread


# Argon: the units of the reduced quantities below.
EPSILON, SIGMA, MASS = 120 * constants.k / constants.e, 3.405, 39.948
TAU_PS = SIGMA * 1e-10 * np.sqrt(MASS * constants.atomic_mass / (120 * constants.k)) * 1e12


def liquid_run(seed, n_steps):
    """Return fluxes (n, 3) in eV Å/fs, mean temperature (K), volume (Å³): a liquid near its triple point.

    1372 atoms at density 0.8442 and temperature 0.722, cut at 2.5: every fourth step of 0.003.
    """
    from ase.build import bulk

    atoms = bulk("Ar", "fcc", a=(4 / 0.8442) ** (1 / 3) * SIGMA, cubic=True).repeat(7)
    temperature = 0.722 * 120
    with LammpsSession(["Ar"]) as session:
        session.place(atoms)
        for line in (
            f"pair_style lj/cut {2.5 * SIGMA}",
            f"pair_coeff 1 1 {EPSILON} {SIGMA}",
            f"neighbor {0.3 * SIGMA} bin",
            f"timestep {0.003 * TAU_PS}",
            f"velocity all create {2 * temperature} {seed} mom yes dist gaussian",
            f"fix motion all nvt temp {temperature} {temperature} {0.5 * TAU_PS}",
            "run 10000 post no",
            "unfix motion",
            "velocity all zero linear",
            "fix motion all nve",
            "compute kinetic all ke/atom",
            "compute potential all pe/atom",
            "compute virial all stress/atom NULL virial",
            "compute flux all heat/flux kinetic potential virial",
            "fix fluxes all vector 4 c_flux[1] c_flux[2] c_flux[3]",
            "fix temperatures all vector 4 c_thermo_temp",
            f"run {n_steps} post no",
        ):
            session.command(line)
        count = n_steps // 4
        fluxes = [[session.lmp.extract_fix("fluxes", 0, 2, i, j) for j in range(3)] for i in range(count)]
        temperatures = [session.lmp.extract_fix("temperatures", 0, 1, i) for i in range(count)]
    return np.array(fluxes) / 1e3, float(np.mean(temperatures)), atoms.get_volume()


@pytest.mark.slow
def test_the_lennard_jones_liquid_has_its_published_conductivity():
    """κ* = 6.934(28): the reference calculation of STACIE's documentation, 100 runs of 300 τ."""
    runs, temperatures, volumes = zip(*(liquid_run(seed, 33600) for seed in (1, 2, 3, 4)), strict=True)
    series = FluxSeries.of(runs, 4 * 0.003 * TAU_PS * 1e3, volumes[0], float(np.mean(temperatures)))
    found = conductivity(series, isotropic=True)
    reduced = constants.k / (SIGMA * 1e-10) ** 2
    reduced *= np.sqrt(120 * constants.k / (MASS * constants.atomic_mass))
    kappa, spread = found.kappa / reduced, found.spread / reduced
    assert spread <= 0.08 * kappa
    assert abs(kappa - 6.934) < 2 * spread
    fitted = fitted_conductivity(series, isotropic=True)
    assert abs(fitted.kappa - found.kappa) < 2 * found.spread
