r"""The heads of SevenNet-dFS, which give forces and stress directly.

From the features x of the last layer (as the slide that introduced SevenNet-dFS states it):

.. math:: F_i = a_F\, f_i, \quad
          σ = \frac{1}{V} \sum_i \left\{ [a_{iso} s_i + b]_{xx,yy,zz} + a_{aniso}\, A\, t_i \right\}

with f_i (1x1o), s_i (1x0e) and t_i (1x2e) linear in x_i, and A (6x5) the change of basis from e3nn's l = 2
components to xx yy zz xy yz zx. Nothing is differentiated, so forces are not the gradient of the energy.

The slide leaves open, and here it is chosen:

- the shift b is an energy per atom inside the sum, so that σ is a stress, whatever the cell;
- scales are taken from σV/N of the training data in sevenn's sign: b the mean of the normal components, a_iso
  the RMS of what is left of them, a_aniso the RMS of the shear components; none of them is trained;
- a_F is the RMS force, and forces have no shift, which would break equivariance;
- the slide's f_i is 1x1e, of features without parity, as in SevenNet-0: right under rotation, not under
  inversion. Here features have the parity of their degree, if a checkpoint's have any, and F(-r) = -F(r);
- the energy head is kept.

Energies alone teach a network little: one number of a structure against three of every atom. Training can
therefore show it the gradient of its energy too (``gradient_weight``), at the cost of second derivatives; no
prediction takes it.

The mean force is taken off each structure unless ``remove_net_force`` is off.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mlip_bench.errors import UserError
from mlip_bench.potentials.networks.scales import Scales as TrainingScales
from mlip_bench.potentials.sevennet import backbone, checkpoints
from mlip_bench.potentials.sevennet.blocks import in_order
from mlip_bench.potentials.sevennet.package import (
    AtomGraphSequential,
    FCN_e3nn,
    ForceStressOutputFromEdge,
    Irreps,
    Linear,
    keys,
)

HEADS = "direct_heads"

# Where training finds the gradient of the energy, beside the forces of the head.
GRADIENT_FORCE, GRADIENT_STRESS = "gradient_force", "gradient_stress"

# xx yy zz xy yz zx from e3nn's l = 2 components (xz, xy, 2y² - x² - z², yz, z² - x²), of unit norm.
TENSOR = np.array(
    [
        [0, 0, -(6**-0.5), 0, -(2**-0.5)],
        [0, 0, (2 / 3) ** 0.5, 0, 0],
        [0, 0, -(6**-0.5), 0, 2**-0.5],
        [0, 2**-0.5, 0, 0, 0],
        [0, 0, 0, 2**-0.5, 0],
        [2**-0.5, 0, 0, 0, 0],
    ]
)


@dataclass(frozen=True)
class Scales:
    """a_F (eV/Å), and a_iso, b and a_aniso (eV per atom)."""

    force: float = 1.0
    isotropic: float = 1.0
    shift: float = 0.0
    anisotropic: float = 1.0


def in_sevenns_sign(scales: TrainingScales) -> Scales:
    """Take the scales of training data; the normal components of sevenn have the other sign."""
    return Scales(scales.force, scales.isotropic, -scales.shift, scales.anisotropic)


class DirectHeads(torch.nn.Module):
    """Writes forces (n_atoms, 3) and stress (n_structures, 6), in sevenn's order and sign."""

    def __init__(self, irreps: Irreps, scaled: Scales, remove_net_force: bool):
        super().__init__()
        self.force = Linear(irreps, "1x1o" if "1o" in irreps else "1x1e")
        self.stress = Linear(irreps, "1x0e + 1x2e")
        self._remove_net_force = remove_net_force
        numbers = [scaled.force, scaled.isotropic, scaled.shift, scaled.anisotropic]
        self.register_buffer("scales", torch.tensor(numbers))
        self.register_buffer("tensor", torch.tensor(TENSOR, dtype=torch.get_default_dtype()))

    def forward(self, data: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Add forces and stress to the data."""
        features, batch = data[keys.NODE_FEATURE], data[keys.BATCH]
        if isinstance(features, dict):  # where sevenn's last layer was left out
            features = data[keys.NODE_FEATURE] = in_order(features, self.force.irreps_in)
        n_structures = int(batch.max()) + 1
        a_force, a_isotropic, shift, a_anisotropic = self.get_buffer("scales").unbind()
        forces = a_force * self.force(features)
        n_atoms = torch.bincount(batch, minlength=n_structures).to(forces.dtype)[:, None]
        if self._remove_net_force:
            net = forces.new_zeros(n_structures, 3).index_add(0, batch, forces)
            forces = forces - (net / n_atoms)[batch]
        parts = self.stress(features)
        normal = (a_isotropic * parts[:, :1] + shift) * parts.new_tensor([1.0, 1, 1, 0, 0, 0])
        virials = normal + a_anisotropic * parts[:, 1:] @ self.get_buffer("tensor").T
        total = virials.new_zeros(n_structures, 6).index_add(0, batch, virials)
        data[keys.PRED_FORCE] = forces
        data[keys.PRED_STRESS] = total / data[keys.CELL_VOLUME].reshape(-1, 1).clamp(min=1e-3)
        return data


def configuration(
    config: dict[str, Any], scaled: Scales, remove_net_force: bool, checkpoint: str = ""
) -> dict[str, Any]:
    """Extend sevenn's configuration of a network so that its last layer keeps degrees 0 to 2.

    With parity sevenn's last layer makes no odd vectors, and a force head would see none of the messages.
    Then the configuration has one more layer, which ``with_heads`` leaves out again. Raises
    :class:`UserError` for features without vectors and tensors, and for features of both parities.
    """
    given = config.get(keys.IRREPS_MANUAL)
    channels, lmax = config[keys.NODE_FEATURE_MULTIPLICITY], config[keys.LMAX]
    parity = bool(config[keys.IS_PARITY])
    if parity and not given:
        raise UserError(
            f"{checkpoint} has features of both parities; sevennet-dfs needs one parity per degree"
        )
    without = " + ".join(f"{channels}x{degree}e" for degree in range(lmax + 1))
    hidden = backbone.natural(channels, lmax) if parity else without
    layers = [str(irreps) for irreps in given] if given else []
    if not layers:
        layers = [f"{channels}x0e", *[hidden] * config[keys.NUM_CONVOLUTION]]
    if len(layers) > 2:
        hidden = layers[-2]
    if any(needed not in Irreps(hidden) for needed in ("1o" if parity else "1e", "2e")):
        raise UserError(f"{checkpoint} has features {hidden}; sevennet-dfs needs vectors and tensors in them")
    nodes = config[keys.READOUT_FCN_HIDDEN_NEURONS] if config[keys.READOUT_AS_FCN] else []
    last = " + ".join(str(part) for part in Irreps(hidden) if part.ir.l <= 2)
    per_layer = {
        key: [*config[key], config[key][-1]]
        for key in (keys.CONV_DENOMINATOR, keys.SELF_CONNECTION_TYPE)
        if parity and isinstance(config[key], list)
    }
    return (
        config
        | per_layer
        | {
            keys.NUM_CONVOLUTION: config[keys.NUM_CONVOLUTION] + parity,
            keys.IRREPS_MANUAL: [*layers[:-1], last, *[last] * parity],
            # sevenn's network for the energy takes scalars only; ``with_heads`` puts it behind a linear map.
            keys.READOUT_AS_FCN: False,
            HEADS: {
                "scales": vars(scaled),
                "remove_net_force": remove_net_force,
                "readout_nodes": nodes,
                "spare_layer": parity,
            },
        }
    )


def take_over(model: AtomGraphSequential, trained: AtomGraphSequential, freeze: bool) -> None:
    """Copy the weights of a trained sevennet, but for those of its last layer that have another shape."""
    own = dict(model.named_parameters())
    for name, weights in trained.named_parameters():
        if name in own and own[name].shape == weights.shape:
            own[name].data.copy_(weights)
            own[name].requires_grad_(own[name].requires_grad and not freeze)


def with_heads(config: dict[str, Any], gradient: bool = False) -> AtomGraphSequential:
    """Build the backbone of a configuration and its heads before the readout.

    Nothing is differentiated, unless training asks for the ``gradient`` of the energy as well.
    """
    model = backbone.build(config)
    spare = f"{config[keys.NUM_CONVOLUTION] - 1}_" if config[HEADS].get("spare_layer") else None
    modules: OrderedDict[str, torch.nn.Module] = OrderedDict()
    for name, module in model.named_children():
        if spare and name.startswith(spare):
            continue
        if name == "reduce_input_to_hidden":
            irreps = Irreps(config[keys.IRREPS_MANUAL][-1])
            heads = config[HEADS]
            modules[HEADS] = DirectHeads(irreps, Scales(**heads["scales"]), heads["remove_net_force"])
        if name == "reduce_hidden_to_energy" and config[HEADS]["readout_nodes"]:
            modules[name] = _network(module.irreps_in, config[HEADS]["readout_nodes"])
        elif name != "force_output":
            modules[name] = module
    if gradient:
        modules["gradient"] = ForceStressOutputFromEdge(
            data_key_force=GRADIENT_FORCE, data_key_stress=GRADIENT_STRESS
        )
    key = keys.EDGE_VEC if gradient else None
    return AtomGraphSequential(modules, cutoff=model.cutoff, type_map=model.type_map, data_key_grad=key)


def _network(scalars: Irreps, nodes: Sequence[int]) -> FCN_e3nn:
    """Return a network from scalars to the scaled energy of an atom."""
    return FCN_e3nn(
        scalars,
        dim_out=1,
        hidden_neurons=list(nodes),
        activation=torch.nn.functional.silu,
        data_key_in=keys.NODE_FEATURE,
        data_key_out=keys.SCALED_ATOMIC_ENERGY,
    )


def read(path: Path, trust: bool = False) -> tuple[dict[str, Any], AtomGraphSequential]:
    """Read configuration and model that ``backbone.write`` wrote."""
    try:
        kept = checkpoints.content(path, trust)
        model = with_heads(kept["config"])
        model.load_state_dict(kept["model_state_dict"])
    except (OSError, KeyError, RuntimeError, EOFError) as error:
        raise UserError(f"{path}: not a model of sevennet-dfs ({str(error).splitlines()[0]})") from error
    return kept["config"], model
