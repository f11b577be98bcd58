"""SciPy, statsmodels, rliable and MLflow find what we find in the same numbers."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from typer.testing import CliRunner

from workgym.factory.aggregate import bootstrap, improvement_probability, iqm, scores_of, stacked
from workgym.factory.cli import app
from workgym.factory.compare import compare
from workgym.factory.gates import judge
from workgym.factory.records import Outcome, Scorecard
from workgym.factory.statistics import mcnemar_p, proportion_bounds, stratified_mean

SUPPORT = Path(__file__).parents[1] / "support"
FAMILIES = ("normal", "promotion", "recall")
NO_RLIABLE = (
    "set WORKGYM_RLIABLE_PYTHON to the interpreter of a virtual environment that has rliable: "
    "python -m venv rl && rl/bin/pip install rliable 'pandas<3' && "
    "export WORKGYM_RLIABLE_PYTHON=$PWD/rl/bin/python"
)
NO_MLFLOW = (
    "set WORKGYM_MLFLOW_PYTHON to the interpreter of a virtual environment that has all of MLflow: "
    "python -m venv mf && mf/bin/pip install mlflow && export WORKGYM_MLFLOW_PYTHON=$PWD/mf/bin/python"
)


def drawn(
    seed, *, gain=0.0, spread=20.0, per_family=16, failing=0.05, violating=0.02, p99=100.0, policy="a" * 64
):
    """A scorecard with random results; the same families, seeds and orders each time."""
    rng = np.random.default_rng(seed)
    n = per_family * len(FAMILIES)
    cases = np.random.default_rng(1).integers(20, 60, n)
    return Scorecard(
        policy=policy,
        env_id="workgym/Orders-v0",
        suite="5" * 64,
        backend="twin",
        family=tuple(np.repeat(FAMILIES, per_family).tolist()),
        seed=tuple(range(n)),
        profit=np.rint(cases * rng.normal(300 + gain, spread, n)).astype(np.int64),
        cases=cases,
        success=rng.random(n) >= failing,
        violations=rng.binomial(cases, violating),
        obligations=cases,
        latency_us={"p50": p99 / 2, "p99": p99},
    )


@pytest.fixture
def database_url(tmp_path):
    return f"sqlite:///{tmp_path}/registry.db"


@pytest.fixture
def variants(desk):
    """Two variants with five seeds each, as a run leaves them behind."""
    run = desk.run()
    for variant, gain in (("small", 0.0), ("large", 6.0)):
        for seed in range(5):
            digest = desk.policy()
            card = drawn(10 * seed + int(gain), gain=gain, per_family=6, policy=digest)
            desk.registry.register(
                "orders",
                run_id=run.id,
                artifact_digest=digest,
                scorecard=card,
                required_gates=["flips"],
                lineage={"variant": variant},
            )
    return desk.registry


# SciPy and statsmodels, in our own environment


@pytest.mark.parametrize("n", [1, 20, 448])
@pytest.mark.parametrize("alpha", [0.05, 0.005])
def test_limits_of_a_share_are_those_of_scipy_and_statsmodels(n, alpha):
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    for successes in sorted({0, 1, n // 3, n}):
        ours = proportion_bounds(successes, n, alpha)
        scipy = stats.binomtest(successes, n).proportion_ci(1 - 2 * alpha, "exact")
        theirs = proportion.proportion_confint(successes, n, 2 * alpha, method="beta")
        assert ours == pytest.approx((scipy.low, scipy.high), abs=1e-9)
        assert ours == pytest.approx(theirs, abs=1e-9)


@pytest.mark.parametrize(("lost", "won"), [(0, 0), (0, 1), (3, 9), (40, 12)])
def test_the_test_of_flips_is_that_of_statsmodels(lost, won):
    tables = pytest.importorskip("statsmodels.stats.contingency_tables")
    assert mcnemar_p(lost, won) == pytest.approx(tables.mcnemar([[50, lost], [won, 7]], exact=True).pvalue)


def test_a_gain_without_skew_has_the_limits_of_a_paired_t_test():
    half = np.random.default_rng(2).normal(0, 5, 40)
    gains = 3 + np.concatenate([half, -half])
    ours = stratified_mean(gains, ["normal"] * 80).bounds(0.025)
    theirs = stats.ttest_rel(gains + 100, np.full(80, 100.0)).confidence_interval(0.95)
    assert ours == pytest.approx((theirs.low, theirs.high), rel=1e-9)


def test_a_comparison_says_what_statsmodels_says_of_its_flips(variants):
    tables = pytest.importorskip("statsmodels.stats.contingency_tables")
    found = compare(variants, "orders", "1", "6")
    one, other = (variants.scorecard(variants.version("orders", v).scorecard_digest) for v in (1, 6))
    table = [
        [int((a & b).sum()) for b in (other.success, ~other.success)] for a in (one.success, ~one.success)
    ]
    assert (len(found.flips.lost), found.flips.won) == (table[0][1], table[1][0])
    assert found.flips.mcnemar_p == pytest.approx(tables.mcnemar(table, exact=True).pvalue)
    theirs = stats.binomtest(table[0][1], found.n).proportion_ci(0.95, "exact")
    assert (found.flips.low, found.flips.high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


def test_the_probability_of_improvement_is_that_of_mann_and_whitney():
    rng = np.random.default_rng(3)
    ours, theirs = rng.integers(0, 6, (5, 9)), rng.integers(0, 6, (4, 9))
    u = [stats.mannwhitneyu(ours[:, task], theirs[:, task]).statistic / 20 for task in range(9)]
    assert improvement_probability(ours, theirs) == pytest.approx(np.mean(u))
    assert improvement_probability(theirs, ours) == pytest.approx(1 - np.mean(u))
    assert improvement_probability(ours, ours) == 0.5


def test_bootstrap_limits_are_those_of_scipy():
    """Both draw 5,000 times; a tenth of the interval is five standard errors of such a limit's difference."""
    scores = np.random.default_rng(4).gamma(2.0, 10.0, (6, 20))

    def middle(*tasks, axis=-1):
        return stats.trim_mean(np.concatenate(tasks, axis=axis), 0.25, axis=axis)

    tasks = tuple(scores[:, task] for task in range(20))
    theirs = stats.bootstrap(
        tasks, middle, n_resamples=5000, method="percentile", rng=np.random.default_rng(5)
    ).confidence_interval
    ours = bootstrap(iqm, scores, resamples=5000)
    assert ours == pytest.approx((theirs.low, theirs.high), abs=0.1 * (theirs.high - theirs.low))
    assert bootstrap(iqm, scores, resamples=200) == bootstrap(iqm, scores, resamples=200)


