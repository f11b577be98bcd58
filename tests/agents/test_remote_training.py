"""A training is the same wherever its worlds are, and whatever happens on the way to them."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
from safetensors.numpy import load

from tests.support.served import served
from workgym.agents.training import Recipe, initial_state, train_chunk
from workgym.services.settings import Settings

CASES = {
    "orders": ("workgym/Orders-v0", {"days": 2, "orders_per_day": 6.0}),
    "supply_chain": ("workgym/SupplyChain.lost-sales-v0", {"periods": 20}),
}
# A tenth of the calls meet something; what is never answered is asked again after an attempt's time.
STORM = (
    "drop=0.01:3s,delay=0.02:20ms,duplicate=0.02,error=0.02,reset=0.01,lost-answer=0.02,database=0.02;seed=7"
)
PATIENCE = {"attempt_s": 0.5, "deadline_s": 60.0}


def trained(env_id, env_kwargs):
    """Weights and statistics of two chunks."""
    algorithm = "maskable-ppo" if "Orders" in env_id else "ppo"
    recipe = Recipe(
        env_id=env_id, algorithm=algorithm, env_kwargs=env_kwargs, steps=4096, chunk_steps=2048, lanes=16,
        n_steps=64, minibatch=256, epochs=2, net=(16,),
    )  # fmt: skip
    state, reports = initial_state(recipe), []
    for k in range(recipe.chunks):
        state, report = train_chunk(recipe, k, state)
        reports.append({name: value for name, value in asdict(report).items() if "second" not in name})
    return load(state), reports


@pytest.fixture(scope="module")
def by_twin():
    return {name: trained(env_id, kwargs) for name, (env_id, kwargs) in CASES.items()}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("faults", [None, STORM], ids=["calm", "storm"])
def test_weights_and_statistics_are_bit_equal_over_http(name, faults, by_twin, tmp_path):
    env_id, kwargs = CASES[name]
    with served(name, f"sqlite:///{tmp_path}/worlds.db", Settings(faults=faults)) as server:
        remote = {"backend": "http", "base_url": server.base_url, "transport": PATIENCE}
        state, reports = trained(env_id, {**kwargs, **remote})
        if faults:
            samples = server.app.state.metrics.faults.collect()[0].samples
            assert sum(sample.value for sample in samples if sample.name.endswith("_total")) > 20
    expected, told = by_twin[name]
    assert reports == told
    assert state.keys() == expected.keys()
    for part in expected.keys() - {"recipe"}:  # its digest, which tells where the worlds were
        tensor = expected[part]
        assert np.array_equal(state[part], tensor), part
