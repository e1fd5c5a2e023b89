"""Models of the package ``sevenn``, from configurations and checkpoints.

Inside sevenn, stress is in eV/Å³ in the order xx yy zz xy yz zx, and positive in compression: the opposite of
ASE's sign (reference: ``sevenn/nn/force_output.py``; checked by the conformance suite).
"""

import contextlib
import copy
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import atomic_numbers, chemical_symbols

from mlip_bench.potentials.sevennet import checkpoints, convolution
from mlip_bench.potentials.sevennet.package import (
    DEFAULT_E3_EQUIVARIANT_MODEL_CONFIG,
    AtomGraphSequential,
    build_E3_equivariant_model,
    chemical_species_preprocess,
    keys,
    sevenn,
    torch,
)

# sevenn's name of the module that scales and shifts the energies of atoms.
RESCALE = "rescale_atomic_energy"


def configuration(
    elements: Sequence[str],
    cutoff: float,
    channels: int,
    lmax: int,
    layers: int,
    radial_nodes: Sequence[int],
    readout_nodes: Sequence[int],
    scale: float,
    neighbours: float,
) -> dict[str, Any]:
    """Return sevenn's configuration of a model without shifts of the energy; scale in eV."""
    found = copy.deepcopy(DEFAULT_E3_EQUIVARIANT_MODEL_CONFIG)
    found |= chemical_species_preprocess(list(elements))
    return found | {
        keys.CUTOFF: cutoff,
        keys.NODE_FEATURE_MULTIPLICITY: channels,
        keys.LMAX: lmax,
        keys.NUM_CONVOLUTION: layers,
        keys.CONVOLUTION_WEIGHT_NN_HIDDEN_NEURONS: list(radial_nodes),
        keys.READOUT_AS_FCN: bool(readout_nodes),
        keys.READOUT_FCN_HIDDEN_NEURONS: list(readout_nodes),
        # Smooth, as forces must be; sevenn's own default is relu.
        keys.READOUT_FCN_ACTIVATION: "silu",
        # Features of degree l have the parity (-1)^l of the spherical harmonics: inversion is exact, and half
        # of the products of SevenNet-0, whose features have no parity, are not there.
        keys.IS_PARITY: True,
        keys.IRREPS_MANUAL: [f"{channels}x0e", *[natural(channels, lmax)] * (layers - 1), f"{channels}x0e"],
        keys.SHIFT: [0.0] * len(elements),
        keys.SCALE: float(scale),
        # Messages of a disordered structure add up like a random walk. With the number itself, as in
        # sevenn's defaults, training on mlearn Mo needs about three times the epochs.
        keys.CONV_DENOMINATOR: float(neighbours) ** 0.5,
        "version": sevenn.__version__,
    }


def natural(channels: int, lmax: int) -> str:
    """Return features of all degrees up to ``lmax``, each with the parity of its spherical harmonics."""
    return " + ".join(f"{channels}x{degree}{'eo'[degree % 2]}" for degree in range(lmax + 1))


def build(config: dict[str, Any]) -> AtomGraphSequential:
    """Build the model of a configuration, with new random weights from torch's generator."""
    with _quiet():
        return _ours(build_E3_equivariant_model(copy.deepcopy(config)))


def _ours(model: AtomGraphSequential) -> AtomGraphSequential:
    """Put our convolutions into a model, and let it run in double precision too.

    sevenn makes one-hot species single, whatever the weights.
    """
    convolution.put_into(model)

    def match(
        module: torch.nn.Module, inputs: Any, output: dict[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        number = next(model.parameters()).dtype
        for name in (keys.NODE_FEATURE, keys.NODE_ATTR):
            output[name] = output[name].to(number)
        return output

    model.get_submodule("onehot_idx_to_onehot").register_forward_hook(match)
    return model


def read(
    checkpoint: str | Path, modal: str = "", trust: bool = False
) -> tuple[dict[str, Any], AtomGraphSequential]:
    """Read configuration and model of a ``.pth`` file, or of a pretrained model by its name.

    ``modal`` is the level of theory of a multi-fidelity model; ``trust`` lets a file run code of its author.
    Raises :class:`UserError` where the file needs either, and for what is not a checkpoint of sevenn.
    """
    with _quiet():
        config, model = checkpoints.read(checkpoint, modal, trust)
        return config, _ours(model)


def plain(config: dict[str, Any], model: AtomGraphSequential) -> AtomGraphSequential:
    """Return the part of a model that sevenn builds from its configuration, without heads of ours."""
    made = build(config)
    state = model.state_dict()
    # Modules that the model lacks, or has of its own kind, stay as they are made: nothing is taken of them.
    made.load_state_dict(
        {
            name: state[name] if name in state and state[name].shape == values.shape else values
            for name, values in made.state_dict().items()
        }
    )
    return made


def take_shift(config: dict[str, Any], model: AtomGraphSequential) -> dict[str, float]:
    """Set the shift of each element to zero in a model, and return what it was (eV).

    Energies of atoms are in single precision: they should hold what the network says, and no more.
    """
    types = config[keys.TYPE_MAP]
    weights = model.get_parameter(f"{RESCALE}.shift")
    per_type = np.broadcast_to(weights.detach().cpu().numpy(), len(types)).tolist()
    with torch.no_grad():
        weights.zero_()
    config[keys.SHIFT] = [0.0] * len(types)
    return {chemical_symbols[number]: per_type[index] for number, index in types.items()}


def write(path: Path, config: dict[str, Any], model: torch.nn.Module, shifts: Mapping[str, float]) -> None:
    """Write a checkpoint that sevenn reads, with the shift (eV) of each element."""
    state = {name: values.cpu().float() if values.is_floating_point() else values.cpu()
             for name, values in model.state_dict().items()}  # fmt: skip
    types = config[keys.TYPE_MAP]
    per_type = torch.zeros(len(types))
    for symbol, shift in shifts.items():
        per_type[types[atomic_numbers[symbol]]] = shift
    state[f"{RESCALE}.shift"] = per_type
    state[f"{RESCALE}.scale"] = state[f"{RESCALE}.scale"].expand(len(types)).clone()
    config = config | {keys.SHIFT: per_type.tolist()}
    torch.save({"config": config, "model_state_dict": state, "epoch": 0}, path)


def elements(config: dict[str, Any]) -> tuple[str, ...]:
    """Return the elements that a model knows."""
    return tuple(sorted(config[keys.CHEMICAL_SPECIES]))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep sevenn's advice on accelerators and torch's on pickles from the user's terminal."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
