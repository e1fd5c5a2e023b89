"""The keywords of ``input.nn``, those of n2p2 and of RuNNer: honoured, without effect here, or refused.

A keyword that changes energies or forces and is not honoured is refused by name, and so is one that neither
code knows; what only steers training and output is passed over.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from mlip_bench.data.fortran import to_float
from mlip_bench.errors import UserError, did_you_mean

OTHER_NAMES = {
    "symfunction": "symfunction_short",
    "symfunction_short_atomic": "symfunction_short",
    "element_symfunction_short_atomic": "element_symfunction_short",
    "global_symfunction_short_atomic": "global_symfunction_short",
    "global_hidden_layers_short_atomic": "global_hidden_layers_short",
    "global_nodes_short_atomic": "global_nodes_short",
    "global_activation_short_atomic": "global_activation_short",
    "scale_min_short_atomic": "scale_min_short",
    "scale_max_short_atomic": "scale_max_short",
    "nnp_generation": "nnp_type",
    "nnp_type_gen": "nnp_type",
    "nnp_gen": "nnp_type",
}

# Keywords of which one meaning only is supported.
ONLY = {"nnp_type": ("2", "2G-HDNNP"), "nn_type_short": ("1",)}

REPEATED = {"atom_energy", "symfunction_short", "element_symfunction_short", "global_symfunction_short"}

HONOURED = REPEATED | {
    "center_symmetry_functions",
    "conv_energy",
    "conv_length",
    "cutoff_alpha",
    "cutoff_type",
    "elements",
    "global_activation_short",
    "global_hidden_layers_short",
    "global_nodes_short",
    "mean_energy",
    "nn_type_short",
    "nnp_type",
    "normalize_nodes",
    "number_of_elements",
    "scale_max_short",
    "scale_min_short",
    "scale_symmetry_functions",
    "scale_symmetry_functions_sigma",
}

# Training, selection of data, output, how work is shared: no energy of a trained network depends on it.
WITHOUT_EFFECT = {
    "analyze_composition",
    "analyze_error",
    "analyze_error_charge_step",
    "analyze_error_energy_step",
    "analyze_error_force_step",
    "biasweights_max",
    "biasweights_min",
    "bond_threshold",
    "calculate_final_force",
    "calculate_forces",
    "calculate_frequencies",
    "calculate_hessian",
    "calculate_normalmodes",
    "calculate_stress",
    "charge_error_threshold",
    "charge_fraction",
    "charge_group",
    "charge_grouping_by_structure",
    "charge_update_scaling",
    "check_forces",
    "check_input_forces",
    "conv_charge",
    "data_clustering",
    "debug_mode",
    "detailed_validation_files",
    "detect_saturation",
    "element_decoupled_forces_v2",
    "element_decoupled_kalman",
    "enable_on_the_fly_input",
    "energy_fraction",
    "energy_threshold",
    "enforce_max_num_neighbors_atomic",
    "environment_analysis",
    "epochs",
    "find_contradictions",
    "fitmode",
    "fitting_unit",
    "fix_weights",
    "fixed_short_energy_error_threshold",
    "fixed_short_force_error_threshold",
    "force_energy_ratio",
    "force_fraction",
    "force_grouping_by_structure",
    "force_threshold",
    "force_update_scaling",
    "force_weight",
    "global_output_nodes_short",
    "gradient_adam_beta1",
    "gradient_adam_beta2",
    "gradient_adam_epsilon",
    "gradient_adam_eta",
    "gradient_eta",
    "gradient_type",
    "growth_mode",
    "initialization_only",
    "jacobian_mode",
    "joint_energy_force_update",
    "kalman_damp_charge",
    "kalman_damp_force",
    "kalman_damp_short",
    "kalman_epsilon",
    "kalman_eta",
    "kalman_etamax",
    "kalman_etatau",
    "kalman_lambda_charge",
    "kalman_lambda_charge_constraint",
    "kalman_lambda_short",
    "kalman_nue_charge",
    "kalman_nue_charge_constraint",
    "kalman_nue_short",
    "kalman_q0",
    "kalman_qmin",
    "kalman_qtau",
    "kalman_type",
    "main_error_metric",
    "max_energy",
    "max_force",
    "md_mode",
    "memorize_symfunc_results",
    "mix_all_points",
    "nguyen_widrow_weights_charge",
    "nguyen_widrow_weights_ewald",
    "nguyen_widrow_weights_short",
    "noise_charge",
    "noise_energy",
    "noise_force",
    "normalize_data_set",
    "optmode_charge",
    "optmode_short_energy",
    "optmode_short_force",
    "parallel_mode",
    "points_in_memory",
    "precondition_weights",
    "prepare_md",
    "print_all_deshortdw",
    "print_all_dfshortdw",
    "print_all_electrostatic_weights",
    "print_all_short_weights",
    "print_convergence_vector",
    "print_date_and_time",
    "print_force_components",
    "print_mad",
    "print_sensitivity",
    "pstring",
    "random_number_type",
    "random_order_training",
    "random_seed",
    "regularize_fit_param",
    "remove_atom_energies",
    "repeated_energy_update",
    "reset_kalman",
    "restrict_weights",
    "rmse_threshold",
    "rmse_threshold_charge",
    "rmse_threshold_energy",
    "rmse_threshold_force",
    "rmse_threshold_trials",
    "rmse_threshold_trials_charge",
    "rmse_threshold_trials_energy",
    "rmse_threshold_trials_force",
    "runner_mode",
    "save_kalman_matrices",
    "scale_max_elec",
    "scale_min_elec",
    "selection_mode",
    "selection_mode_charge",
    "selection_mode_energy",
    "selection_mode_force",
    "separate_bias_ini_short",
    "separate_kalman_short",
    "short_energy_error_threshold",
    "short_energy_fraction",
    "short_energy_group",
    "short_force_error_threshold",
    "short_force_fraction",
    "short_force_group",
    "shuffle_weights_short_atomic",
    "silent_mode",
    "steepest_descent_step_charge",
    "steepest_descent_step_energy_short",
    "steepest_descent_step_force_short",
    "symfunction_correlation",
    "task_batch_size_charge",
    "task_batch_size_energy",
    "task_batch_size_force",
    "test_fraction",
    "total_charge_error_threshold",
    "update_single_element",
    "update_strategy",
    "update_worst_charges",
    "update_worst_short_energies",
    "update_worst_short_forces",
    "updater_type",
    "use_atom_charges",
    "use_atom_energies",
    "use_charge_constraint",
    "use_noisematrix",
    "use_old_scaling",
    "use_old_weights_charge",
    "use_old_weights_short",
    "use_omp_mkl",
    "use_sf_groups",
    "use_short_forces",
    "use_short_nn",
    "use_systematic_weights_charge",
    "use_systematic_weights_short",
    "weight_analysis",
    "weight_constraint",
    "weighte_constraint",
    "weights_max",
    "weights_min",
    "weightse_max",
    "weightse_min",
    "write_fit_statistics",
    "write_neuronstats",
    "write_pdb",
    "write_pov",
    "write_pwscf",
    "write_symfunctions",
    "write_temporary_weights",
    "write_traincharges",
    "write_trainforces",
    "write_trainlog",
    "write_trainpoints",
    "write_unformatted",
    "write_weights_epoch",
    "write_xyz",
}

_CHARGES = "electrostatics and charges"
_PAIRS = "networks of pairs"
_BY_ELEMENT = "networks that differ in shape between elements"
_DISPERSION = "dispersion corrections"
_SPIN = "magnetic moments"
REFUSED = {
    "committee_mode": "committees",
    "committee_size": "committees",
    "element_activation_electrostatic": _CHARGES,
    "element_activation_pair": _PAIRS,
    "element_activation_short": _BY_ELEMENT,
    "element_hidden_layers_electrostatic": _CHARGES,
    "element_hidden_layers_pair": _PAIRS,
    "element_hidden_layers_short": _BY_ELEMENT,
    "element_nodes_electrostatic": _CHARGES,
    "element_nodes_pair": _PAIRS,
    "element_nodes_short": _BY_ELEMENT,
    "element_pairsymfunction_short": _PAIRS,
    "element_symfunction_electrostatic": _CHARGES,
    "electrostatic_type": _CHARGES,
    "enforce_totcharge": _CHARGES,
    "ewald_alpha": _CHARGES,
    "ewald_cutoff": _CHARGES,
    "ewald_kmax": _CHARGES,
    "ewald_prec": _CHARGES,
    "ewald_truncation_error_method": _CHARGES,
    "fixed_charge": _CHARGES,
    "fixed_gausswidth": _CHARGES,
    "four_pi_epsilon": _CHARGES,
    "global_activation_electrostatic": _CHARGES,
    "global_activation_pair": _PAIRS,
    "global_hidden_layers_electrostatic": _CHARGES,
    "global_hidden_layers_pair": _PAIRS,
    "global_nodes_electrostatic": _CHARGES,
    "global_nodes_pair": _PAIRS,
    "global_pairsymfunction_short": _PAIRS,
    "global_symfunction_electrostatic": _CHARGES,
    "initial_hardness": _CHARGES,
    "ion_forces_only": "forces on some atoms only",
    "pairsymfunction_short": _PAIRS,
    "remove_vdw_energies": _DISPERSION,
    "screen_electrostatics": _CHARGES,
    "symfunction_electrostatic": _CHARGES,
    "use_atom_spins": _SPIN,
    "use_committee": "committees",
    "use_damping": "damping",
    "use_electrostatic_nn": _CHARGES,
    "use_electrostatics": _CHARGES,
    "use_fixed_charges": _CHARGES,
    "use_gausswidth": _CHARGES,
    "use_magnetic": _SPIN,
    "use_vdw": _DISPERSION,
    "vdw_coefficient": _DISPERSION,
    "vdw_cutoff": _DISPERSION,
    "vdw_radius": _DISPERSION,
    "vdw_screening": _DISPERSION,
    "vdw_type": _DISPERSION,
}


class Line(NamedTuple):
    """One line with a keyword: where it stands, for messages, and its words after the keyword."""

    where: str
    words: list[str]


class Keywords:
    """The honoured keywords of a file; anything else that matters is a :class:`UserError`."""

    def __init__(self, path: Path, text: str):
        self.path = path
        self._lines: dict[str, list[Line]] = {}
        found = list(_split(path, text))
        # The generation first: what else is refused follows from it.
        for word, line in sorted(found, key=lambda one: OTHER_NAMES.get(one[0], one[0]) not in ONLY):
            name = _accepted(word, line)
            if name in self._lines and name not in REPEATED:
                raise UserError(f"{line.where}: '{word}' stands twice; n2p2 asks for one")
            if name in HONOURED:
                self._lines.setdefault(name, []).append(line)

    def __contains__(self, name: str) -> bool:
        return name in self._lines

    def lines(self, name: str) -> list[Line]:
        """Return the lines of a keyword that may stand several times."""
        return self._lines.get(name, [])

    def words(self, name: str, default: list[str] | None = None) -> list[str]:
        """Return what stands behind a keyword; without a default a missing one is a :class:`UserError`."""
        if name in self._lines:
            return self._lines[name][0].words
        if default is None:
            raise UserError(f"{self.path}: not a complete input.nn, '{name}' is missing")
        return default

    def number(self, name: str, default: float | None = None) -> float:
        """Return the number behind a keyword."""
        words = self.words(name, None if default is None else [repr(default)])
        where = self._lines[name][0].where if name in self._lines else str(self.path)
        if not words:
            raise UserError(f"{where}: '{name}' asks for a number")
        return number(where, words[0])


def _split(path: Path, text: str) -> Iterator[tuple[str, Line]]:
    """Yield keyword and line; what follows ``#`` or ``!`` is a comment."""
    for number_of_line, line in enumerate(text.splitlines(), start=1):
        words = line.split("#")[0].split("!")[0].split()
        if words:
            yield words[0], Line(f"{path}, line {number_of_line}", words[1:])


