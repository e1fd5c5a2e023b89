"""sevenn's convolution by our kernels on a CPU, with first and second derivatives (``kernel``).

A drop-in for ``IrrepsConvolution``: the same weights under the same names, the same results to rounding; on a
GPU it leaves the work to sevenn.
"""

import bisect
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
import torch

from mlip_bench.potentials.networks import derivatives
from mlip_bench.potentials.networks.edge_ranges import arrays, over_edges
from mlip_bench.potentials.networks.tables import tabulated as table_of
from mlip_bench.potentials.sevennet import kernel, training_kernel
from mlip_bench.potentials.sevennet.blocks import (
    Blocks,
    Gate,
    LinearSelfConnection,
    Mapping,
    Maps,
    SelfConnection,
    SelfConnectionEnd,
    are_unique,
    blocks_of,
    on_cpu,
    rows,
    shifted,
)
from mlip_bench.potentials.sevennet.harmonics import Harmonics
from mlip_bench.potentials.sevennet.kernel import Order, Paths
from mlip_bench.potentials.sevennet.package import (
    AtomGraphSequential,
    EquivariantGate,
    IrrepsConvolution,
    IrrepsLinear,
    SelfConnectionIntro,
    SelfConnectionLinearIntro,
    SelfConnectionOutro,
    keys,
    wigner_3j,
)


class Target:
    """Where the used paths of an e3nn ``TensorProduct`` write: rows of all channels of an irrep together.

    Irrep by irrep, and in each component by component, the channels of all paths that end in it lie side by
    side, in the order in which the linear map that follows takes them: its weights multiply these rows.
    """

    def __init__(self, product: Any, wanted: Sequence[Any]):
        self.widths: dict[Any, int] = {}
        offsets = {}
        for path in sorted(used(product, wanted), key=lambda path: path.i_out):
            irrep = product.irreps_out[path.i_out].ir
            offsets[path.i_out] = self.widths.get(irrep, 0)
            self.widths[irrep] = offsets[path.i_out] + product.irreps_out[path.i_out].mul
        first, start = {}, 0
        for irrep, width in self.widths.items():
            first[irrep], start = start, start + irrep.dim * width
        self.dim = start
        self._irreps, self._offsets, self._first = product.irreps_out, offsets, first

    def row(self, i_out: int, component: int) -> int:
        """Return where the channels of a component of a path's output begin."""
        irrep = self._irreps[i_out].ir
        return self._first[irrep] + component * self.widths[irrep] + self._offsets[i_out]

    def blocks(self, sums: torch.Tensor) -> Blocks:
        """Cut rows (n_atoms, dim) into irreps, of all paths together."""
        parts = sums.split([irrep.dim * width for irrep, width in self.widths.items()], 1)
        return {
            irrep: part.reshape(-1, width)
            for part, (irrep, width) in zip(parts, self.widths.items(), strict=True)
        }


def paths_of(product: Any, wanted: Sequence[Any], target: Target, number: type) -> Paths:
    """Tabulate those paths of an e3nn "uvu" ``TensorProduct`` that end in a ``wanted`` irrep."""
    sources, filters = (
        [block.start for block in irreps.slices()] for irreps in (product.irreps_in1, product.irreps_in2)
    )
    channels, of_filter, coefficient = [], [], []
    pairs: list[tuple[int, int, int]] = []
    for index, path in enumerate(used(product, wanted)):
        width = product.irreps_in1[path.i_in1].mul
        channels.append(width)
        degrees = [
            product.irreps_in1[path.i_in1].ir.l,
            product.irreps_in2[path.i_in2].ir.l,
            product.irreps_out[path.i_out].ir.l,
        ]
        symbols = path.path_weight * wigner_3j(*degrees, dtype=torch.float64).numpy()
        symbols[np.abs(symbols) < 1e-12] = 0
        for m1, m3 in np.argwhere(symbols.any(axis=1)).tolist():
            source = sources[path.i_in1] + m1 * width
            pairs.append((index, source, target.row(path.i_out, m3)))
            # The largest two: at most two are not zero.
            terms = np.argsort(-np.abs(symbols[m1, :, m3]))[[0, min(1, degrees[1])]]
            of_filter.append(filters[path.i_in2] + terms)
            coefficient.append(symbols[m1, terms, m3] * ([1, 1] if degrees[1] else [1, 0]))
    return Paths(
        np.array(channels, np.uint64),
        np.cumsum([0, *channels[:-1]]).astype(np.uint64),
        np.array(of_filter, np.uint64),
        np.array(coefficient, number),
        forward=order_of(len(channels), [(path, row, source) for path, source, row in pairs]),
        backward=order_of(len(channels), pairs),
    )


