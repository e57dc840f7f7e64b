"""Vectors of a fixed number of numbers in what numba compiles, so that a kernel says which loads and sums are one.

A compiler finds vectors in loops over arrays, but not four taps of a row beside voxels in groups of sixteen. Here a
vector is a value of its own type: loaded and stored at any index, joined by ``+ - *`` with another or with a number,
which then stands in all places. Any processor runs them; what is wider than its registers is cut into parts.

numba's cache on disk looks at the file of a kernel only: after a change here, touch `kernels`.
"""

import operator
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, overload, register_model

ANY_ORDER = ("contract", "reassoc", "nsz", "arcp")
"""Freedoms of float arithmetic: fused multiply-adds, sums in any order; not numbers stay what they are."""


class Vector(types.Type):
    """Type of a vector: its numbers' type and how many there are."""

    def __init__(self, dtype: Any, lanes: int) -> None:
        self.dtype, self.lanes = dtype, lanes
        super().__init__(f"Vector({dtype}, {lanes})")


@register_model(Vector)
class VectorModel(models.PrimitiveModel):
    """A vector is one of LLVM's."""

    def __init__(self, manager: Any, kind: Vector) -> None:
        element = manager.lookup(kind.dtype).get_value_type()
        super().__init__(manager, kind, ir.VectorType(element, kind.lanes))


def _loader(lanes: int) -> Any:
    @intrinsic
    def load(typing_context, array, index):
        """Numbers ``array[index:index + lanes]`` of a contiguous array; nothing checks that they are there."""
        kind = Vector(array.dtype, lanes)

        def generate(context, builder, signature, arguments):
            at = _pointer(context, builder, signature, arguments, context.get_value_type(kind))
            return builder.load(at, align=array.dtype.bitwidth // 8)

        return kind(array, index), generate

    return load


@intrinsic
def store(typing_context, array, index, vector):
    """Write a vector to ``array[index:]``."""

    def generate(context, builder, signature, arguments):
        at = _pointer(context, builder, signature, arguments, arguments[2].type)
        builder.store(arguments[2], at, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, index, vector), generate


def _pointer(context, builder, signature, arguments, kind):
    array, index = signature.args[:2]
    if array.layout != "C":
        raise TypeError(f"vectors are read from contiguous arrays only, not from {array}")
    data = context.make_array(array)(context, builder, value=arguments[0]).data
    place = context.cast(builder, arguments[1], index, types.intp)
    return builder.bitcast(builder.gep(data, [place]), kind.as_pointer())


def _spread_out(context, builder, value, kind, vector):
    """A number in all places of a vector; a vector as it is."""
    if isinstance(kind, Vector):
        return value
    number = context.cast(builder, value, kind, vector.dtype)
    out = context.get_value_type(vector)
    undefined = ir.Constant(out, ir.Undefined)
    zero = ir.Constant(ir.IntType(32), 0)
    first = builder.insert_element(undefined, number, zero)
    return builder.shuffle_vector(first, undefined, ir.Constant(_indices(vector.lanes), [0] * vector.lanes))


def _indices(count):
    return ir.VectorType(ir.IntType(32), count)


def _vector_of(a, b):
    """The vector type of an operation; None where there is none or they differ."""
    kinds = {kind for kind in (a, b) if isinstance(kind, Vector)}
    numbers = all(isinstance(kind, Vector | types.Number) for kind in (a, b))
    return kinds.pop() if len(kinds) == 1 and numbers else None


def _operation(for_floats, for_integers):
    @intrinsic
    def operation(typing_context, a, b):
        vector = _vector_of(a, b)

        def generate(context, builder, signature, arguments):
            both = [
                _spread_out(context, builder, value, kind, vector)
                for value, kind in zip(arguments, signature.args, strict=True)
            ]
            if isinstance(vector.dtype, types.Float):
                return getattr(builder, for_floats)(*both, flags=ANY_ORDER)
            return getattr(builder, for_integers)(*both)

        return vector(a, b), generate

    return operation


def _as_operator(symbol, operation):
    @overload(symbol)
    def choose(a, b):
        if _vector_of(a, b):
            return lambda a, b: operation(a, b)
        return None


load2, load4, load16 = _loader(2), _loader(4), _loader(16)
_plus = _operation("fadd", "add")
_as_operator(operator.add, _plus)
_as_operator(operator.iadd, _plus)
_as_operator(operator.sub, _operation("fsub", "sub"))
_as_operator(operator.mul, _operation("fmul", "mul"))


def _call(builder, name, out, arguments):
    """A function of LLVM's own, named by the vector that it takes."""
    kind = arguments[-1].type
    element = {"float": "f32", "double": "f64"}[str(kind.element)]
    function = ir.FunctionType(out, [argument.type for argument in arguments])
    callee = cgutils.get_or_insert_function(builder.module, function, f"{name}.v{kind.count}{element}")
    return builder.call(callee, arguments, fastmath=ANY_ORDER)


@intrinsic
def floor(typing_context, vector):
    """Greatest whole number not above, in each place."""

    def generate(context, builder, signature, arguments):
        return _call(builder, "llvm.floor", arguments[0].type, arguments)

    return vector(vector), generate


@intrinsic
def clip(typing_context, vector, low, high):
    """Into a range, in each place; what is not a number becomes ``low``."""

    def generate(context, builder, signature, arguments):
        low, high = (
            _spread_out(context, builder, value, kind, vector)
            for value, kind in zip(arguments[1:], signature.args[1:], strict=True)
        )
        above = _call(builder, "llvm.maxnum", low.type, [arguments[0], low])
        return _call(builder, "llvm.minnum", low.type, [above, high])

    return vector(vector, low, high), generate


@intrinsic
def whole(typing_context, vector):
    """As 32-bit integers, cut towards zero; the numbers must fit."""
    kind = Vector(types.int32, vector.lanes)

    def generate(context, builder, signature, arguments):
        return builder.fptosi(arguments[0], context.get_value_type(kind))

    return kind(vector), generate


def _shuffle(four):
    """Four of the eight numbers that two vectors of 16 have in a group, in each of the four groups."""
    order = [group + (i if i < 4 else 12 + i) for group in range(0, 16, 4) for i in four]

    @intrinsic
    def shuffle(typing_context, a, b):
        def generate(context, builder, signature, arguments):
            return builder.shuffle_vector(*arguments, ir.Constant(_indices(16), order))

        return a(a, b), generate

    return shuffle


low_of_each, high_of_each = _shuffle((0, 4, 1, 5)), _shuffle((2, 6, 3, 7))
low_pairs, high_pairs = _shuffle((0, 1, 4, 5)), _shuffle((2, 3, 6, 7))