def _accepted(word: str, line: Line) -> str:
    """Return the main name of a keyword that is honoured or without effect."""
    name = OTHER_NAMES.get(word, word)
    if name in REFUSED:
        raise UserError(
            f"{line.where}: '{word}' is not supported ({REFUSED[name]}); without it the potential would be "
            "another"
        )
    if name not in HONOURED and name not in WITHOUT_EFFECT:
        near = did_you_mean(word, HONOURED | WITHOUT_EFFECT | set(REFUSED) | set(OTHER_NAMES))
        near = near if near.startswith(" (did") else ""
        raise UserError(f"{line.where}: '{word}' is a keyword of neither n2p2 nor RuNNer{near}")
    if name in ONLY and line.words[:1] not in [[value] for value in ONLY[name]]:
        raise UserError(
            f"{line.where}: '{' '.join([word, *line.words])}' is not supported: only networks of the second "
            f"generation ({word} {ONLY[name][0]}) are, those of single atoms without charges"
        )
    return name


def number(where: str, word: str) -> float:
    """Return a finite number, also in Fortran's form (1.0d-3)."""
    try:
        value = to_float(word)
    except ValueError:
        raise UserError(f"{where}: '{word}' is not a number") from None
    if value - value != 0:
        raise UserError(f"{where}: '{word}' is not finite")
    return value


def whole_number(where: str, word: str) -> int:
    """Return a whole number."""
    value = number(where, word)
    if value != int(value):
        raise UserError(f"{where}: '{word}' is not a whole number")
    return int(value)
