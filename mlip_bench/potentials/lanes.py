"""Vectors of numbers side by side for numba's kernels: loaded, computed with, and stored as one.

numba leaves it to LLVM to make vector code of loops, and a loop of 16 channels is too short for that: most of
its time goes into finding out that its arrays do not overlap. Here it is said outright. ``load(array, start,
8)`` reads eight neighbours of a one-dimensional array; +, -, * and a factor act on all; ``store`` writes them
back, ``total`` adds them up, ``exponential`` is e^x of each. The number of lanes is a literal; 1 does for
what is left of a row.
"""

import math
import operator
from typing import Any

import numba.extending
from llvmlite import ir
from numba.core import cgutils, errors, types
from numba.core.datamodel import models, register_default
from numba.extending import overload

# Called in kernels without their first argument, which mypy cannot know.
intrinsic: Any = numba.extending.intrinsic

INDEX = ir.IntType(32)


class Lanes(types.Type):
    """A vector of ``count`` numbers of a type."""

    def __init__(self, number: types.Float, count: int):
        self.number, self.count = number, count
        super().__init__(name=f"Lanes({number}, {count})")


@register_default(Lanes)
class LanesModel(models.PrimitiveModel):
    """Lanes are a vector of LLVM."""

    def __init__(self, manager: Any, kind: Lanes):
        bits = {32: ir.FloatType(), 64: ir.DoubleType()}[kind.number.bitwidth]
        super().__init__(manager, kind, ir.VectorType(bits, kind.count))


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, start: Any, kind: Any) -> Any:
    """Return a pointer to lanes that begin at an element of a contiguous array."""
    data = context.make_array(array_type)(context, builder, array).data
    vector = context.get_value_type(kind)
    return builder.bitcast(builder.gep(data, [start]), vector.as_pointer())


def _refuse_gaps(array: Any) -> None:
    if array.ndim != 1 or array.layout != "C":
        raise errors.TypingError(f"lanes are of one-dimensional contiguous arrays, not of {array}")


def _aligned(number: types.Float) -> int:
    return number.bitwidth // 8


@intrinsic
def load(typing: Any, array: Any, start: Any, count: Any) -> Any:
    """Read ``count`` elements of a contiguous array from ``start``; nothing is checked."""
    if not isinstance(count, types.IntegerLiteral):
        raise errors.RequireLiteralValue("the number of lanes must be a literal")
    _refuse_gaps(array)
    kind = Lanes(array.dtype, count.literal_value)

    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        place = _pointer(context, builder, signature.args[0], given[0], given[1], kind)
        return builder.load(place, align=_aligned(array.dtype))

    return kind(array, start, count), code


@intrinsic
def store(typing: Any, array: Any, start: Any, value: Any) -> Any:
    """Write lanes to a contiguous array from ``start``; nothing is checked."""
    _refuse_gaps(array)

    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        place = _pointer(context, builder, signature.args[0], given[0], given[1], value)
        builder.store(given[2], place, align=_aligned(array.dtype))
        return context.get_dummy_value()

    return types.void(array, start, value), code


@intrinsic
def splat(typing: Any, factor: Any, like: Any) -> Any:
    """Return a number in every lane."""

    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        number = context.cast(builder, given[0], factor, like.number)
        found = cgutils.get_null_value(context.get_value_type(like))
        for lane in range(like.count):
            found = builder.insert_element(found, number, INDEX(lane))
        return found

    return like(factor, like), code


@intrinsic
def zeros(typing: Any, like: Any) -> Any:
    """Return lanes of zeros."""

    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return cgutils.get_null_value(context.get_value_type(like))

    return like(like), code


@intrinsic
def total(typing: Any, value: Any) -> Any:
    """Return the sum over lanes."""

    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        found, width = given[0], value.count
        while width > 1:
            width //= 2
            halves = [
                builder.shuffle_vector(found, found, ir.Constant(ir.VectorType(INDEX, width), list(lanes)))
                for lanes in (range(width), range(width, 2 * width))
            ]
            found = builder.fadd(*halves, flags=("fast",))
        return builder.extract_element(found, INDEX(0))

    return value.number(value), code


def _elementwise(name: str) -> Any:
    @intrinsic
    def compute(typing: Any, one: Any, other: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
            return getattr(builder, name)(*given, flags=("fast",))

        return one(one, other), code

    return compute


add, subtract, multiply = _elementwise("fadd"), _elementwise("fsub"), _elementwise("fmul")


@overload(operator.add, strict=False)
def _add(one: Any, other: Any) -> Any:
    if isinstance(one, Lanes) and one == other:
        return lambda one, other: add(one, other)
    return None


@overload(operator.sub, strict=False)
def _subtract(one: Any, other: Any) -> Any:
    if isinstance(one, Lanes) and one == other:
        return lambda one, other: subtract(one, other)
    return None


@overload(operator.mul, strict=False)
def _multiply(one: Any, other: Any) -> Any:
    if isinstance(one, Lanes) and one == other:
        return lambda one, other: multiply(one, other)
    if isinstance(one, types.Float) and isinstance(other, Lanes):
        return lambda one, other: multiply(splat(one, other), other)
    return None


# e^x = 2^k e^y with k the whole number next to x / ln 2, so that |y| <= ln 2 / 2, and the Taylor series of
# e^y, of which so many terms reach double precision. ln 2 in two parts keeps y exact.
LN_2_HIGH, LN_2_LOW = 0.693147180369123816490, 1.90821492927058770002e-10
TERMS = 13
LEAST = -708.0
"""Below it, e^x is taken for e^-708: smaller ones would not be normal numbers."""


@intrinsic
def exponential(typing: Any, value: Any) -> Any:
    """Return e^x of each lane, for numbers in double precision up to 700; that of C takes one by one."""
    if value.number.bitwidth != 64:
        raise errors.TypingError("the exponential of lanes is for double precision")

    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        kind = context.get_value_type(value)
        whole = ir.VectorType(ir.IntType(64), value.count)
        short = ir.VectorType(INDEX, value.count)

        def constant(number: float) -> Any:
            return ir.Constant(kind, [number] * value.count)

        def times_plus(one: Any, other: Any, more: Any) -> Any:
            return builder.fadd(builder.fmul(one, other, flags=("contract",)), more, flags=("contract",))

        small = builder.fcmp_ordered("<", given[0], constant(LEAST))
        x = builder.select(small, constant(LEAST), given[0])
        floor = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(kind, [kind]), f"llvm.floor.v{value.count}f64"
        )
        k = builder.call(floor, [times_plus(x, constant(1 / math.log(2)), constant(0.5))])
        y = times_plus(k, constant(-LN_2_LOW), times_plus(k, constant(-LN_2_HIGH), x))
        series = constant(1 / math.factorial(TERMS))
        for n in reversed(range(TERMS)):
            series = times_plus(series, y, constant(1 / math.factorial(n)))
        # The bits of 2^k: its exponent, which counts from 1023, stands above 52 of the fraction.
        exponent = builder.sext(builder.fptosi(k, short), whole)
        biased = builder.add(exponent, ir.Constant(whole, [1023] * value.count))
        power = builder.bitcast(builder.shl(biased, ir.Constant(whole, [52] * value.count)), kind)
        return builder.fmul(series, power)

    return value(value), code
