"""Multi-horizon quantile networks in torch: MQ-RNN, MQ-CNN and MQTransformer, with forking sequences.

    net = MqNet(Sizes(past=5, known=4, static=0, horizon=8, quantiles=3), encoder="cnn")
    net(past, known, static, first=20, last=60)  # (batch, 40, 8, 3)

Fork f has seen the periods 0..f and speaks of f+1..f+horizon. **Forking sequences**: one pass of a causal
encoder over the whole series, then one decoder, the same at every fork; training on all windows of a
series costs one pass. The output at fork f is what the net gives for the series cut after period f.

Shapes: B series, T periods, F forks, H horizon, D width of the encoder, Q quantiles.

Sources: Wen, Torkkola, Narayanaswamy and Madeka (2017), "A Multi-Horizon Quantile Recurrent Forecaster",
arXiv 1711.11053: encoder, global and local decoder, forking sequences. Eisenach, Patel and Madeka (2020),
"MQTransformer", arXiv 2009.14799: positions from events, attention from horizons to the past, attention
along the forecasts of one date. Where the papers leave details open the choice is ours and is told.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from workgym.services.kernel import BadInput, did_you_mean

ENCODERS = ("rnn", "cnn")


class Sizes(NamedTuple):
    """Widths of what goes in and out of a net.

    Attributes:
        past: features of a period that is seen, such as its demand.
        known: covariates of a period that are known in advance.
        static: features of a series.
        horizon: periods ahead.
        quantiles: quantiles told.
    """

    past: int
    known: int
    static: int
    horizon: int
    quantiles: int


def non_crossing(raw: Tensor) -> Tensor:
    """(..., Q) rising values from free ones: a centre, and steps up and down that are never negative.

    The middle value stands; each step outwards adds or takes the softplus of its own raw value.
    """
    centre = (raw.shape[-1] - 1) // 2
    steps = functional.softplus(raw)
    middle = raw[..., centre : centre + 1]
    below = middle - steps[..., :centre].flip(-1).cumsum(-1).flip(-1)
    above = middle + steps[..., centre + 1 :].cumsum(-1)
    return torch.cat([below, middle, above], dim=-1)


def pinball(actual: Tensor, forecast: Tensor, quantiles: Tensor) -> Tensor:
    """(..., Q) quantile loss of forecasts (..., Q) for the truth (...)."""
    short = actual.unsqueeze(-1) - forecast
    return torch.maximum(quantiles * short, (quantiles - 1) * short)


def ahead(x: Tensor, first: int, last: int, horizon: int) -> Tensor:
    """(B, F, H, K) of x (B, T, K): for each fork first..last-1 the periods that it speaks of."""
    return x[:, first + 1 : last + horizon].unfold(1, horizon, 1).transpose(2, 3)


class CausalConv(nn.Module):
    """A convolution over (B, T, channels) that sees the present and the past only."""

    def __init__(self, inputs: int, outputs: int, kernel: int, dilation: int = 1) -> None:
        super().__init__()
        self.reach = (kernel - 1) * dilation
        self.conv = nn.Conv1d(inputs, outputs, kernel, dilation=dilation)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, outputs)."""
        out: Tensor = self.conv(functional.pad(x.transpose(1, 2), (self.reach, 0)))
        return out.transpose(1, 2)


class ConvEncoder(nn.Module):
    """A stack of dilated causal convolutions with residuals, as WaveNet's and MQ-CNN's.

    With kernel 2 and dilations 1, 2, 4, ... a stack of n layers sees 2^n periods.
    """

    def __init__(self, inputs: int, width: int, layers: int, kernel: int = 2) -> None:
        super().__init__()
        self.enter = nn.Linear(inputs, width)
        self.layers = nn.ModuleList(CausalConv(width, width, kernel, 2**i) for i in range(layers))

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) states of the periods."""
        x = self.enter(x)
        for layer in self.layers:
            x = x + functional.relu(layer(x))
        return x


class RnnEncoder(nn.Module):
    """An LSTM over the periods: the encoder of MQ-RNN."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(inputs, width, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) states of the periods."""
        states: Tensor = self.lstm(x)[0]
        return states


