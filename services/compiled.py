"""How kernels are compiled: `@njit(**KERNEL)`, or `@njit(**PART)` for what melts into its caller.

`@njit(**INNER)` is a part that Python never calls itself: without the wrappers for that, parts that take
many arrays compile in half the time.

Kernels work on arrays that somebody else holds, and make and return none. So Numba need not count who
holds an array: the atomic counter of every view (`orders[i]`) took two thirds of a twin's step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import config, typeof

import workgym.services.kernel  # noqa: F401  # it names the cache folder, before anything is compiled

KERNEL: dict[str, Any] = {"cache": True, "_nrt": False, "error_model": "numpy"}
PART: dict[str, Any] = {**KERNEL, "forceinline": True}
INNER: dict[str, Any] = {**PART, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}


def bound(kernel: Any, *arguments: Any) -> Callable[..., Any]:
    """The kernel for arguments of exactly these types, contiguous arrays all of them.

    Called as such, a kernel looks at the types of its arguments every time: 0.1 microseconds an array.
    """
    if config.DISABLE_JIT:
        return kernel
    return kernel.compile(tuple(typeof(argument) for argument in arguments))
