"""What a policy sees of a batch of episodes, in torch: the observations of `workgym.envs.supply_chain.view`.

A gradient passes through stock, orders and pipelines; estimates of demand, prices and the calendar
are what they are.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from workgym.agents.pathwise.happenings import Happenings
from workgym.agents.pathwise.simulator import Stock, total_of
from workgym.envs.supply_chain import view
from workgym.services.supply_chain import rules
from workgym.services.supply_chain.scenario import EXTERNAL, Setup


class Flat:
    """Flat observations of a network, before they are scaled and bounded.

    Args:
        setup: the network.
        dtype: of all tensors.
        live: (features,) those that are looked at; the others cost nothing.

    Attributes:
        columns: (n,) which feature each number that is seen belongs to.
        gain: (n,) what makes the feature of it.
    """

    ahead = 0

    def __init__(
        self, setup: Setup, dtype: torch.dtype = torch.float32, live: NDArray[np.bool_] | None = None
    ) -> None:
        self.setup, self._dtype = setup, dtype
        self.features = view.flat_features(setup)
        parts = _parts(setup)
        self._parts = [one for one in parts if live is None or live[one.columns].any()]
        self.columns = np.concatenate([one.columns for one in self._parts])
        self.gain = np.concatenate([one.gain for one in self._parts])

    def only(self, live: NDArray[np.bool_]) -> Flat:
        """The same, looking at these features alone."""
        return Flat(self.setup, self._dtype, live)

    @property
    def moves_not(self) -> bool:
        """Whether demand has one law for ever, so that no estimate of it tells anything."""
        return len(self.setup.history) == 0 and bool((self.setup.tables.group[:, 1] == 1).all())

    @property
    def idle(self) -> NDArray[np.bool_]:
        """(features,) what tells nothing on an endless horizon: the calendar, estimates of what moves not."""
        idle = np.zeros(self.features, dtype=np.bool_)
        if self.moves_not:
            idle[1 : 2 * self.setup.opening.size : 2] = True
        idle[-1] = True
        return idle

    def see(self, stock: Stock, told: Happenings, t: int) -> Tensor:
        """(B, n) what is seen at the beginning of period t, unscaled."""
        seen = [self._part(one.name, one.slot, stock, told, t) for one in self._parts]
        return torch.cat(seen, dim=1)

    def _part(self, name: str, slot: int, stock: Stock, told: Happenings, t: int) -> Tensor:
        if name == "net":
            return (stock.on_hand - stock.backlog).flatten(1)
        if name == "level":
            return stock.level.flatten(1)
        if name == "season":
            return torch.from_numpy(told.steps[t, :, 0]).to(self._dtype)
        batch = len(stock.on_hand)
        if name == "day":
            return torch.full((batch, 1), float(t), dtype=self._dtype)
        units = {"owed": (stock.owed,), "mail": stock.mail, "way": stock.way}[name][slot]
        if units is None:
            return torch.zeros(batch, self.setup.most.size, dtype=self._dtype)
        return units.flatten(1)

    def position(self) -> NDArray[np.float64]:
        """(features, A * K) what makes of an observation the position of each decision, in units."""
        setup, echelon = self.setup, echelon_of(self.setup)
        (links, skus), weights = setup.most.shape, np.zeros((self.features, setup.most.size))
        counts = {
            "net": echelon.below,
            "owed": echelon.outside,
            "mail": echelon.outside,
            "way": echelon.arriving,
        }
        for one in _parts(setup):
            if one.name in counts:
                each = np.einsum("ap,kl->plak", counts[one.name], np.eye(skus)).reshape(-1, links * skus)
                weights[one.columns] = each / one.gain[:, None]
        return weights

    def look(self, stock: Stock, told: Happenings, t: int) -> Tensor:
        """(B, features) the observation at the beginning of period t."""
        seen = self.see(stock, told, t) * torch.from_numpy(self.gain).to(self._dtype)
        whole = torch.zeros(len(seen), self.features, dtype=self._dtype)
        whole[:, torch.from_numpy(self.columns)] = seen
        return whole.clamp(-view.BOUND, view.BOUND)


class _Part(NamedTuple):
    """Some numbers of the state, and the features that they become."""

    name: str
    slot: int
    columns: NDArray[np.int64]
    gain: NDArray[np.float64]


def _parts(setup: Setup) -> list[_Part]:
    sheet = view.sheet_of(setup)
    nodes, links, skus = setup.opening.size, setup.most.size, setup.most.shape[1]
    stock = 2 * np.arange(nodes)
    node, link = sheet.node_scale.ravel().astype(float), sheet.link_scale.ravel().astype(float)
    slots = 1 + setup.delay + setup.horizon
    first = 2 * nodes + slots * np.arange(links)
    last = 2 * nodes + slots * links
    ahead = [
        ("owed", 0),
        *(("mail", d) for d in range(setup.delay)),
        *(("way", h) for h in range(setup.horizon)),
    ]
    return [
        _Part("net", 0, stock, node),
        _Part("level", 0, stock + 1, node / rules.FRACTION),
        *(_Part(name, slot, first + n, link) for n, (name, slot) in enumerate(ahead)),
        _Part("season", 0, last + np.arange(skus), np.full(skus, 1 / 16.0)),
        _Part("day", 0, np.array([last + skus]), np.array([1.0 / setup.periods])),
    ]


class Echelon(NamedTuple):
    """What counts as the position of each link: the target's stock and all below it, and what comes there."""

    below: NDArray[np.int64]  # (A, S) nodes whose stock, less waiting customers, counts
    arriving: NDArray[np.int64]  # (A, A) links whose goods on the way count
    outside: NDArray[np.int64]  # (A, A) links whose orders count: those of a source inside are its own stock


