"""What atoms of a network of sevenn do by themselves, on a CPU: linear maps and gates, irrep by irrep.

In sevenn the features of an atom are one row, channel outside and component inside, which every module of
e3nn cuts into irreps, transposes and puts together again. Here those of an irrep are an array of their own
from module to module, (n_atoms · components, channels), which a linear map multiplies at once. Drop-in for
sevenn's modules: the same weights under the same names, the same results to rounding; on a GPU they leave the
work to sevenn.
"""

import math
from collections.abc import Sequence
from typing import Any, Self

import torch

from mlip_bench.potentials.sevennet.package import (
    EquivariantGate,
    Irreps,
    IrrepsLinear,
    SelfConnectionIntro,
    SelfConnectionLinearIntro,
    SelfConnectionOutro,
    keys,
    wigner_3j,
)

Blocks = dict[Any, torch.Tensor]
"""Features by irreps, each (n_atoms · components, channels), the components of an atom side by side."""


def blocks_of(features: torch.Tensor | Blocks, irreps: Irreps) -> Blocks:
    """Return features as blocks, from e3nn's order where they are in it still."""
    if isinstance(features, dict):
        return features
    # split, and not slices: their derivatives would each be as large as all features.
    parts = features.split([block.dim for block in irreps], 1)
    found: Blocks = {}
    for (channels, irrep), part in zip(irreps, parts, strict=True):
        found[irrep] = part.unflatten(1, (channels, irrep.dim)).transpose(1, 2).flatten(0, 1)
    return found


def rows(blocks: Blocks, irreps: Irreps) -> torch.Tensor:
    """Return features as rows of atoms, component outside and channel inside."""
    parts = [blocks[irrep].unflatten(0, (-1, irrep.dim)).flatten(1) for _, irrep in irreps]
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)


def in_order(blocks: Blocks, irreps: Irreps) -> torch.Tensor:
    """Return features in e3nn's order: rows of atoms, channel outside and component inside."""
    parts = [blocks[irrep].unflatten(0, (-1, irrep.dim)).transpose(1, 2).flatten(1) for _, irrep in irreps]
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)


def are_unique(irreps: Irreps) -> bool:
    """Return whether every irrep stands in one block only."""
    return len({irrep for _, irrep in irreps}) == len(irreps)


