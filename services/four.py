"""Four numbers at once: rows of four in a machine register, for kernels that do the same to each.

Numba has no such type and packs no short rows by itself. Compiled, each function here is about one
instruction; in plain Python a `Four` is an array of four numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import config, types
from numba.extending import intrinsic, models, register_model

Four = Any  # of float32 or of int32
WIDTH = 4


class FourType(types.Type):
    """Numba's type of four numbers of one kind."""

    def __init__(self, number: Any) -> None:
        self.number = number
        super().__init__(name=f"Four({number})")


@register_model(FourType)
class _FourModel(models.PrimitiveModel):
    def __init__(self, manager: Any, four: FourType) -> None:
        number = ir.FloatType() if four.number is types.float32 else ir.IntType(32)
        super().__init__(manager, four, ir.VectorType(number, WIDTH))


_FLOATS, _INTS = FourType(types.float32), FourType(types.int32)


def _of(number: Any) -> FourType:
    return _FLOATS if number == types.float32 else _INTS


def _unary(plain: Callable[..., Any], result: Any, build: Callable[..., Any]) -> Callable[..., Any]:
    @intrinsic
    def instruction(context: Any, a: Any) -> Any:
        return result(a), lambda _, builder, signature, values: build(builder, *values)

    return plain if config.DISABLE_JIT else instruction


def _binary(plain: Callable[..., Any], build: Callable[..., Any]) -> Callable[..., Any]:
    @intrinsic
    def instruction(context: Any, a: Any, b: Any) -> Any:
        return a(a, b), lambda _, builder, signature, values: build(builder, *values)

    return plain if config.DISABLE_JIT else instruction


def _select(builder: Any, comparison: str, a: Any, b: Any, yes: Any, no: Any) -> Any:
    return builder.select(builder.fcmp_ordered(comparison, a, b), yes, no)


def _zero(four: Any) -> Any:
    return ir.Constant(four.type, None)


def _signs(builder: Any, a: Any) -> Any:
    bits = builder.bitcast(builder.fcmp_ordered("<", a, _zero(a)), ir.IntType(WIDTH))
    return builder.zext(bits, ir.IntType(64))


add = _binary(np.add, lambda builder, a, b: builder.fadd(a, b))
less_f = _binary(np.subtract, lambda builder, a, b: builder.fsub(a, b))
times = _binary(np.multiply, lambda builder, a, b: builder.fmul(a, b))
over = _binary(np.divide, lambda builder, a, b: builder.fdiv(a, b))
least = _binary(np.minimum, lambda builder, a, b: _select(builder, "<", a, b, a, b))
most = _binary(np.maximum, lambda builder, a, b: _select(builder, ">", a, b, a, b))
less = _binary(np.subtract, lambda builder, a, b: builder.sub(a, b))  # of integers
floats = _unary(
    lambda a: a.astype(np.float32),
    _FLOATS,
    lambda builder, a: builder.sitofp(a, ir.VectorType(ir.FloatType(), WIDTH)),
)
where_negative = _binary(
    lambda a, b: np.where(a < 0, b, np.float32(0)),
    lambda builder, a, b: _select(builder, "<", a, _zero(a), b, _zero(a)),
)
negatives = _unary(  # bit n is set where number n is negative
    lambda a: int(((a < 0) << np.arange(WIDTH)).sum()), types.int64, _signs
)


def _spread(number: Any) -> Four:
    """Four times the same number."""
    return np.full(WIDTH, number)


def _load(array: Any, at: int) -> Four:
    """The four numbers from position `at` of a contiguous array on, counted through all its dimensions."""
    return array.reshape(-1)[at : at + WIDTH].view(np.float32 if array.dtype == np.float32 else np.int32)


def _store(array: Any, at: int, step: int, four: Four) -> None:
    """Write the four numbers to positions `at`, `at + step` ... of a contiguous array."""
    array.reshape(-1)[at : at + WIDTH * step : step] = four


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, at: Any) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    return builder.gep(data, [at])


@intrinsic
def _spread_compiled(context: Any, number: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        four = ir.Constant(ir.VectorType(values[0].type, WIDTH), ir.Undefined)
        for n in range(WIDTH):
            four = builder.insert_element(four, values[0], ir.IntType(32)(n))
        return four

    return _of(number)(number), codegen


@intrinsic
def _load_compiled(context: Any, array: Any, at: Any) -> Any:
    four = _of(array.dtype)

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        pointer = _pointer(context, builder, signature.args[0], *values)
        register = context.get_value_type(four)
        return builder.load(builder.bitcast(pointer, register.as_pointer()), align=4)

    return four(array, types.intp), codegen


@intrinsic
def _store_compiled(context: Any, array: Any, at: Any, step: Any, four: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        pointer = _pointer(context, builder, signature.args[0], *values[:2])
        for n in range(WIDTH):
            number = builder.extract_element(values[3], ir.IntType(32)(n))
            builder.store(number, builder.gep(pointer, [builder.mul(values[2], ir.IntType(64)(n))]), align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp, four), codegen


spread = _spread if config.DISABLE_JIT else _spread_compiled
load = _load if config.DISABLE_JIT else _load_compiled
store = _store if config.DISABLE_JIT else _store_compiled