def order_of(n_paths: int, pairs: Sequence[tuple[int, int, int]]) -> Order:
    """Sort pairs, each of a path, the row that it adds to, and the row that it takes."""
    taken = sorted(range(len(pairs)), key=lambda pair: pairs[pair])
    added_to = [pairs[pair][:2] for pair in taken]
    rows_ = sorted(set(added_to))
    found = (
        np.searchsorted([path for path, _ in rows_], range(n_paths + 1)),
        [row for _, row in rows_],
        [bisect.bisect_left(added_to, one) for one in rows_] + [len(pairs)],
        taken,
        [pairs[pair][2] for pair in taken],
    )
    return Order(*(np.array(values, np.uint64) for values in found))


def used(product: Any, wanted: Sequence[Any]) -> list[Any]:
    """Return the instructions of a tensor product that end in a wanted irrep.

    sevenn makes every product of features and spherical harmonics, of either parity; the linear map that
    follows drops what its output has not.
    """
    return [path for path in product.instructions if product.irreps_out[path.i_out].ir in wanted]


def columns_of(product: Any, wanted: Sequence[Any]) -> torch.Tensor | None:
    """Return where the weights of the used paths stand among all; None where all are used."""
    kept, start = used(product, wanted), 0
    chosen: list[int] = []
    for path in product.instructions:
        width = product.irreps_in1[path.i_in1].mul
        if path in kept:
            chosen += range(start, start + width)
        start += width
    return None if len(chosen) == start else torch.tensor(chosen)


class _Messages(torch.autograd.Function):
    """M of x, Y, R and W; ``edges`` is (receivers, senders)."""

    @staticmethod
    def forward(ctx: Any, x: Any, y: Any, r: Any, w: Any, edges: Any, paths: Paths, n: int) -> torch.Tensor:
        ctx.save_for_backward(x, y, r, w)
        ctx.edges, ctx.paths = edges, paths
        sums = x.new_zeros(len(x), n)
        given = [*edges, *arrays(x, y, r, w), paths]
        over_edges(len(r), [sums], lambda part, out: training_kernel.add_messages(part, *given, *out))
        return sums

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        found = _Gradients.apply(gradient, *ctx.saved_tensors, ctx.edges, ctx.paths)
        return (*found, None, None, None)


class _Gradients(torch.autograd.Function):
    """The derivatives of T(g, x, Y, R W) by x, Y, R and W.

    Of those by Y and by W one is computed and the other is NaN, unless both are asked for (``derivatives``).
    They are derived themselves by g, x, R and W, where that by W has no part in what is derived, as in the
    training of forces; what is derived by Y, which depends on positions alone, is NaN.
    """

    @staticmethod
    def forward(ctx: Any, g: Any, x: Any, y: Any, r: Any, w: Any, edges: Any, paths: Paths) -> Any:
        ctx.save_for_backward(g, x, y, r, w)
        ctx.set_materialize_grads(False)
        ctx.edges, ctx.paths = edges, paths
        by_x, by_r = torch.zeros_like(x), torch.empty_like(r)
        by_y, by_w = torch.full_like(y, torch.nan), torch.full_like(w, torch.nan)
        given = [*edges, *arrays(g, x, y, r, w), paths]
        if derivatives.by_weights():
            by_w.zero_()
            own = arrays(by_r)
            over_edges(
                len(r),
                [by_x, by_w],
                lambda part, out: training_kernel.add_weight_gradients(part, *given, *out, *own),
            )
        if derivatives.by_positions():
            by_x.zero_()
            own = arrays(by_y, by_r)
            over_edges(
                len(r), [by_x], lambda part, out: training_kernel.add_gradients(part, *given, *out, *own)
            )
        return by_x, by_y, by_r, by_w

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, on_x: Any, on_y: Any, on_r: Any, on_w: Any) -> Any:
        if on_w is not None:
            raise NotImplementedError("derivatives by weights are not derived again")
        g, x, y, r, w = ctx.saved_tensors
        on = [torch.zeros_like(of) if one is None else one for one, of in ((on_x, x), (on_y, y), (on_r, r))]
        by_g, by_x, by_w, by_r = (torch.zeros_like(one) for one in (g, x, w, r))
        given, own = [*ctx.edges, *arrays(g, x, y, r, w, *on), ctx.paths], arrays(by_r)
        over_edges(
            len(r),
            [by_g, by_x, by_w],
            lambda part, out: training_kernel.add_second_gradients(part, *given, *out, *own),
        )
        return by_g, by_x, torch.full_like(y, torch.nan), by_r, by_w, None, None


