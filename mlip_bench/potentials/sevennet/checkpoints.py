"""Checkpoints of sevenn, read without running code of theirs; one level of theory where they have many.

A ``.pth`` file is a pickle, and a pickle can name any function to be called when it is read. Those of sevenn
hold tensors, plain values and NumPy arrays, so nothing else is made of one unless the user trusts it.
"""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mlip_bench.errors import UserError
from mlip_bench.potentials.sevennet import pickles
from mlip_bench.potentials.sevennet.package import (
    AtomGraphSequential,
    IrrepsLinear,
    SevenNetCheckpoint,
    build_E3_equivariant_model,
    completed_configuration,
    keys,
    pretrained_name_to_path,
    sevenn,
    torch,
)

NETWORK = {
    "version",
    keys.MODEL_TYPE,
    keys.CHEMICAL_SPECIES,
    keys.CHEMICAL_SPECIES_BY_ATOMIC_NUMBER,
    keys.NUM_SPECIES,
    keys.TYPE_MAP,
    keys.CUTOFF,
    keys.CUTOFF_FUNCTION,
    keys.RADIAL_BASIS,
    keys._NORMALIZE_SPH,
    keys.NODE_FEATURE_MULTIPLICITY,
    keys.IRREPS_MANUAL,
    keys.LMAX,
    keys.LMAX_EDGE,
    keys.LMAX_NODE,
    keys.IS_PARITY,
    keys.NUM_CONVOLUTION,
    keys.INTERACTION_TYPE,
    keys.SELF_CONNECTION_TYPE,
    keys.CONVOLUTION_WEIGHT_NN_HIDDEN_NEURONS,
    keys.ACTIVATION_RADIAL,
    keys.ACTIVATION_SCARLAR,
    keys.ACTIVATION_GATE,
    keys.CONV_DENOMINATOR,
    keys.TRAIN_DENOMINTAOR,
    keys.USE_BIAS_IN_LINEAR,
    keys.READOUT_AS_FCN,
    keys.READOUT_FCN_HIDDEN_NEURONS,
    keys.READOUT_FCN_ACTIVATION,
    keys.SHIFT,
    keys.SCALE,
    keys.TRAIN_SHIFT_SCALE,
    keys.USE_MODALITY,
    keys.MODAL_MAP,
    keys.NUM_MODALITIES,
    keys.USE_MODAL_WISE_SHIFT,
    keys.USE_MODAL_WISE_SCALE,
    keys.USE_MODAL_NODE_EMBEDDING,
    keys.USE_MODAL_SELF_INTER_INTRO,
    keys.USE_MODAL_SELF_INTER_OUTRO,
    keys.USE_MODAL_OUTPUT_BLOCK,
}
"""Keys of a configuration that decide the network; sevenn builds what they say."""

CONVERTED = {keys.AVG_NUM_NEIGH, keys.TRAIN_AVG_NUM_NEIGH, keys.OPTIMIZE_BY_REDUCE}
"""Keys of older versions, which sevenn brings into the form of today."""

PACKAGES = {keys.USE_FLASH_TP: False, keys.CUEQUIVARIANCE_CONFIG: {}, keys.USE_OEQ: False}
"""Keys that say with which package a network is computed, and their values for none."""

OLD = {"_is_trace_stress", "_num_workers", "data_shuffle", "format_outputs_for_ase", "when"}
# What sevenn itself knows beside all these is of training, of data, and of the machine.
KNOWN = NETWORK | CONVERTED | {*PACKAGES} | OLD | {one for one in vars(keys).values() if isinstance(one, str)}


# -- reading -------------------------------------------------------------------------------------------


