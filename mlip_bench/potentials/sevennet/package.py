"""Everything that we use of the package ``sevenn`` and of what it stands on, imported here and only here.

On import they warn of what their dependencies deprecate, which is of no use to our users.
"""

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import sevenn
    import torch
    from e3nn.o3 import Irreps, Linear, spherical_harmonics, wigner_3j
    from sevenn import _keys as keys
    from sevenn._const import DEFAULT_E3_EQUIVARIANT_MODEL_CONFIG
    from sevenn.checkpoint import SevenNetCheckpoint
    from sevenn.checkpoint import _config_cp_routine as completed_configuration
    from sevenn.model_build import build_E3_equivariant_model
    from sevenn.nn.convolution import IrrepsConvolution
    from sevenn.nn.cue_helper import is_cue_available
    from sevenn.nn.edge_embedding import SphericalEncoding
    from sevenn.nn.equivariant_gate import EquivariantGate
    from sevenn.nn.flash_helper import is_flash_available
    from sevenn.nn.force_output import ForceStressOutputFromEdge
    from sevenn.nn.linear import FCN_e3nn, IrrepsLinear
    from sevenn.nn.oeq_helper import is_oeq_available
    from sevenn.nn.self_connection import (
        SelfConnectionIntro,
        SelfConnectionLinearIntro,
        SelfConnectionOutro,
    )
    from sevenn.nn.sequential import AtomGraphSequential
    from sevenn.util import (
        chemical_species_preprocess,
        load_checkpoint,
        pretrained_name_to_path,
    )

__all__ = [
    "DEFAULT_E3_EQUIVARIANT_MODEL_CONFIG",
    "AtomGraphSequential",
    "EquivariantGate",
    "FCN_e3nn",
    "ForceStressOutputFromEdge",
    "Irreps",
    "IrrepsConvolution",
    "IrrepsLinear",
    "Linear",
    "SelfConnectionIntro",
    "SelfConnectionLinearIntro",
    "SelfConnectionOutro",
    "SevenNetCheckpoint",
    "SphericalEncoding",
    "build_E3_equivariant_model",
    "chemical_species_preprocess",
    "completed_configuration",
    "is_cue_available",
    "is_flash_available",
    "is_oeq_available",
    "keys",
    "load_checkpoint",
    "pretrained_name_to_path",
    "sevenn",
    "spherical_harmonics",
    "torch",
    "wigner_3j",
]