# rliable and MLflow, each in an environment of its own


def python_of(variable, otherwise):
    found = os.environ.get(variable)
    if not found:
        pytest.skip(otherwise)
    return found


def ran(python, client, *arguments):
    done = subprocess.run(
        [python, str(SUPPORT / client), *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.mark.slow
def test_rliable_finds_in_exported_scores_what_a_comparison_says(variants, tmp_path):
    """Values agree to rounding; limits, drawn 2,000 and 200 times, to a tenth and a fifth of the interval."""
    python = python_of("WORKGYM_RLIABLE_PYTHON", NO_RLIABLE)
    file = tmp_path / "scores.npz"
    done = CliRunner().invoke(app, ["export", "scores", "orders", "--to", str(file), "--home", str(tmp_path)])
    assert done.exit_code == 0, done.output
    theirs = ran(python, "rliable_client.py", str(file), "small", "large", "2000", "200")
    found = compare(variants, "orders", "1", "6").trained
    assert (found.variants, found.seeds) == (("small", "large"), (5, 5))
    for ours, name, share in (
        (found.iqm[0], "small", 0.1),
        (found.iqm[1], "large", 0.1),
        (found.improvement, "improvement", 0.2),
    ):
        value, low, high = theirs[name]
        assert ours.value == pytest.approx(value, rel=1e-9)
        assert (ours.low, ours.high) == pytest.approx((low, high), abs=share * (high - low))


def points(card, champion):
    """What MLflow compares: one number a metric."""
    return {
        "profit": float(card.profit.sum() / champion.cases.sum()),
        "success": float(card.success.mean()),
        "violations": float(card.violations.sum() / card.obligations.sum()),
        "flips": float((champion.success & ~card.success).mean()),
        "p99": card.latency_us["p99"],
    }


MORE, LESS = {"greater_is_better": True}, {"greater_is_better": False}
SAME_CLAIM = {
    "improvement-fixed": ({"margin": 4.0}, {"profit": {"min_absolute_change": 4.0, **MORE}}),
    "bootstrap": (
        {"profit": 296.0, "gain": 1.0, "success": 0.9},
        {
            "profit": {"threshold": 296.0, "min_absolute_change": 1.0, **MORE},
            "success": {"threshold": 0.9, **MORE},
        },
    ),
    "flips": ({"budget": 0.1}, {"flips": {"threshold": 0.1, **LESS}}),
    "constraints": ({"budget": 0.03, "margin": 0.9}, {"violations": {"threshold": 0.03, **LESS}}),
    "latency": ({"budget": 150.0}, {"p99": {"threshold": 150.0, **LESS}}),
}


@pytest.mark.slow
def test_no_gate_decides_against_the_points_that_mlflow_compares(tmp_path):
    """A gate asks for more than a point: what it passes, MLflow passes; what it fails, MLflow fails."""
    python = python_of("WORKGYM_MLFLOW_PYTHON", NO_MLFLOW)
    rng, cases, outcomes = np.random.default_rng(6), [], []
    for seed in range(60):
        champion = drawn(seed, failing=0.02, policy="b" * 64)
        candidate = drawn(
            1000 + seed,
            gain=rng.uniform(-12, 16),
            spread=rng.choice([2.0, 20.0]),
            failing=rng.choice([0.0, 0.08, 0.3]),
            violating=rng.choice([0.01, 0.03, 0.06]),
            p99=rng.uniform(50, 250),
        )
        for gate, (options, thresholds) in SAME_CLAIM.items():
            verdicts = judge(candidate, champion, {gate: options}, bootstrap=gate == "bootstrap")
            outcomes.append((gate, next(one.outcome for one in verdicts if one.gate == gate)))
            cases.append(case(thresholds, candidate, champion))
    (tmp_path / "cases.json").write_text(json.dumps(cases))
    kept = ran(python, "mlflow_client.py", "validate", str(tmp_path / "cases.json"))
    for (gate, outcome), passes in zip(outcomes, kept, strict=True):
        assert outcome is Outcome.INCONCLUSIVE or (outcome is Outcome.PASS) == passes, gate
    for gate in SAME_CLAIM:
        assert {Outcome.PASS, Outcome.FAIL} <= {outcome for name, outcome in outcomes if name == gate}, gate


def case(thresholds, candidate, champion):
    return {
        "thresholds": thresholds,
        "candidate": points(candidate, champion),
        "baseline": points(champion, champion),
    }


def test_scores_are_cents_per_case_of_each_scenario():
    card = drawn(1)
    assert scores_of(card) == pytest.approx(card.profit / card.cases)
    assert stacked([card, card]).shape == (2, card.n)
