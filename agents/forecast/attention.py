"""The three additions of MQTransformer to MQ-CNN, as modules of their own.

Positions learned from known events; attention from each horizon to the encoder's past; attention of each
forecast to the earlier forecasts of the same date, by which a net reacts to its own revisions. Source:
Eisenach, Patel and Madeka (2020), arXiv 2009.14799. The paper's full equations were not at hand: that
contexts are refined by residuals, the causal kernel of the positions and the widths are our choices.

Shapes: B series, T periods, F forks, H horizon, C context, P position, S periods of the past.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from workgym.agents.forecast.mq import CausalConv, MqNet, Sizes, ahead


def by_date(x: Tensor) -> Tensor:
    """(B, H, F + H - 1, C) of contexts x (B, F, H, C), so that one column is about one date.

    Row h moves h places to the right: fork f's context of horizon h lands in column f + h. Places without
    a fork are zero.
    """
    b, forks, horizon, width = x.shape
    padded = functional.pad(x.transpose(1, 2), (0, 0, 0, horizon))  # (B, H, F + H, C)
    return padded.flatten(1, 2)[:, : horizon * (forks + horizon - 1)].reshape(b, horizon, -1, width)


def by_fork(x: Tensor, forks: int) -> Tensor:
    """(B, F, H, C) from `by_date`'s layout: its inverse."""
    b, horizon, _, width = x.shape
    flat = functional.pad(x.flatten(1, 2), (0, 0, 0, horizon))
    return flat.reshape(b, horizon, forks + horizon, width)[:, :, :forks].transpose(1, 2)


def earlier_forks(forks: int, horizon: int) -> Tensor:
    """(F + H - 1, H, H) whether, at a date, the forecast of horizon h may look at the one of horizon r.

    It may where r was made no later, r >= h, and by a fork that exists; always at itself.
    """
    date = torch.arange(forks + horizon - 1)[:, None, None]
    h = torch.arange(horizon)[None, :, None]
    r = torch.arange(horizon)[None, None, :]
    exists = (date - r >= 0) & (date - r < forks)
    return ((r >= h) & exists) | (r == h)


def recent(first: int, last: int, reach: int) -> tuple[Tensor, int]:
    """(F, S) whether fork first + i may look at period begin + j; and `begin`."""
    begin = max(0, first - reach + 1)
    fork = torch.arange(first, last)[:, None]
    period = torch.arange(begin, last)[None, :]
    return (period <= fork) & (period > fork - reach), begin


class Positions(nn.Module):
    """Positions learned from the known covariates of a date and of those just before it.

    Causal, so that a position never needs covariates beyond its own date; what is to come reaches the net
    through the global decoder, which reads all covariates of the horizon.
    """

    def __init__(self, known: int, width: int, kernel: int = 3) -> None:
        super().__init__()
        self.conv = CausalConv(known, width, kernel)
        self.mix = nn.Linear(width, width)

    def forward(self, known: Tensor) -> Tensor:
        """(B, T, P)."""
        mixed: Tensor = self.mix(functional.relu(self.conv(known)))
        return mixed


class PastAttention(nn.Module):
    """Each horizon of each fork looks at the encoder's recent states, by its own date and horizon.

    Queries are made of the fork's state, of the positions of now and of the date spoken of, and of the
    horizon; keys and values of a period's state and position.
    """

    def __init__(self, horizon: int, width: int, position: int, context: int, heads: int, reach: int) -> None:
        super().__init__()
        self.heads, self.reach = heads, reach
        self.ask = nn.Linear(width + position, context)
        self.ask_date = nn.Linear(position, context, bias=False)
        self.ask_horizon = nn.Parameter(torch.zeros(horizon, context))
        self.key = nn.Linear(width + position, context)
        self.value = nn.Linear(width + position, context)
        self.out = nn.Linear(context, context)

    def forward(self, states: Tensor, here: Tensor, date: Tensor, first: int, last: int) -> Tensor:
        """(B, F, H, C) from states (B, T, D), positions (B, T, P), positions of the dates (B, F, H, P)."""
        seen = torch.cat([states, here[:, : states.shape[1]]], dim=-1)
        now = self.ask(seen[:, first:last]).unsqueeze(2)
        query = now + self.ask_date(date) + self.ask_horizon
        mask, begin = recent(first, last, self.reach)
        keys, values = (split(part(seen[:, begin:last]), self.heads) for part in (self.key, self.value))
        forks, horizon = query.shape[1:3]
        found = functional.scaled_dot_product_attention(
            split(query.flatten(1, 2), self.heads),
            keys,
            values,
            attn_mask=mask.repeat_interleave(horizon, dim=0),
        )
        out: Tensor = self.out(joined(found).reshape(len(query), forks, horizon, -1))
        return out


