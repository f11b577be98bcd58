"""Training and use of the multi-horizon quantile networks: mq-rnn, mq-cnn, mq-transformer.

What a net sees of a series is divided by a causal mean, and its quantiles are multiplied by it, so that
slow and fast movers share one net. Equal input gives equal bytes on processors of one kind: one thread,
a generator of its own. Only a limit in CPU seconds gives that up.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from workgym.agents.forecast import (
    HEADER,
    Forecaster,
    checked_origins,
    checked_until,
    forecaster,
    header_bytes,
    read_header,
)
from workgym.agents.forecast.panel import Floats, Panel, rolling_mean
from workgym.services.kernel import BadInput

if TYPE_CHECKING:
    from torch import Tensor

    from workgym.agents.forecast.mq import MqNet

WEIGHTS = "forecaster.safetensors"
WINDOWS = (4, 13, 52)  # periods of the means beside the scale's: a month, a quarter, a year of weeks
PAST = 3 + len(WINDOWS)  # features of a seen period: demand, scale, whether it is known, the other means
FLOOR = 0.01  # least scale of a series, as a share of the panel's mean demand
CHUNK = 512  # series forecast at once; bounds memory, changes nothing

Progress = Callable[[int, float, float], None]  # iteration, share of the budget spent, loss


@dataclass(frozen=True)
class Recipe:
    """Everything that a training depends on, but the panel and the kind of net.

    Attributes:
        seed: of the weights and of the minibatches.
        iterations: minibatches; a few hundred for a smoke test, 1,500 to 5,000 for results.
        cpu_seconds: stops a net earlier, 0 for never; the rate falls along whichever is spent faster.
        members: nets that are trained one after the other from seeds of their own and tell the mean of their
            quantiles; 1 to 5, each at the full price.
        batch: series a minibatch.
        forks: successive forks that are trained in a minibatch; more use each encoding better.
        memory: periods that the encoder is given before the first of those forks.
        learning_rate: of Adam at the start; falls to zero along a cosine. 1e-3 to 5e-3.
        weight: a series counts as its mean demand to this power: 1 is the weighted quantile loss itself,
            0 treats all series alike and scatters less.
        window: known periods of the causal mean.
        season: periods in a season, longer than the horizon; what was sold one season before a date is then
            told to the net as if it were a covariate of that date. 0 for none.
        width: of the encoder's states.
        layers: of the convolutions; n of them see 2^n periods.
        context: width of a horizon's context.
        dropout: share of states and contexts left out at random in training; 0 to 0.3, more for few periods.
        decay: weight decay; 0 to 0.1.
        heads: of the attentions.
        reach: periods of the past that the attention looks at.
    """

    seed: int = 0
    iterations: int = 1500
    cpu_seconds: float = 0.0
    members: int = 1
    batch: int = 64
    forks: int = 32
    memory: int = 256
    learning_rate: float = 3e-3
    weight: float = 0.5
    window: int = 26
    season: int = 0
    width: int = 48
    layers: int = 5
    context: int = 16
    dropout: float = 0.1
    decay: float = 0.01
    heads: int = 2
    reach: int = 64

    def __post_init__(self) -> None:
        counts = asdict(self)
        for name in (
            "iterations",
            "members",
            "batch",
            "forks",
            "memory",
            "window",
            "width",
            "layers",
            "context",
            "heads",
        ):
            if counts[name] < 1:
                raise BadInput(f"expected {name} of at least 1, found {counts[name]}")
        if self.context % self.heads:
            raise BadInput(f"expected a context that {self.heads} heads divide, found {self.context}")
        if not 0 <= self.dropout < 1 or self.decay < 0:
            raise BadInput(f"expected a dropout in [0, 1) and a decay of at least 0, found {self}")
        if not 0 < self.learning_rate < 1 or self.cpu_seconds < 0 or self.reach < 1:
            raise BadInput(f"expected a learning rate in (0, 1), a budget and a reach, found {self}")


class Inputs(NamedTuple):
    """A panel as a net sees it."""

    past: Tensor  # (series, periods, PAST)
    known: Tensor  # (series, periods + horizon, covariates) standardised
    static: Tensor  # (series, features) standardised
    scale: Tensor  # (series, periods) units
    demand: Tensor  # (series, periods)


@dataclass(frozen=True)
class Norms:
    """What standardises a panel's inputs, from the periods that were learned from."""

    unit: float  # mean demand of the panel
    known: Floats  # (2, covariates) mean and deviation
    static: Floats  # (2, features) mean and deviation

    @classmethod
    def of(cls, panel: Panel, until: int) -> Norms:
        """The norms of the periods before `until`."""
        unit = float(np.nanmean(panel.demand[:, :until], dtype=np.float64))
        return cls(max(unit, 1e-6), _spread(panel.known[:, :until], (0, 1)), _spread(panel.static, (0,)))