def content(path: Path, trust: bool = False) -> dict[str, Any]:
    """Return what ``torch.save`` put into a file: tensors, plain values, arrays; all else only by ``trust``.

    Raises :class:`UserError` for a file that is none of torch, or that would run code.
    """
    try:
        with torch.serialization.safe_globals(_harmless()):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # bytes of anything: torch raises whatever its parser falls over
        other = pickles.other_than_torch(path)
        if other:
            raise _unreadable(path, other) from error
        foreign = pickles.foreign(path, error)
        if not foreign:
            raise _unreadable(path, error) from error
        if not trust:
            raise UserError(
                f"{path}: holds {', '.join(foreign)} beside numbers, and so can run code of others when it "
                "is read; repeat with --trust if you trust its source"
            ) from error
    try:
        return torch.load(path, map_location="cpu", weights_only=False)
    except Exception as error:  # code of the file's author: it may raise anything
        raise _unreadable(path, error) from error


def _harmless() -> list[Any]:
    """Return what NumPy's arrays of numbers are pickled by, under its names of version 1 and 2."""
    numbers = [np.float32, np.float64, np.int32, np.int64, np.bool_]
    found: list[Any] = [np.ndarray, np.dtype, *(type(np.dtype(number)) for number in numbers)]
    for function in (np.zeros(1).__reduce__()[0], np.float64(1).__reduce__()[0]):
        for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
            found.append((function, f"{module}.{getattr(function, '__name__', '')}"))
    return found


def _unreadable(path: Path | str, error: Exception | str) -> UserError:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    # torch names what does not fit in its second line.
    words = " ".join(line.strip() for line in lines[:2])
    return UserError(f"{path}: not a checkpoint that sevenn {sevenn.__version__} reads ({words})")


def read(checkpoint: str | Path, modal: str, trust: bool) -> tuple[dict[str, Any], AtomGraphSequential]:
    """Return configuration and model of a file, or of a pretrained model of the package by its name.

    Of a network of several levels of theory the one called ``modal`` is kept, as a network of its own. Raises
    :class:`UserError` for what is not a checkpoint, or asks for something that sevenn does not know.
    """
    path = Path(checkpoint)
    if not path.is_file():
        # What sevenn ships, or fetches itself, is trusted as the package is.
        path, trust = _pretrained(str(checkpoint)), True
    found = content(path, trust)
    if not isinstance(found, dict):
        raise _unreadable(
            checkpoint, f"it holds a whole {type(found).__name__}; a dict with 'config' and weights is needed"
        )
    if not isinstance(found.get("config"), dict):
        raise _unreadable(checkpoint, "it has no 'config', which tells how the network is built")
    refuse_unknown(found["config"], checkpoint)
    try:
        read_in = _Checkpoint(path, found)
        model = read_in.build_model()
        config = plain(read_in.config) | PACKAGES
        # Weights of older versions have been put into the order of this one, and must not be again.
        config["version"] = sevenn.__version__
        return one_modality(config, model, modal, checkpoint)
    except (OSError, ValueError, LookupError, TypeError, RuntimeError, AttributeError) as error:
        raise _unreadable(checkpoint, error) from error


def _pretrained(name: str) -> Path:
    try:
        return Path(pretrained_name_to_path(name))
    except (OSError, ValueError) as error:
        raise _unreadable(name, error) from error


class _Checkpoint(SevenNetCheckpoint):
    """sevenn's checkpoint of a content that has been read already."""

    def __init__(self, path: Path, found: Mapping[str, Any]):
        super().__init__(path)
        self._config = completed_configuration(copy.deepcopy(found["config"]))
        self._model_state_dict = found["model_state_dict"]
        self._loaded = True


def refuse_unknown(config: Mapping[str, Any], checkpoint: str | Path) -> None:
    """Raise :class:`UserError` for keys that sevenn does not know and that are not switched off."""
    unknown = [
        str(key)
        for key, value in config.items()
        if key not in KNOWN
        # What was set in a training before this one, and data under names of the user's own.
        and not str(key).endswith("_cp")
        and not (str(key).startswith("load_") and str(key).endswith("_path"))
        and not (value is None or value is False or (isinstance(value, list | dict | str) and not value))
    ]
    if unknown:
        raise UserError(
            f"{checkpoint}: its network is set up by {', '.join(unknown)}, which sevenn {sevenn.__version__} "
            "does not know; without that it is not the network that was trained"
        )


def plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a configuration that decides the network, of plain values alone."""
    return {key: _plain(value) for key, value in config.items() if key in NETWORK}


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic | torch.Tensor):
        return value.tolist()
    if isinstance(value, Mapping):
        return {_plain(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


# -- levels of theory ----------------------------------------------------------------------------------


def one_modality(
    config: dict[str, Any], model: AtomGraphSequential, modal: str, checkpoint: str | Path
) -> tuple[dict[str, Any], AtomGraphSequential]:
    """Return the network for one level of theory of a multi-fidelity network.

    Such a network takes the level as one-hot scalars in some of its linear maps; fixed, they are biases.
    """
    known = list(config.get(keys.MODAL_MAP) or {}) if config.get(keys.USE_MODALITY) else []
    if not known:
        if modal:
            raise UserError(f"modal = '{modal}': {checkpoint} has one level of theory; leave modal empty")
        return config, model
    if modal not in known:
        given = f"modal = '{modal}'" if modal else "modal is not given"
        raise UserError(
            f"{given}: {checkpoint} has several levels of theory, set modal to one of {', '.join(known)}"
        )
    index = config[keys.MODAL_MAP][modal]
    single = _of_one_level(config, modal)
    made = build_E3_equivariant_model(copy.deepcopy(single))
    given_modules, state = dict(model.named_children()), model.state_dict()
    for name, module in made.named_children():
        source = given_modules[name]
        if isinstance(source, IrrepsLinear) and source.num_modalities > 1:
            _fix_inputs(module.linear, source.linear, index)
        elif not name.startswith("rescale"):  # made for this level by the configuration
            own = {key: values if key.endswith("bias") and not len(state[f"{name}.{key}"])
                   else state[f"{name}.{key}"] for key, values in module.state_dict().items()}  # fmt: skip
            # Biases that were not there are zero, as they are made.
            module.load_state_dict(own)
    return single, made


def _of_one_level(config: dict[str, Any], modal: str) -> dict[str, Any]:
    """Return the configuration of the network for one level of theory."""
    single = {key: value for key, value in config.items() if "modal" not in key}
    for key in (keys.SHIFT, keys.SCALE):
        if isinstance(config[key], dict):
            single[key] = config[key][modal]
    return single | {
        keys.USE_MODALITY: False,
        keys.USE_BIAS_IN_LINEAR: True,
        keys.USE_MODAL_NODE_EMBEDDING: False,
        keys.USE_MODAL_SELF_INTER_INTRO: False,
        keys.USE_MODAL_SELF_INTER_OUTRO: False,
        keys.USE_MODAL_OUTPUT_BLOCK: False,
    }


def _fix_inputs(made: Any, source: Any, index: int) -> None:
    """Let e3nn's linear map ``made`` do what ``source`` does with a 1 at ``index`` of its last inputs."""
    last = len(source.irreps_in) - 1
    weights, biases = _by_block(made), _by_block(source)
    with torch.no_grad():
        for (i_in, i_out), (path, values) in biases.items():
            if i_in == last:
                _, bias = weights[-1, i_out]
                bias += path.path_weight * values[index]
            elif i_in >= 0:
                own, weight = weights[i_in, i_out]
                # e3nn divides by the root of the number of inputs, of which there are fewer now.
                weight.copy_(values * (path.path_weight / own.path_weight))
            else:
                weights[-1, i_out][1].add_(values)


def _by_block(linear: Any) -> dict[tuple[int, int], tuple[Any, torch.Tensor]]:
    """Return instruction and view of the weights of each pair of input and output; biases have input -1."""
    found = {}
    for stored, biases in ((linear.weight, False), (linear.bias, True)):
        used = [one for one in linear.instructions if (one.i_in < 0) == biases]
        sizes = [int(np.prod(one.path_shape)) for one in used]
        for one, values in zip(used, stored.detach().split(sizes) if used else [], strict=True):
            found[one.i_in, one.i_out] = (one, values.view(one.path_shape))
    return found
