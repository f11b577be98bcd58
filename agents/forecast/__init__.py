"""Forecasters of demand behind one interface: quantiles over horizons, for a whole panel of series.

    panel = synthetic(seed=0)
    forecaster = make_forecaster("empirical", horizon=8, quantiles=(0.1, 0.5, 0.9), window=16)
    forecaster.fit(panel, until=100).predict(panel, origins=[100, 101])  # (series, 2, 8, 3)

A forecast at origin t is made before period t is seen: it knows `demand[:, :t]` and every known
covariate, and speaks of the periods t, t+1, ..., t+horizon-1. A forecaster is a factory under a name,
entered with a decorator:

    @forecaster("croston")
    def croston(horizon: int, quantiles: Sequence[float], **options: Any) -> Forecaster: ...

Packages that bring forecasters name their module in the entry point group `workgym.forecasters`; ours
enter by the same decorator.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from workgym.agents.forecast.panel import Floats, Panel, from_csv, make_panel, synthetic, with_calendar
from workgym.services.kernel import BadInput, did_you_mean
from workgym.services.plugins import Plugins

__all__ = [
    "DECILES",
    "Floats",
    "Forecaster",
    "Panel",
    "forecaster",
    "forecasters",
    "from_csv",
    "load_forecaster",
    "make_forecaster",
    "make_panel",
    "synthetic",
    "with_calendar",
]

OURS = ("naive", "ets", "trees", "neural")
DECILES = (0.1, 0.5, 0.9)  # what a buyer asks for: pessimistic, middle, optimistic
HEADER = "forecaster.json"
FORMAT = 1


class Forecaster(Protocol):
    """Learns from a panel's past, then tells quantiles of each series' future."""

    @property
    def name(self) -> str:
        """What reports call it, and what `make_forecaster` makes it by."""

    @property
    def horizon(self) -> int:
        """How many periods ahead it tells."""

    @property
    def quantiles(self) -> tuple[float, ...]:
        """Which quantiles it tells, rising."""

    def fit(self, panel: Panel, until: int) -> Forecaster:
        """Learn from the periods before `until` only; returns itself."""

    def predict(self, panel: Panel, origins: Sequence[int]) -> Floats:
        """(series, origins, horizon, quantiles) forecasts that never cross.

        The forecast at origin t reads no demand of period t or later.
        """

    def save(self) -> dict[str, bytes]:
        """The fitted forecaster as files, name to bytes, that `load_forecaster` reads.

        Raises:
            BadInput: it is not fitted, or its library has no safe format of its own.
        """

    def restore(self, files: Mapping[str, bytes]) -> Forecaster:
        """Take over what was learned from the files that `save` wrote; returns itself."""


Factory = Callable[..., Forecaster]
_FACTORIES = Plugins[str, Factory](
    "workgym.forecasters", "forecasters", {name: f"{__name__}.{name}" for name in OURS}
)


def forecaster(name: str) -> Callable[[Factory], Factory]:
    """Enter a factory `(horizon, quantiles, **options) -> Forecaster` under a name."""

    def enter(make: Factory) -> Factory:
        return _FACTORIES.enter(name, make, make, repr(name))

    return enter


def forecasters() -> dict[str, Factory]:
    """All factories by name."""
    return _FACTORIES.known()


def make_forecaster(
    name: str, horizon: int, quantiles: Sequence[float] = DECILES, **options: Any
) -> Forecaster:
    """A fresh forecaster by its name.

    Raises:
        BadInput: there is no such forecaster or option, or its value has no meaning.
    """
    known = forecasters()
    if name not in known:
        raise BadInput(did_you_mean("forecaster", name, list(known)))
    try:
        return known[name](horizon, checked_quantiles(horizon, quantiles), **options)
    except TypeError as error:
        raise BadInput(f"expected options that {name!r} knows, found {sorted(options)}: {error}") from error


def load_forecaster(files: Mapping[str, bytes]) -> Forecaster:
    """Read what a forecaster's `save` wrote.

    Raises:
        BadInput: a file is missing or damaged, or of another format.
    """
    header = read_header(files)
    made = make_forecaster(header["name"], header["horizon"], header["quantiles"], **header["options"])
    return made.restore(files)


def checked_quantiles(horizon: int, quantiles: Sequence[float]) -> tuple[float, ...]:
    """The quantiles as a rising tuple.

    Raises:
        BadInput: they do not rise strictly within (0, 1), or the horizon is not positive.
    """
    if horizon < 1:
        raise BadInput(f"expected a horizon of at least 1 period, found {horizon}")
    levels = tuple(float(q) for q in quantiles)
    if not levels or not all(
        0 < a < b < 1 for a, b in zip((1e-12, *levels), (*levels, 1 - 1e-12), strict=True)
    ):
        raise BadInput(f"expected quantiles that rise strictly between 0 and 1, found {levels}")
    return levels


def checked_origins(panel: Panel, origins: Sequence[int], horizon: int) -> NDArray[np.int64]:
    """The origins as an array.

    Raises:
        BadInput: there is none, or one whose horizon leaves the panel.
    """
    last = panel.periods - horizon
    if not len(origins) or min(origins) < 1 or max(origins) > last:
        raise BadInput(
            f"expected origins between 1 and {last}, found {list(origins)}; a panel that ends in the present "
            f"is lengthened with `panel.extended({horizon})`, whose demand to come is NaN"
        )
    return np.asarray(origins, dtype=np.int64)


def checked_until(panel: Panel, until: int) -> int:
    """`until` itself.

    Raises:
        BadInput: it leaves nothing to learn from, or lies beyond the panel.
    """
    if not 1 <= until <= panel.periods or not np.isfinite(panel.demand[:, :until]).any():
        raise BadInput(
            f"expected to learn until a period between 1 and {panel.periods} with some demand before it, "
            f"found {until}"
        )
    return until


def header_bytes(made: Forecaster, options: Mapping[str, Any], **more: Any) -> bytes:
    """What `forecaster.json` says: enough to make the forecaster again."""
    told = {
        "format": FORMAT,
        "name": made.name,
        "horizon": made.horizon,
        "quantiles": list(made.quantiles),
        "options": dict(options),
        **more,
    }
    return (json.dumps(told, sort_keys=True, indent=2) + "\n").encode()


def read_header(files: Mapping[str, bytes]) -> dict[str, Any]:
    """The header of saved files.

    Raises:
        BadInput: it is missing, damaged, or of another format.
    """
    if HEADER not in files:
        raise BadInput(f"expected {HEADER}, found {', '.join(sorted(files)) or 'no file'}")
    try:
        header = json.loads(files[HEADER])
    except ValueError as error:
        raise BadInput(f"expected JSON in {HEADER}, found a mistake: {error}") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        found = header.get("format") if isinstance(header, dict) else type(header).__name__
        raise BadInput(
            f"expected a forecaster of format {FORMAT}, found {found!r}; this workgym cannot read it"
        )
    if missing := {"name", "horizon", "quantiles", "options"} - set(header):
        raise BadInput(f"expected {', '.join(sorted(missing))} in {HEADER}, found none")
    return header


def optional(module: str) -> Any:
    """A module of the optional extra `forecast`.

    Raises:
        BadInput: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise BadInput(
            f"expected {module.partition('.')[0]!r} to be installed, found {error}; "
            "pip install 'workgym[forecast]' brings it"
        ) from error