class FeedbackAttention(nn.Module):
    """Each forecast looks at the contexts that earlier forks had of the same date, and at its own.

    It runs along the anti-diagonals of (F, H), which `by_date` turns into columns.
    """

    def __init__(self, width: int, position: int, context: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.ask = nn.Linear(context + position, context)
        self.ask_state = nn.Linear(width, context, bias=False)
        self.key = nn.Linear(context + position, context)
        self.key_state = nn.Linear(width, context, bias=False)
        self.value = nn.Linear(context, context)
        self.out = nn.Linear(context, context)

    def forward(self, each: Tensor, states: Tensor, date: Tensor) -> Tensor:
        """(B, F, H, C) from contexts (B, F, H, C), the forks' states (B, F, D), positions (B, F, H, P)."""
        forks, horizon = each.shape[1:3]
        told = torch.cat([each, date], dim=-1)
        query = self.ask(told) + self.ask_state(states).unsqueeze(2)
        key = self.key(told) + self.key_state(states).unsqueeze(2)
        # (B, dates, heads, H, C / heads) each
        q, k, v = (split(by_date(x).transpose(1, 2), self.heads) for x in (query, key, self.value(each)))
        mask = earlier_forks(forks, horizon).unsqueeze(1)
        found = joined(functional.scaled_dot_product_attention(q, k, v, attn_mask=mask))
        out: Tensor = self.out(by_fork(found.transpose(1, 2), forks))
        return out


def split(x: Tensor, heads: int) -> Tensor:
    """(..., heads, n, C / heads) of x (..., n, C)."""
    return x.reshape(*x.shape[:-1], heads, -1).transpose(-2, -3)


def joined(x: Tensor) -> Tensor:
    """(..., n, C) of x (..., heads, n, C / heads)."""
    return x.transpose(-2, -3).flatten(-2)


class MqAttention(nn.Module):
    """Refines a net's contexts: first by the past, then by the earlier forecasts of the same date."""

    def __init__(
        self, sizes: Sizes, width: int, context: int, position: int = 8, heads: int = 2, reach: int = 64
    ) -> None:
        super().__init__()
        self.horizon = sizes.horizon
        self.positions = Positions(max(1, sizes.known), position)
        self.past = PastAttention(sizes.horizon, width, position, context, heads, reach)
        self.feedback = FeedbackAttention(width, position, context, heads)

    def forward(self, each: Tensor, states: Tensor, known: Tensor, first: int, last: int) -> Tensor:
        """(B, F, H, C) from contexts (B, F, H, C) of the forks first..last-1."""
        if not known.shape[2]:
            known = torch.zeros(*known.shape[:2], 1)
        here = self.positions(known)
        date = ahead(here, first, last, self.horizon)
        each = each + self.past(states, here, date, first, last)
        refined: Tensor = each + self.feedback(each, states[:, first:last], date)
        return refined


def mq_transformer(
    sizes: Sizes,
    width: int = 48,
    layers: int = 5,
    context: int = 16,
    dropout: float = 0.0,
    heads: int = 2,
    reach: int = 64,
) -> MqNet:
    """MQ-CNN with all three additions.

    Args:
        sizes: widths of what goes in and out.
        width: of the encoder's states.
        layers: of the convolutions.
        context: width of a horizon's context; a multiple of `heads`.
        dropout: share of states and contexts that training leaves out at random.
        heads: of both attentions.
        reach: periods of the past that a fork looks at; a season and a horizon are a good choice.
    """
    attention = MqAttention(sizes, width, context, heads=heads, reach=reach)
    return MqNet(sizes, "cnn", width, layers, context, dropout, attention)