def echelon_of(setup: Setup) -> Echelon:
    """The positions of a network's links, as observations in rows count them."""
    sheet, external = view.sheet_of(setup), setup.source == EXTERNAL
    arriving = sheet.below[:, setup.target]
    inside = arriving * sheet.below[:, np.where(external, 0, setup.source)] * ~external
    return Echelon(sheet.below, arriving, arriving - inside)


class Rows:
    """Observations in rows, (B * A * K, FEATURES), of a network.

    Args:
        setup: the network.
        dtype: of all tensors.
    """

    def __init__(self, setup: Setup, dtype: torch.dtype = torch.float32) -> None:
        self.setup, self._dtype = setup, dtype
        sheet = self.sheet = view.sheet_of(setup)
        self.features = view.FEATURES
        self.columns = np.arange(view.FEATURES)
        self.gain = np.ones(view.FEATURES)
        self.ahead = int(sheet.protection.max()) + view.MORE
        external = setup.source == EXTERNAL
        echelon = echelon_of(setup)
        self._external = self._of(external[:, None])
        self._origin = torch.from_numpy(np.where(external, 0, setup.source))
        self._target = torch.from_numpy(setup.target)
        self._below, self._reach = self._of(sheet.below), self._of(sheet.reach)
        self._arriving, self._outside = self._of(echelon.arriving), self._of(echelon.outside)
        self._protection = self._of(sheet.protection[:, None])
        self._lumpy = self._of(np.maximum(sheet.lumpy, 0.25))
        self._still = self._unchanging()

    def _of(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(np.asarray(values, dtype=np.float64)).to(self._dtype)

    def _unchanging(self) -> dict[int, Tensor]:
        sheet, shape = self.sheet, self.setup.most.shape

        def wide(values: np.ndarray) -> Tensor:
            return self._of(np.broadcast_to(values, shape).copy()).clamp(-view.BOUND, view.BOUND)

        return {
            5: wide((self.setup.source == EXTERNAL)[:, None]),
            13: wide(sheet.margin),
            14: wide(sheet.critical),
            16: wide(sheet.lead[:, None] / 8.0),
            17: wide(sheet.spread[:, None] / 8.0),
            21: wide(sheet.lumpy / 4.0),
            23: wide(sheet.load[:, None]),
        }

    def only(self, live: NDArray[np.bool_]) -> Rows:
        """The same: rows are looked at whole."""
        return self

    def see(self, stock: Stock, told: Happenings, t: int) -> Tensor:
        """(B * A * K, FEATURES) what is seen at the beginning of period t."""
        return self.look(stock, told, t)

    def look(self, stock: Stock, told: Happenings, t: int) -> Tensor:
        """(B * A * K, FEATURES) the observation at the beginning of period t."""
        with torch.no_grad():
            level = self._reach @ stock.level
            usual = (level / rules.FRACTION).clamp_min(1.0 / 64.0)
            unit = 1.0 / (usual * self._protection)
            columns = self._given(stock, told, t, level, usual, unit)
        net = stock.on_hand - stock.backlog
        position = self._below @ net
        if (way := total_of(stock.way)) is not None:
            position = position + self._arriving @ way
        if (mail := total_of((stock.owed, *stock.mail))) is not None:
            position = position + self._outside @ mail
            columns[2] = mail * unit
        columns[0] = stock.on_hand[:, self._target] * unit
        columns[1] = stock.backlog[:, self._target] * unit
        columns[3] = position * unit
        columns[4] = stock.on_hand[:, self._origin] * unit * (1.0 - self._external)
        last = view.SLOTS - 1
        slots = (*stock.way[:last], total_of(stock.way[last:]))
        columns |= {24 + h: units * unit for h, units in enumerate(slots) if units is not None}
        shape = unit.shape
        nothing = torch.zeros((), dtype=self._dtype).expand(shape)
        seen = torch.stack([columns.get(n, nothing) for n in range(self.features)], dim=-1)
        return seen.flatten(0, 2).clamp(-view.BOUND, view.BOUND)

    def _given(
        self, stock: Stock, told: Happenings, t: int, level: Tensor, usual: Tensor, unit: Tensor
    ) -> dict[int, Tensor]:
        """The columns that orders do not change."""
        setup, protection, shape = self.setup, self.sheet.protection, unit.shape
        factor = told.factor_pm[t:, :, 0]  # (periods from now, B, K)
        promoted = told.promoted[t:, :, 0]
        covered = np.stack([factor[:p].sum(axis=0) for p in protection], axis=1)
        week = np.stack([factor[p : p + view.MORE].sum(axis=0) for p in protection], axis=1)
        soon = np.stack([promoted[1 : max(p, 1)].any(axis=0) for p in protection], axis=1)
        price = np.maximum(np.maximum(setup.cost, setup.price[setup.target]), 1)
        week_value = (usual * (7.0 * self._of(price))).clamp_min(1.0)
        cost = np.where(setup.cost > 0, told.cost[t] / np.maximum(setup.cost, 1), 1.0)
        expected = torch.floor(level * self._of(covered) / rules.ALL) / rules.FRACTION
        told_now = self._outlook(told, t, expected) * unit[..., None]
        given = {n: one.expand(shape) for n, one in self._still.items()}
        given |= {
            6: self._of(factor[0][:, None] / 1000.0).expand(shape),
            7: expected * unit,
            8: self._of(week / (1000.0 * view.MORE)),
            9: (self._reach @ stock.asked) / usual,
            10: self._of(promoted[0][:, None]).expand(shape),
            11: self._of(soon),
            12: torch.log2(usual) / 4.0,
            15: self._of(setup.order_cost) / week_value,
            18: self._of(1 - told.is_open[t]).expand(shape),
            19: self._of(cost),
            20: self._of(factor[:3].sum(axis=0)[:, None] / 3000.0).expand(shape),
            22: self._of(setup.pack) * unit,
        }
        first = len(view.HEAD) + view.SLOTS
        return given | {first + q: one for q, one in enumerate(told_now.unbind(-1))}

    def _outlook(self, told: Happenings, t: int, expected: Tensor) -> Tensor:
        """(B, A, K, 3) quantiles of demand over the protection interval: forecast, else by the estimate."""
        spread = torch.sqrt(expected * self._lumpy)[..., None] * self._of(np.array(view.NORMAL))
        estimate = (expected[..., None] + spread).clamp_min(0.0)
        if not len(self.setup.outlook):
            return estimate
        forecast = self._of(self.setup.outlook[told.begins + t] / rules.FRACTION)
        return torch.where(forecast[..., :1] < 0, estimate, forecast)
