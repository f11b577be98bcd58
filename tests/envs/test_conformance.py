"""The laws hold for every env id and backend, and each law catches a bug planted against it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest

import workgym.envs
from workgym.agents.baselines.players import players
from workgym.envs import base, conformance
from workgym.envs.conformance import backends_of
from workgym.envs.orders import BACKENDS, TwinBackend

ORDERS = "workgym/Orders-v0"
CASES = [(env_id, backend) for env_id in workgym.envs.ENV_IDS for backend in backends_of(env_id)]
STEPS = 120


@pytest.mark.parametrize(("env_id", "backend"), CASES)
@pytest.mark.parametrize("claim", conformance.LAWS)
def test_law_holds(env_id: str, backend: str, claim: str) -> None:
    (finding,) = conformance.check(env_id, (backend,), players=players(env_id), steps=STEPS, only=(claim,))
    assert finding.passed, finding.detail
    assert finding.cases > 0


@pytest.mark.parametrize("env_id", workgym.envs.ENV_IDS)
def test_every_backend_equals_the_twin(env_id: str) -> None:
    findings = conformance.check(env_id, steps=STEPS, only=())
    assert [finding.backend for finding in findings] == list(backends_of(env_id)[1:])
    assert all(finding.passed for finding in findings), list(conformance.report(findings))


def _clock_in_info(env: base.Env, board: base.Board) -> dict[str, Any]:
    return {"at": time.perf_counter()}


def _global_randomness(env: base.Env, board: base.Board) -> dict[str, Any]:
    random.random()
    return {}


INFO_BUGS = {
    "same seed and actions, same trajectory, in any process": _clock_in_info,
    "no global random state is touched": _global_randomness,
}


@pytest.mark.parametrize("claim", INFO_BUGS)
def test_a_bug_planted_in_info_is_caught(claim: str, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = base.Env._show

    def show(env: base.Env, board: base.Board) -> tuple[base.Floats, dict[str, Any]]:
        obs, info = honest(env, board)
        return obs, {**info, **INFO_BUGS[claim](env, board)}

    monkeypatch.setattr(base.Env, "_show", show)
    assert not _holds(claim)


def _lenient_mask(board: base.Board) -> base.Board:
    return board._replace(mask=np.ones_like(board.mask))


def _hidden_reward(board: base.Board) -> base.Board:
    return board._replace(obs=board.obs, terms=board.terms + (board.obs[:, 0] > 0.05).astype(np.int64))


def _lane_dependent(board: base.Board) -> base.Board:
    return board._replace(
        obs=np.minimum(board.obs + np.arange(len(board.obs), dtype=np.float32)[:, None] / 64, 1)
    )


BOARD_BUGS: dict[str, Callable[[base.Board], base.Board]] = {
    "masks are sound and complete; a refused action changes nothing and says why": _lenient_mask,
    "lane i with seed s is the single env with seed s + i, in every autoreset mode": _lane_dependent,
    "reward terms sum to the reward; sampled masked actions are legal": _lenient_mask,
}


@pytest.mark.parametrize("claim", BOARD_BUGS)
def test_a_bug_planted_in_the_twin_is_caught(claim: str, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = TwinBackend.advance

    def advance(backend: TwinBackend, *arguments: Any) -> base.Board:
        return BOARD_BUGS[claim](honest(backend, *arguments))

    monkeypatch.setattr(TwinBackend, "advance", advance)
    assert not _holds(claim)


@pytest.mark.parametrize("bug", [_hidden_reward, _lenient_mask])
def test_a_twin_that_differs_from_the_service_is_caught(
    bug: Callable[[base.Board], base.Board], monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = TwinBackend.advance
    monkeypatch.setattr(TwinBackend, "advance", lambda backend, *arguments: bug(honest(backend, *arguments)))
    findings = conformance.check(ORDERS, BACKENDS, steps=STEPS, only=())
    assert not any(finding.passed for finding in findings)


def test_a_snapshot_that_forgets_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = TwinBackend.load_state

    def forgetful(backend: TwinBackend, lane: int, data: bytes) -> base.Board:
        board = honest(backend, lane, data)
        backend._lanes.ledger[lane] += 1
        return board

    if not hasattr(TwinBackend(workgym.envs.orders.setup_for(), 1), "_lanes"):
        pytest.fail("the twin keeps its lanes elsewhere: plant the bug there")
    monkeypatch.setattr(TwinBackend, "load_state", forgetful)
    assert not _holds("snapshot, restore and fork are exact")


def _holds(claim: str) -> bool:
    (finding,) = conformance.check(ORDERS, ("twin",), steps=STEPS, only=(claim,))
    return finding.passed


def test_an_unknown_family_is_named_with_the_nearest_one() -> None:
    with pytest.raises(ValueError, match="did you mean 'promotion'"):
        gymnasium.make("workgym/Orders-v0").reset(seed=0, options={"family": "promotions"})


def test_an_unknown_reset_option_is_refused() -> None:
    with pytest.raises(ValueError, match="no reset option named 'familly'; did you mean 'family'"):
        gymnasium.make("workgym/Orders-v0").reset(seed=0, options={"familly": "normal"})
