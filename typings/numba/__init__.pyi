# Numba ships no types. This stub says the one thing that matters: a compiled function keeps its signature.
from collections.abc import Callable
from typing import Any, TypeVar, overload

_F = TypeVar("_F", bound=Callable[..., Any])

@overload
def njit(function: _F, /) -> _F: ...
@overload
def njit(signature: str | list[str] = ..., /, **options: Any) -> Callable[[_F], _F]: ...
def __getattr__(name: str) -> Any: ...