class _TabulatedMessages(torch.autograd.Function):
    """M of x, Y and the distances; ``table`` is the kernels' table of weights, its spacing, and the paths."""

    @staticmethod
    def forward(ctx: Any, x: Any, y: Any, r: Any, edges: Any, table: Any, n_target: int) -> torch.Tensor:
        ctx.save_for_backward(x, y, r)
        ctx.edges, ctx.table = edges, table
        sums = x.new_zeros(len(x), n_target)
        given = [*edges, *arrays(x, y, r), *table]
        over_edges(len(r), [sums], lambda part, out: kernel.add_tabulated_messages(part, *given, *out))
        return sums

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        x, y, r = ctx.saved_tensors
        by_x, by_y, by_r = torch.zeros_like(x), torch.empty_like(y), torch.empty_like(r)
        given, own = [*ctx.edges, *arrays(gradient, x, y, r), *ctx.table], arrays(by_y, by_r)
        over_edges(len(r), [by_x], lambda part, out: kernel.add_tabulated_gradients(part, *given, *out, *own))
        return by_x, by_y, by_r, None, None, None


class Convolution(IrrepsConvolution):
    """sevenn's convolution, by our kernels where the features are on a CPU."""

    convolution: Any
    weight_nn: Any
    paths: dict[torch.dtype, Paths]
    columns: torch.Tensor | None
    target: Target

    @classmethod
    def of(cls, source: IrrepsConvolution, wanted: Sequence[Any]) -> Self:
        """Take over a convolution of sevenn with its weights; of what it makes, ``wanted`` is used."""
        made = cls.__new__(cls)
        made.__dict__ = source.__dict__
        made.target = Target(made.convolution, wanted)
        made.paths = {
            torch.float32: paths_of(made.convolution, wanted, made.target, np.float32),
            torch.float64: paths_of(made.convolution, wanted, made.target, np.float64),
        }
        made.columns = columns_of(made.convolution, wanted)
        return made

    @property
    def n_unused(self) -> int:
        """Weights that sevenn keeps for paths that are not used."""
        *_, last = self.weight_nn.parameters()
        return 0 if self.columns is None else len(last) * (last.shape[1] - len(self.columns))

    def maps(self, radial: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what the weights of the used paths are linear in, and the map (n_functions, n_weights)."""
        *hidden, last = self.weight_nn.children()
        for layer in hidden:
            radial = layer(radial)
        weights = last.weight if self.columns is None else last.weight[:, self.columns]
        return radial, weights / (last.h_in * last.var_in / last.var_out) ** 0.5

    def weights(self, radial: torch.Tensor) -> torch.Tensor:
        """Return the weights of the used paths, from the radial functions of edges."""
        functions, maps = self.maps(radial)
        return functions @ maps

    def forward(self, data: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Replace features by the sum of messages, on a CPU in the rows that ``Mixing`` takes."""
        if not on_cpu(data[self.key_x]):
            return super().forward(data)
        # Divided here and not at the end: of M there is ten times as much.
        irreps = self.convolution.irreps_in1
        x = rows(blocks_of(data[self.key_x], irreps), irreps) / self.denominator
        sums = _Messages.apply(
            x,
            data[self.key_filter],
            *self.maps(data[self.key_weight_input]),
            tuple(arrays(*data[self.key_edge_idx])),
            self.paths[x.dtype],
            self.target.dim,
        )
        data[self.key_x] = sums
        return data


class Mixing(IrrepsLinear):
    """sevenn's linear map of the channels of all paths, after a convolution of ours."""

    linear: Any
    maps: Maps
    target: Target

    @classmethod
    def of(cls, source: IrrepsLinear, target: Target) -> Self:
        """Take over a linear map of sevenn with its weights."""
        made = cls.__new__(cls)
        made.__dict__ = source.__dict__
        made.maps, made.target = Maps.of_linear(made.linear), target
        return made

    def forward(self, data: dict[str, Any]) -> dict[str, Any]:
        """Replace sums of messages by blocks of features."""
        sums = data[self.key_input]
        if not on_cpu(sums):
            return super().forward(data)
        blocks = self.maps(self.target.blocks(sums), self.linear.weight)
        data[self.key_output] = shifted(blocks, self.linear)
        return data


def put_into(model: torch.nn.Module) -> None:
    """Replace all convolutions, what is between them, and the spherical harmonics, of a model of sevenn."""
    embedding: Any = model.get_submodule("edge_embedding")
    if embedding.spherical.sph.normalize and embedding.spherical.normalization == "component":
        embedding.spherical = Harmonics.of(embedding.spherical)
    named: dict[str, Any] = dict(model.named_children())
    gates = {name: module.gate for name, module in named.items() if isinstance(module, EquivariantGate)}
    irreps = [one for gate in gates.values() for one in (gate.irreps_in, gate.irreps_out)]
    irreps += [
        module.convolution.irreps_in1 for name, module in named.items() if name.endswith("_convolution")
    ]
    if not all(are_unique(one) for one in irreps):
        return  # an irrep stands in several places of a row: sevenn's own modules know what to do with it
    *_, last = gates
    for name, module in named.items():
        if isinstance(module, IrrepsConvolution):
            next_name = name.replace("convolution", "self_interaction_2")
            following = named[next_name]
            wanted = [irrep for _, irrep in following.linear.irreps_out]
            ours = Convolution.of(module, wanted)
            model.add_module(name, ours)
            model.add_module(next_name, Mixing.of(following, ours.target))
        elif name.endswith("self_interaction_1"):
            model.add_module(name, Mapping.of(module))
        elif isinstance(module, SelfConnectionIntro):
            model.add_module(name, SelfConnection.of(module))
        elif isinstance(module, SelfConnectionLinearIntro):
            model.add_module(name, LinearSelfConnection.of(module))
        elif isinstance(module, SelfConnectionOutro):
            model.add_module(name, SelfConnectionEnd.of(module))
        elif isinstance(module, EquivariantGate):
            model.add_module(name, Gate.of(module, last=name == last))


def n_unused(model: torch.nn.Module) -> int:
    """Return how many weights of a model no prediction depends on."""
    return sum(module.n_unused for module in model.children() if isinstance(module, Convolution))


class Directions(torch.nn.Module):
    """Lengths and spherical harmonics of edges: what tabulated convolutions need of the embedding."""

    def __init__(self, spherical: torch.nn.Module):
        super().__init__()
        self.spherical = spherical

    def forward(self, data: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Add lengths and spherical harmonics."""
        data[keys.EDGE_LENGTH] = torch.linalg.norm(data[keys.EDGE_VEC], dim=-1)
        data[keys.EDGE_ATTR] = self.spherical(data[keys.EDGE_VEC])
        return data


class TabulatedConvolution(torch.nn.Module):
    """A convolution of fixed weights: those of edges come from cubic splines and are never in memory.

    With intervals of cutoff / 256 energies differ from the network's by rounding of single precision, forces
    by 1e-5 of their size. They are the derivative of the splines themselves, so the gradient of that energy.
    """

    def __init__(self, source: Convolution, radial: Callable[[torch.Tensor], torch.Tensor], cutoff: float):
        super().__init__()
        self._irreps, self._target = source.convolution.irreps_in1, source.target
        self._denominator = source.denominator
        number = source.denominator.dtype
        table = table_of(lambda distances: source.weights(radial(distances)), cutoff, number)
        self.table = (*table, source.paths[number])
        """The kernels' table of weights, its spacing, and the paths."""

    def taken(self, data: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the features as messages are made of them, in rows (n_atoms, n_features)."""
        blocks = blocks_of(data[keys.NODE_FEATURE], self._irreps)
        return rows(blocks, self._irreps) / self._denominator

    def sums(self, features: torch.Tensor, data: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the sums of messages (n_atoms, n_target) of features that were ``taken``."""
        return _TabulatedMessages.apply(
            features,
            data[keys.EDGE_ATTR],
            data[keys.EDGE_LENGTH],
            tuple(arrays(*data[keys.EDGE_IDX])),
            self.table,
            self._target.dim,
        )

    def forward(self, data: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Replace features by the sum of messages."""
        data[keys.NODE_FEATURE] = self.sums(self.taken(data), data)
        return data


def tabulated(model: AtomGraphSequential) -> AtomGraphSequential:
    """Return a model for prediction on a CPU; it shares all weights but those of edges.

    One with convolutions of sevenn's own is returned as it is.
    """
    if not any(isinstance(module, Convolution) for module in model.children()):
        return model
    embedding: Any = model.get_submodule("edge_embedding")

    def radial(distances: torch.Tensor) -> Any:
        return embedding.basis_function(distances) * embedding.cutoff_function(distances)[:, None]

    modules: OrderedDict[str, torch.nn.Module] = OrderedDict(model.named_children())
    for name, module in modules.items():
        if isinstance(module, Convolution):
            modules[name] = TabulatedConvolution(module, radial, model.cutoff)
    modules["edge_embedding"] = Directions(embedding.spherical)
    made = AtomGraphSequential(
        modules, cutoff=model.cutoff, type_map=model.type_map, data_key_grad=model.key_grad
    )
    made.set_is_batch_data(True)
    return made.eval()