def mlp(*widths: int) -> nn.Sequential:
    """Dense layers with relu between them."""
    layers: list[nn.Module] = []
    for a, b in pairwise(widths):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class GlobalDecoder(nn.Module):
    """From a fork's state and all covariates to come: one context a horizon, and one for all of them.

    m_G(h_t, x_{t+1}, ..., x_{t+H}) -> (c_1, ..., c_H), c_a in Wen et al. (2017), section 3.2.
    """

    def __init__(self, sizes: Sizes, width: int, context: int) -> None:
        super().__init__()
        self.horizon, self.context = sizes.horizon, context
        self.net = mlp(width + sizes.horizon * sizes.known, 2 * width, (sizes.horizon + 1) * context)

    def forward(self, states: Tensor, future: Tensor) -> tuple[Tensor, Tensor]:
        """(B, F, H, context) and (B, F, context) from states (B, F, D) and covariates (B, F, H, known)."""
        out = self.net(torch.cat([states, future.flatten(2)], dim=-1))
        each, alike = out.split([self.horizon * self.context, self.context], dim=-1)
        return each.unflatten(-1, (self.horizon, self.context)), alike


class LocalDecoder(nn.Module):
    """From a horizon's contexts and covariates to its quantiles: m_L of Wen et al. (2017)."""

    def __init__(self, sizes: Sizes, context: int, hidden: int) -> None:
        super().__init__()
        self.net = mlp(2 * context + sizes.known, hidden, sizes.quantiles)
        start = torch.full((sizes.quantiles,), -1.0)
        start[(sizes.quantiles - 1) // 2] = 1.0  # at the scale itself with moderate steps, not at zero
        self.net[-1].bias = nn.Parameter(start)

    def forward(self, each: Tensor, alike: Tensor, future: Tensor) -> Tensor:
        """(B, F, H, Q) quantiles that do not cross."""
        spread = alike.unsqueeze(2).expand(*each.shape[:3], -1)
        return non_crossing(self.net(torch.cat([each, spread, future], dim=-1)))


class MqNet(nn.Module):
    """Encoder, global and local decoder; with attention, if asked for, between the two decoders.

    Args:
        sizes: widths of what goes in and out.
        encoder: `cnn` for dilated causal convolutions, `rnn` for an LSTM.
        width: of the encoder's states.
        layers: of the convolutions.
        context: width of a horizon's context.
        dropout: share of the encoder's states and of the contexts that training leaves out at random.
        attention: what refines the contexts; None for MQ-RNN and MQ-CNN.

    Raises:
        BadInput: there is no such encoder.
    """

    def __init__(
        self,
        sizes: Sizes,
        encoder: str = "cnn",
        width: int = 48,
        layers: int = 5,
        context: int = 16,
        dropout: float = 0.0,
        attention: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.sizes = sizes
        inputs = sizes.past + sizes.known + sizes.static
        if encoder not in ENCODERS:
            raise BadInput(did_you_mean("encoder", encoder, list(ENCODERS)))
        self.encoder = RnnEncoder(inputs, width) if encoder == "rnn" else ConvEncoder(inputs, width, layers)
        self.overview = GlobalDecoder(sizes, width, context)
        self.attention = attention
        self.local = LocalDecoder(sizes, context, hidden=2 * context)
        self.dropout = nn.Dropout(dropout)

    def forward(self, past: Tensor, known: Tensor, static: Tensor, first: int, last: int) -> Tensor:
        """(B, last - first, H, Q) quantiles told at the forks first..last-1.

        Args:
            past: (B, T, past) with T at least `last`.
            known: (B, T', known) with T' at least `last + horizon`.
            static: (B, static).
            first: the first fork.
            last: one after the last fork.
        """
        horizon = self.sizes.horizon
        if not 0 <= first < last <= past.shape[1] or known.shape[1] < last - 1 + horizon:
            raise BadInput(
                f"expected forks within {past.shape[1]} periods and covariates up to the last one's horizon, "
                f"found forks {first}..{last - 1} and {known.shape[1]} periods of covariates"
            )
        everywhere = static.unsqueeze(1).expand(-1, last, -1)
        seen = torch.cat([past[:, :last], known[:, :last], everywhere], dim=-1)
        states = self.dropout(self.encoder(seen))
        start = max(0, first - horizon + 1) if self.attention is not None else first
        future = ahead(known, start, last, horizon)
        each, alike = self.overview(states[:, start:last], future)
        if self.attention is not None:
            each = self.attention(each, states, known, start, last)[:, first - start :]
            alike, future = alike[:, first - start :], future[:, first - start :]
        quantiles: Tensor = self.local(self.dropout(each), self.dropout(alike), future)
        return quantiles