class Maps:
    """Matrices of channels that lead from irreps to irreps, cut from one array of weights.

    A map is the irrep that it takes, the one that it gives, the shape of its weights, whose last length is
    that of the channels given, and a factor.
    """

    def __init__(self, maps: Sequence[tuple[Any, Any, tuple[int, ...], float]], given: Irreps):
        self._pairs = [(source, target, shape[-1]) for source, target, shape, _ in maps]
        self._sizes = [math.prod(shape) for _, _, shape, _ in maps]
        factors = torch.cat([torch.full((math.prod(shape),), factor) for _, _, shape, factor in maps])
        self._factors = {number: factors.to(number) for number in (torch.float32, torch.float64)}
        reached = {target for _, target, _ in self._pairs}
        self._empty = [(channels, irrep) for channels, irrep in given if irrep not in reached]

    @classmethod
    def of_linear(cls, linear: Any) -> Self:
        """Take the maps of an e3nn ``Linear``; its biases, which come from no input, are not among them."""
        maps = [
            (linear.irreps_in[one.i_in].ir, linear.irreps_out[one.i_out].ir, one.path_shape, one.path_weight)
            for one in linear.instructions
            if one.i_in >= 0
        ]
        return cls(maps, linear.irreps_out)

    def __call__(self, blocks: Blocks, weights: torch.Tensor) -> Blocks:
        """Return what the maps make of blocks; irreps that nothing leads to are zero."""
        found: Blocks = {}
        parts = (weights * self._factors[weights.dtype]).split(self._sizes)
        for (source, target, width), part in zip(self._pairs, parts, strict=True):
            block = blocks[source] @ part.view(-1, width)
            found[target] = found[target] + block if target in found else block
        n_atoms = next(len(block) // irrep.dim for irrep, block in blocks.items())
        for channels, irrep in self._empty:
            found[irrep] = weights.new_zeros(n_atoms * irrep.dim, channels)
        return found


def shifted(blocks: Blocks, linear: Any) -> Blocks:
    """Return blocks with the biases of an e3nn ``Linear``, which few have."""
    shifts = [one for one in linear.instructions if one.i_in < 0]
    if not shifts:
        return blocks
    found = dict(blocks)
    for one, bias in zip(shifts, linear.bias.split([one.path_shape[0] for one in shifts]), strict=True):
        irrep = linear.irreps_out[one.i_out].ir
        found[irrep] = found[irrep] + bias
    return found


def on_cpu(features: torch.Tensor | Blocks) -> bool:
    """Return whether features are ours to compute with."""
    return isinstance(features, dict) or features.device.type == "cpu"


class OfLinear:
    """A module of sevenn that maps the features of each atom alone, linearly."""

    linear: Any
    maps: Maps

    @classmethod
    def of(cls, source: torch.nn.Module) -> Self:
        """Take over a module of sevenn with its weights."""
        made = cls.__new__(cls)
        made.__dict__ = source.__dict__
        made.maps = Maps.of_linear(made.linear)
        return made

    def mapped(self, features: torch.Tensor | Blocks) -> Blocks:
        """Return the map of features, as blocks."""
        blocks = blocks_of(features, self.linear.irreps_in)
        return shifted(self.maps(blocks, self.linear.weight), self.linear)


class Mapping(OfLinear, IrrepsLinear):
    """sevenn's linear map of the features of an atom."""

    def forward(self, data: dict[str, Any]) -> dict[str, Any]:
        """Replace features by blocks."""
        if not on_cpu(data[self.key_input]):
            return super().forward(data)
        data[self.key_output] = self.mapped(data[self.key_input])
        return data


class LinearSelfConnection(OfLinear, SelfConnectionLinearIntro):
    """sevenn's map from the features of an atom past its messages, the same for all elements."""

    def forward(self, data: dict[str, Any]) -> dict[str, Any]:
        """Keep what the features make, for after the messages."""
        if not on_cpu(data[self.key_x]):
            return super().forward(data)
        data[keys.SELF_CONNECTION_TEMP] = self.mapped(data[self.key_x])
        return data


class SelfConnection(SelfConnectionIntro):
    """sevenn's map from the features of an atom past its messages, one for each element."""

    fc_tensor_product: Any
    maps: Maps

    @classmethod
    def of(cls, source: SelfConnectionIntro) -> Self:
        """Take over a self-connection of sevenn with its weights."""
        made = cls.__new__(cls)
        made.__dict__ = source.__dict__
        product = made.fc_tensor_product
        maps = []
        for one in product.instructions:
            taken, given = product.irreps_in1[one.i_in1].ir, product.irreps_out[one.i_out].ir
            symbol = float(wigner_3j(taken.l, 0, given.l, dtype=torch.float64)[0, 0, 0])
            maps.append((taken, given, one.path_shape, one.path_weight * symbol))
        made.maps = Maps(maps, Irreps([]))
        return made

    def forward(self, data: dict[str, Any]) -> dict[str, Any]:
        """Keep what the features make, for after the messages."""
        if not on_cpu(data[self.key_x]):
            return super().forward(data)
        product, of_elements = self.fc_tensor_product, data[self.key_operand]
        blocks = blocks_of(data[self.key_x], product.irreps_in1)
        if of_elements.shape[1] > 1:  # with one element they are all 1
            blocks = {
                irrep: (
                    block.unflatten(0, (-1, irrep.dim))[..., None] * of_elements[:, None, None, :]
                ).flatten(2).flatten(0, 1)
                for irrep, block in blocks.items()
            }  # fmt: skip
        data[keys.SELF_CONNECTION_TEMP] = self.maps(blocks, product.weight)
        return data


class SelfConnectionEnd(SelfConnectionOutro):
    """Where sevenn adds what was kept past the messages."""

    @classmethod
    def of(cls, source: SelfConnectionOutro) -> Self:
        """Take over the end of a self-connection."""
        made = cls.__new__(cls)
        made.__dict__ = source.__dict__
        return made

    def forward(self, data: dict[str, Any]) -> dict[str, Any]:
        """Add it to the features, of which it may lack some."""
        if not on_cpu(data[self.key_x]):
            return super().forward(data)
        kept = data.pop(keys.SELF_CONNECTION_TEMP)
        data[self.key_x] = {
            irrep: block + kept[irrep] if irrep in kept else block
            for irrep, block in data[self.key_x].items()
        }
        return data


class Gate(EquivariantGate):
    """sevenn's gate: functions of scalars, and tensors times functions of scalars of their own.

    ``last`` hands features on in e3nn's order.
    """

    gate: Any
    last: bool

    @classmethod
    def of(cls, source: EquivariantGate, last: bool) -> Self:
        """Take over a gate of sevenn."""
        made = cls.__new__(cls)
        made.__dict__ = source.__dict__
        made.last = last
        return made

    def forward(self, data: dict[str, Any]) -> dict[str, Any]:
        """Replace features by gated ones."""
        if not on_cpu(data[self.key_x]):
            return super().forward(data)
        found = self._gated(data[self.key_x])
        data[self.key_x] = in_order(found, self.gate.irreps_out) if self.last else found
        return data

    def _gated(self, blocks: Blocks) -> Blocks:
        gate, found = self.gate, {}
        left = {}  # of each block of scalars what was not taken yet
        for (channels, irrep), function in zip(gate.irreps_scalars, gate.act_scalars.acts, strict=True):
            taken, left[irrep] = blocks[irrep].split([channels, blocks[irrep].shape[1] - channels], 1)
            found[irrep] = function(taken)
        if not len(gate.irreps_gated):
            return found
        ((_, irrep),) = gate.irreps_gates
        function = gate.act_gates.acts[0]  # of each block of tensors the same
        gates = function(left.get(irrep, blocks.get(irrep)))
        parts = gates.split([channels for channels, _ in gate.irreps_gated], 1)
        for (_, irrep), part in zip(gate.irreps_gated, parts, strict=True):
            block = blocks[irrep].unflatten(0, (-1, irrep.dim))
            found[irrep] = (block * part[:, None]).flatten(0, 1)
        return found
