"""Claims about the multi-horizon quantile networks themselves."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workgym.agents.forecast.attention import by_date, by_fork, earlier_forks, mq_transformer, recent
from workgym.agents.forecast.mq import CausalConv, ConvEncoder, MqNet, RnnEncoder, Sizes, ahead, non_crossing
from workgym.agents.forecast.mq import pinball as torch_pinball
from workgym.services.kernel import BadInput

H, T = 4, 30
SIZES = Sizes(past=3, known=2, static=1, horizon=H, quantiles=3)
NETS = {
    "mq-rnn": lambda: MqNet(SIZES, "rnn", width=8, context=4),
    "mq-cnn": lambda: MqNet(SIZES, "cnn", width=8, layers=3, context=4),
    "mq-transformer": lambda: mq_transformer(SIZES, width=8, layers=3, context=4, reach=9),
}
nets = pytest.mark.parametrize("name", NETS)


def net_and_inputs(name, seed=0):
    torch.manual_seed(seed)
    net = NETS[name]().eval()
    for value in net.parameters():  # also what starts at zero must do something
        value.data += 0.1 * torch.randn_like(value)
    return net, torch.randn(5, T, 3), torch.randn(5, T + H, 2), torch.randn(5, 1)


@nets
def test_a_fork_tells_what_the_net_tells_of_the_series_cut_there(name):
    net, past, known, static = net_and_inputs(name)
    with torch.no_grad():
        whole = net(past, known, static, 0, T)
        assert whole.shape == (5, T, H, 3)
        for fork in (0, 1, 7, T - 1):
            seen = fork + 1
            cut = net(past[:, :seen], known[:, : seen + H], static, fork, seen)
            torch.testing.assert_close(cut[:, 0], whole[:, fork])


@nets
def test_the_stretch_of_forks_does_not_change_what_they_tell(name):
    net, past, known, static = net_and_inputs(name)
    with torch.no_grad():
        whole = net(past, known, static, 0, T)
        for first, last in [(3, 9), (11, 12), (20, T)]:
            torch.testing.assert_close(net(past, known, static, first, last), whole[:, first:last])


@nets
def test_what_a_fork_has_not_seen_does_not_reach_it(name):
    net, past, known, static = net_and_inputs(name)
    fork = 12
    other, other_known = past.clone(), known.clone()
    other[:, fork + 1 :] += 100
    other_known[:, fork + H + 1 :] += 100
    with torch.no_grad():
        before, after = (net(x, k, static, 0, T) for x, k in ((past, known), (other, other_known)))
    torch.testing.assert_close(after[:, : fork + 1], before[:, : fork + 1], rtol=0, atol=0)
    assert not torch.allclose(after[:, fork + 1 :], before[:, fork + 1 :])


@nets
@pytest.mark.parametrize("what", ["present", "past", "covariates to come", "static"])
def test_what_a_fork_has_seen_reaches_it(name, what):
    net, past, known, static = net_and_inputs(name)
    past, known, static = past.clone(), known.clone(), static.clone()
    with torch.no_grad():
        before = net(past, known, static, 12, 13)
        if what == "static":
            static += 1
        elif what == "covariates to come":
            known[:, 12 + H] += 1
        else:
            past[:, 12 if what == "present" else 8] += 1
        assert not torch.allclose(net(past, known, static, 12, 13), before)


def test_an_earlier_forecast_of_the_same_date_reaches_the_next_one():
    net, past, known, static = net_and_inputs("mq-transformer")
    asked = []

    def look(module, inputs, output):
        each = inputs[0].clone().requires_grad_()
        asked.append((each, module.forward(each, *inputs[1:])))

    net.attention.feedback.register_forward_hook(look)
    net(past, known, static, 0, T)
    each, refined = asked[0]
    fork, horizon = 10, 1
    (felt,) = torch.autograd.grad(refined[:, fork, horizon].sum(), each)
    reached = felt.abs().sum(dim=(0, 3)).nonzero().tolist()
    assert reached == [[8, 3], [9, 2], [10, 1]]  # the same date, told at forks 8, 9 and 10


@pytest.mark.parametrize("encoder", [ConvEncoder(3, 6, 4), RnnEncoder(3, 6), CausalConv(3, 6, 3, 2)])
def test_encoders_are_causal(encoder):
    x = torch.randn(2, 20, 3)
    other = x.clone()
    other[:, 13:] += 5
    with torch.no_grad():
        a, b = encoder(x), encoder(other)
    assert a.shape == (2, 20, 6)
    torch.testing.assert_close(a[:, :13], b[:, :13])
    assert not torch.allclose(a[:, 13], b[:, 13])


def test_a_stack_of_convolutions_sees_two_to_the_layers_periods():
    torch.manual_seed(0)
    encoder = ConvEncoder(1, 16, 4)
    x = torch.randn(1, 40, 1, requires_grad=True)
    (felt,) = torch.autograd.grad(encoder(x)[0, 39].sum(), x)
    assert felt[0, :, 0].nonzero().flatten().tolist() == list(range(24, 40))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 9), st.floats(0, 50))
def test_quantiles_never_cross_whatever_the_net_says(seed, n, size):
    raw = size * torch.randn(40, n, generator=torch.Generator().manual_seed(seed))
    rising = non_crossing(raw)
    assert (rising.diff(dim=-1) >= 0).all()
    torch.testing.assert_close(rising[:, (n - 1) // 2], raw[:, (n - 1) // 2])


def test_non_crossing_by_hand():
    one = torch.log(torch.expm1(torch.tensor(1.0)))  # its softplus is 1
    raw = torch.stack([one, one, torch.tensor(5.0), one, one])
    torch.testing.assert_close(non_crossing(raw), torch.tensor([3.0, 4, 5, 6, 7]))


def test_the_loss_of_the_net_is_the_loss_of_the_report():
    from workgym.agents.forecast.metrics import pinball

    actual, told = torch.rand(3, 2, 4), torch.rand(3, 2, 4, 3)
    levels = (0.1, 0.5, 0.9)
    ours = torch_pinball(actual, told, torch.tensor(levels))
    torch.testing.assert_close(ours, torch.from_numpy(pinball(actual.numpy(), told.numpy(), levels)).float())


def test_ahead_is_what_a_fork_speaks_of():
    x = torch.arange(10.0).reshape(1, 10, 1)
    told = ahead(x, 2, 5, 3)[0, :, :, 0].tolist()
    assert told == [[3, 4, 5], [4, 5, 6], [5, 6, 7]]


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 12), st.integers(1, 6))
def test_the_two_layouts_are_inverse_and_a_column_is_a_date(forks, horizon):
    date = torch.arange(forks)[:, None] + torch.arange(horizon) + 1.0  # 0 is for places without a fork
    x = date[None, :, :, None]
    columns = by_date(x)
    assert columns.shape == (1, horizon, forks + horizon - 1, 1)
    for j in range(forks + horizon - 1):
        assert set(columns[0, :, j, 0].tolist()) <= {0.0, j + 1.0}
    assert (by_fork(columns, forks) == x).all()


def test_a_forecast_looks_at_those_made_no_later_for_the_same_date():
    mask = earlier_forks(forks=3, horizon=2)
    # date 1 is spoken of by fork 1 (horizon 0) and fork 0 (horizon 1): the later one sees both
    assert mask[1].tolist() == [[True, True], [False, True]]
    # date 0 by fork 0 alone; date 3 by fork 2 alone, at horizon 1
    assert mask[0].tolist() == [[True, False], [False, True]]
    assert mask[3].tolist() == [[True, True], [False, True]]  # row 0 belongs to no fork and is dropped


def test_the_reach_of_attention_ends_at_the_fork():
    mask, begin = recent(first=5, last=7, reach=3)
    assert begin == 3
    assert mask.tolist() == [[True, True, True, False], [False, True, True, True]]


@pytest.mark.parametrize(("first", "last"), [(-1, 3), (4, 4), (0, T + 1)])
def test_forks_outside_the_series_are_refused(first, last):
    net, past, known, static = net_and_inputs("mq-cnn")
    with pytest.raises(BadInput, match="expected forks within"):
        net(past, known, static, first, last)


def test_an_unknown_encoder_is_refused_with_the_nearest():
    with pytest.raises(BadInput, match="did you mean 'cnn'"):
        MqNet(SIZES, "cnnn")
