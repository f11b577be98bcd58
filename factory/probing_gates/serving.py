"""The gate `serving`: the files, loaded as a server loads them, decide as the policy that was judged."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydantic import Field

from workgym.agents.mlp import MlpPolicy
from workgym.agents.onnx import to_onnx
from workgym.agents.policy import Bools, Floats
from workgym.factory.gates import Finding, Numbers, Options, gate
from workgym.factory.lab import CANDIDATE, Lab
from workgym.factory.records import Outcome, Scorecard
from workgym.factory.serving_probe import BATCH
from workgym.services.kernel import InfrastructureFault

PROBE = "workgym.factory.serving_probe"
PATIENCE = 300.0  # seconds: kernels may have to be compiled
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
KEPT = ("PATH", "HOME", "PYTHONPATH", "NUMBA_CACHE_DIR", "XDG_CACHE_HOME", "TMPDIR", "SYSTEMROOT", "LANG")
NEAR = 1e-4  # of the largest preference: closer ones are a tie, which the order of a sum decides


class Serving(Options):
    """Options of `serving`."""

    decisions: int = Field(default=10_000, ge=1, description="on which both must agree")
    p99_us: float = Field(
        default=5_000.0,
        gt=0,
        description="microseconds of one thread's processor time that 99 of 100 single decisions may take",
    )
    size: int = Field(
        default=5_000_000, gt=0, description="bytes of all files; what a small device can be sent"
    )


class Served(NamedTuple):
    """What the fresh process did.

    Attributes:
        broken: why it did not come to an end, or nothing.
        answer: what it measured.
        actions: what it decided.
    """

    broken: str
    answer: dict[str, Any]
    actions: Any


@gate("serving")
def serving(candidate: Scorecard, champion: Scorecard, options: Serving, lab: Lab) -> Finding:
    """Claims that the files load without a training library and decide the same, fast and small enough."""
    files = lab.files(CANDIDATE)
    obs, mask = lab.sights(CANDIDATE, options.decisions)
    situations = [_asked(lab, files, obs, mask, family) for family in _situations(lab)]
    decisions = sum(expected.size for expected, _ in situations)
    size = sum(map(len, files.values()))
    numbers: Numbers = {"n": candidate.n, "decisions": decisions, "bytes": size}
    if broken := next((served.broken for _, served in situations if served.broken), ""):
        told = f"does not load in a fresh process: {broken} (n={candidate.n})"
        return Finding(Outcome.FAIL, told, numbers)
    differ = sum(_differing(expected, served.actions) for expected, served in situations)
    answers = [served.answer for _, served in situations]
    p99, load_s = (max(one[name] for one in answers) for name in ("p99_us", "load_s"))
    numbers |= {"differ": differ, "p99_us": p99, "load_s": load_s}
    onnx, wrong = _onnx(files, obs, mask, situations[0][0])
    trainers = sorted({name for one in answers for name in one["trainers"]})
    faults = [
        f"decides {differ:,} of {decisions:,} otherwise than the policy that was judged" if differ else "",
        "" if all(one["alone"] for one in answers) else "decides otherwise alone than in a batch",
        f"imports {', '.join(trainers)}" if trainers else "",
        f"needs {p99:,.0f} us, budget {options.p99_us:,.0f} us" if not p99 < options.p99_us else "",
        f"is {size:,} bytes large, budget {options.size:,}" if size > options.size else "",
        wrong,
    ]
    found = [fault for fault in faults if fault]
    if found:
        return Finding(Outcome.FAIL, f"in a fresh process it {'; '.join(found)} (n={candidate.n})", numbers)
    told = (
        f"a fresh process loads its {size:,} bytes in {load_s:.1f} s, without a training library, and "
        f"decides {decisions:,} of {decisions:,} alike; 99 of 100 in less than {p99:,.0f} us{onnx} "
        f"(n={candidate.n})"
    )
    return Finding(Outcome.PASS, told, numbers)


def _situations(lab: Lab) -> list[str | None]:
    """Families to decide in: one of each kind for a policy that asks which it is in, else whatever comes."""
    routed: tuple[str, ...] = getattr(lab.policy(CANDIDATE), "families", ())
    if not routed:
        return [None]
    return [routed[0], *[name for name in lab.task().families if name not in routed][:1]]


def _asked(
    lab: Lab, files: Mapping[str, bytes], obs: Floats, mask: Bools, family: str | None
) -> tuple[Any, Served]:
    """What the policy that was judged decides in a situation, and what a fresh process does."""
    policy = lab.policy(CANDIDATE)
    situation = {"family": family} if family else {}
    env = lab.lanes(policy, BATCH, situation)
    env.reset(seed=0)
    policy.begin(env)
    batches = [policy.act(obs[at : at + BATCH], mask[at : at + BATCH]) for at in range(0, len(obs), BATCH)]
    env.close()
    kwargs = {**lab.env_kwargs, "split": lab.split, **situation}
    return np.concatenate(batches), serve(lab.env_id, kwargs, files, obs, mask)


def _differing(one: Any, other: Any) -> int:
    return int((one != other).sum()) if one.shape == other.shape else int(one.size)


def serve(
    env_id: str, env_kwargs: Mapping[str, Any], files: Mapping[str, bytes], obs: Floats, mask: Bools
) -> Served:
    """Let a fresh process load a policy's files and decide.

    Raises:
        InfrastructureFault: it was killed, or did not answer in time.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, content in files.items():
            path = folder / "policy" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        wish = {"env_id": env_id, "env_kwargs": dict(env_kwargs)}
        (folder / "wish.json").write_text(json.dumps(wish))
        np.savez(folder / "sights.npz", obs=obs, mask=mask)
        broken = _run(folder)
        if broken:
            return Served(broken, {}, np.empty(0))
        return Served("", json.loads((folder / "answer.json").read_text()), np.load(folder / "actions.npy"))