def _spread(values: Floats, axes: tuple[int, ...]) -> Floats:
    mean = values.mean(axis=axes, dtype=np.float64)
    deviation = values.std(axis=axes, dtype=np.float64)
    return np.stack([mean, np.where(deviation > 1e-6, deviation, 1.0)]).astype(np.float32)


def inputs(panel: Panel, end: int, horizon: int, norms: Norms, window: int, season: int = 0) -> Inputs:
    """What a net sees of the periods before `end`, and the covariates of a horizon more."""
    import torch

    demand = panel.demand[:, :end]
    known = np.isfinite(demand)
    scale = rolling_mean(demand, window) + FLOOR * norms.unit
    ratio = np.log1p(np.where(known, demand, 0) / scale)
    means = [np.log1p(rolling_mean(demand, wide) / scale) for wide in WINDOWS]
    past = np.stack([ratio, np.log(scale / norms.unit), known, *means], axis=2).astype(np.float32)
    covariates = (panel.known[:, : end + horizon] - norms.known[0]) / norms.known[1]
    if season:
        covariates = np.concatenate([covariates, _a_season_ago(past, season, horizon)], axis=2)
    static = (panel.static - norms.static[0]) / norms.static[1]
    parts = (past, covariates, static, scale.astype(np.float32), demand)
    return Inputs(*(torch.from_numpy(np.ascontiguousarray(part)) for part in parts))


def _a_season_ago(past: Floats, season: int, horizon: int) -> Floats:
    """(series, periods + horizon, PAST) what was seen one season before each date; zero before the panel.

    A season is longer than the horizon, so every fork has seen what it reads here.
    """
    n, end, width = past.shape
    empty = np.zeros((n, min(season, end + horizon), width), dtype=np.float32)
    return np.concatenate([empty, past[:, : max(0, end + horizon - season)]], axis=1)