def _run(folder: Path) -> str:
    """The last line of what went wrong, or nothing."""
    surroundings = {name: os.environ[name] for name in KEPT if name in os.environ} | dict.fromkeys(
        THREADS, "1"
    )
    command = [sys.executable, "-P", "-m", PROBE, str(folder)]
    try:
        done = subprocess.run(
            command, env=surroundings, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise InfrastructureFault(f"the serving process did not answer in {PATIENCE:.0f} s", "no") from error
    if done.returncode < 0:
        raise InfrastructureFault(f"the serving process was killed by signal {-done.returncode}", "no")
    lines = done.stderr.strip().splitlines()
    return (lines[-1] if lines else f"exit {done.returncode}") if done.returncode else ""


def _onnx(files: Mapping[str, bytes], obs: Floats, mask: Bools, expected: Any) -> tuple[str, str]:
    """What ONNX Runtime has to say about it: praise, or blame."""
    try:
        import onnx  # noqa: F401  # to_onnx needs it
        import onnxruntime
    except ImportError:
        return "; ONNX Runtime is not installed here and was not asked", ""
    if json.loads(files["policy.json"]).get("kind", "mlp") != "mlp":
        return "; it has no ONNX form", ""
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(to_onnx(files), settings, providers=["CPUExecutionProvider"])
    seen = obs.reshape(-1, obs.shape[-1])
    columns = MlpPolicy.load(files).actions
    legal = mask.reshape(len(seen), -1) if mask.shape[1] else np.ones((len(seen), columns), np.bool_)
    action, logits = session.run(["action", "logits"], {"obs": seen, "mask": legal})
    told = expected.reshape(-1)
    rows = np.arange(len(seen))
    apart = np.abs(logits[rows, action] - logits[rows, told]) > NEAR * np.abs(logits).max(axis=1)
    wrong = int(((action != told) & apart).sum())
    if wrong:
        return "", f"decides {wrong:,} of {len(seen):,} otherwise in ONNX Runtime"
    ties = int((action != told).sum())
    return f"; so does ONNX Runtime, but for {ties} ties" if ties else "; so does ONNX Runtime", ""