@contextmanager
def _alone(seed: int) -> Iterator[None]:
    """One thread, and a random state of its own."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


class MqForecaster:
    """One of the multi-horizon quantile networks, its training and its files."""

    def __init__(self, name: str, horizon: int, quantiles: Sequence[float], recipe: Recipe) -> None:
        self.name = name
        self.horizon = horizon
        self.quantiles = tuple(quantiles)
        self.recipe = recipe
        if 0 < recipe.season <= horizon:
            raise BadInput(f"expected a season longer than the horizon of {horizon}, found {recipe.season}")
        self._nets: list[MqNet] = []
        self._norms: Norms | None = None

    def _make(self, known: int, static: int) -> MqNet:
        from workgym.agents.forecast.attention import mq_transformer
        from workgym.agents.forecast.mq import MqNet, Sizes

        r = self.recipe
        dated = known + (PAST if r.season else 0)
        sizes = Sizes(PAST, dated, static, self.horizon, len(self.quantiles))
        if self.name == "mq-transformer":
            return mq_transformer(sizes, r.width, r.layers, r.context, r.dropout, r.heads, r.reach)
        return MqNet(sizes, self.name.removeprefix("mq-"), r.width, r.layers, r.context, r.dropout)

    def fit(self, panel: Panel, until: int, progress: Progress | None = None) -> MqForecaster:
        """Train on the periods before `until`; tells `progress` after every iteration.

        Raises:
            BadInput: there are too few periods to see one and forecast another.
        """
        checked_until(panel, until)
        if until < 2:
            raise BadInput(f"expected two periods to learn from at least, found {until}")
        self._norms = Norms.of(panel, until)
        # covariates after `until` are known in advance; demand after it is cut off before anything reads it
        missing = max(0, until + self.horizon - panel.periods)
        if missing:
            last = np.repeat(panel.known[:, -1:], missing, axis=1)
            panel = panel.extended(missing, last)
        seen = self._inputs(panel, until, self._norms)
        nets = []
        for member in range(self.recipe.members):
            recipe = replace(
                self.recipe, seed=self.recipe.seed + 1000 * member
            )  # far from the neighbours' seeds
            with _alone(recipe.seed):
                net = self._make(panel.known.shape[2], panel.static.shape[1])
                _train(net, seen, self.quantiles, recipe, progress)
            nets.append(net.eval())
        self._nets = nets
        return self

    def predict(self, panel: Panel, origins: Sequence[int]) -> Floats:
        """(series, origins, horizon, quantiles) forecasts."""
        import torch

        at = checked_origins(panel, origins, self.horizon)
        nets, norms = self._fitted()
        wanted = (norms.known.shape[1], norms.static.shape[1])
        if (panel.known.shape[2], panel.static.shape[1]) != wanted:
            raise BadInput(
                f"expected {wanted[0]} covariates and {wanted[1]} static features, "
                f"found {panel.known.shape[2]} and {panel.static.shape[1]}"
            )
        first, last = int(at.min()) - 1, int(at.max())
        forks = torch.from_numpy(at - 1)
        out = np.empty((panel.series, len(at), self.horizon, len(self.quantiles)), dtype=np.float32)
        with torch.no_grad(), _alone(0):
            for start in range(0, panel.series, CHUNK):
                part = slice(start, start + CHUNK)
                seen = self._inputs(panel.select(part), last, norms)
                told = [net(seen.past, seen.known, seen.static, first, last) for net in nets]
                mean = torch.stack(told).mean(0)[:, forks - first]
                out[part] = (mean * seen.scale[:, forks, None, None]).clamp(min=0).numpy()
        return out

    def _inputs(self, panel: Panel, end: int, norms: Norms) -> Inputs:
        return inputs(panel, end, self.horizon, norms, self.recipe.window, self.recipe.season)

    def _fitted(self) -> tuple[list[MqNet], Norms]:
        if not self._nets or self._norms is None:
            raise BadInput(
                f"expected a fitted {self.name}, found one that has learned nothing; call fit first"
            )
        return self._nets, self._norms

    def save(self) -> dict[str, bytes]:
        """`forecaster.json` and `forecaster.safetensors`; equal nets give equal bytes."""
        from safetensors.torch import save

        nets, norms = self._fitted()
        options = asdict(self.recipe)
        spreads = {"known": norms.known.tolist(), "static": norms.static.tolist()}
        header = header_bytes(self, options, unit=norms.unit, **spreads)
        weights = {
            f"{i}.{key}": v.contiguous() for i, net in enumerate(nets) for key, v in net.state_dict().items()
        }
        return {HEADER: header, WEIGHTS: save(weights)}

    def restore(self, files: Mapping[str, bytes]) -> Forecaster:
        """Read what `save` wrote.

        Raises:
            BadInput: a file is missing or damaged, or the weights do not fit the header.
        """
        import torch
        from safetensors import SafetensorError
        from safetensors.torch import load

        header = read_header(files)
        try:
            known, static = (
                np.asarray(header[name], dtype=np.float32).reshape(2, -1) for name in ("known", "static")
            )
            nets = [self._make(known.shape[1], static.shape[1]) for _ in range(self.recipe.members)]
            torch.nn.ModuleList(nets).load_state_dict(load(files[WEIGHTS]))
            self._norms = Norms(float(header["unit"]), known, static)
        except (SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
            raise BadInput(
                f"expected the weights of {self.name} in {WEIGHTS}, found damage: {error}"
            ) from error
        self._nets = [net.eval() for net in nets]
        return self


def _train(
    net: MqNet, seen: Inputs, quantiles: Sequence[float], recipe: Recipe, progress: Progress | None
) -> None:
    """Minibatches of random series, each at a random stretch of successive forks."""
    import torch

    rng = torch.Generator().manual_seed(recipe.seed)
    adam = torch.optim.AdamW(net.parameters(), lr=recipe.learning_rate, weight_decay=recipe.decay)
    levels = torch.tensor(quantiles)
    began = time.process_time()
    for i in range(recipe.iterations):
        spent = i / recipe.iterations
        if recipe.cpu_seconds:
            spent = max(spent, (time.process_time() - began) / recipe.cpu_seconds)
        if spent >= 1:
            break
        for group in adam.param_groups:
            group["lr"] = recipe.learning_rate * 0.5 * (1 + np.cos(np.pi * spent))
        loss = _loss(net, _minibatch(seen, recipe, rng), levels, recipe.weight)
        adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        adam.step()
        if progress is not None:
            progress(i, spent, loss.item())


class _Minibatch(NamedTuple):
    seen: Inputs
    first: int  # fork
    last: int


def _minibatch(seen: Inputs, recipe: Recipe, rng: Any) -> _Minibatch:
    """Random series, cut to what the encoder remembers before a random stretch of forks."""
    import torch

    n, end = seen.demand.shape
    rows = torch.randint(n, (recipe.batch,), generator=rng)
    forks = min(recipe.forks, end - 1)
    first = int(torch.randint(end - forks, (1,), generator=rng))  # the last one still has a target
    begin = max(0, first - recipe.memory)
    horizon = seen.known.shape[1] - end
    cut = slice(begin, first + forks + horizon)
    part = Inputs(
        seen.past[rows, cut],
        seen.known[rows, cut],
        seen.static[rows],
        seen.scale[rows, cut],
        seen.demand[rows, cut],
    )
    return _Minibatch(part, first - begin, first - begin + forks)


def _loss(net: MqNet, batch: _Minibatch, levels: Tensor, weight: float) -> Tensor:
    """Mean pinball loss of scaled demand, over the targets that are known."""
    import torch
    from torch.nn import functional

    from workgym.agents.forecast.mq import ahead, pinball

    seen, first, last = batch
    told = net(seen.past, seen.known, seen.static, first, last)
    horizon = net.sizes.horizon
    short = max(0, last - 1 + horizon + 1 - seen.demand.shape[1])
    demand = functional.pad(seen.demand, (0, short), value=float("nan"))
    target = ahead(demand.unsqueeze(-1), first, last, horizon).squeeze(-1)
    known = torch.isfinite(target)
    scale = seen.scale[:, first:last, None]
    loss = pinball(torch.where(known, target, 0.0) / scale, told, levels).mean(-1)
    counts = known * scale**weight
    return (loss * counts).sum() / counts.sum().clamp(min=1e-9)


def _entered(name: str) -> Callable[..., Forecaster]:
    def make(horizon: int, quantiles: Sequence[float], **options: Any) -> Forecaster:
        return MqForecaster(name, horizon, quantiles, Recipe(**options))

    make.__qualname__ = f"make[{name}]"
    return forecaster(name)(make)


mq_rnn = _entered("mq-rnn")
mq_cnn = _entered("mq-cnn")
mq_transformer = _entered("mq-transformer")
