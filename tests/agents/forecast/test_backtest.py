"""Claims about rolling-origin evaluation, and about the benchmark that prints it."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest

from workgym.agents.forecast import make_forecaster, make_panel, synthetic
from workgym.agents.forecast.backtest import backtest, table
from workgym.services.kernel import BadInput

ROOT = Path(__file__).parents[3]
QS = (0.1, 0.5, 0.9)
SPEC = importlib.util.spec_from_file_location("forecast_benchmark", ROOT / "benchmarks" / "forecast.py")
benchmark = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(benchmark)


def test_the_result_is_what_the_measures_say_of_the_forecasts():
    panel = make_panel(np.float32([[1, 2, 3, 4, 5, 6, 7, 8]]))
    (result,) = backtest(panel, {"naive": make_forecaster("last-value", 2, QS)}, 4, [4, 5])
    # at origin 4 it tells 4 of 5 and 6, at origin 5 it tells 5 of 6 and 7: short by 1, 2, 1, 2
    np.testing.assert_allclose(result.loss, [2 * q * 6 / 24 for q in QS], rtol=1e-6)
    assert result.covered == (0, 0, 0)
    np.testing.assert_allclose(result.moved, [1 / 6] * 3)  # of period 5 it told 4, then 5
    assert result.forecast.shape == (1, 2, 2, 3)
    assert result.fit_seconds >= 0


def test_every_forecaster_has_a_row_and_every_number_a_column():
    panel = synthetic(0, 6, 60)
    made = {"one": make_forecaster("last-value", 2), "two": make_forecaster("empirical", 2)}
    lines = table(backtest(panel, made, 40, range(40, 50))).splitlines()
    assert [line.split("|")[1].strip() for line in lines] == ["forecaster", "---", "one", "two"]
    assert len({line.count("|") for line in lines}) == 1


def test_origins_apart_have_no_volatility():
    panel = synthetic(0, 3, 60)
    (result,) = backtest(panel, {"n": make_forecaster("last-value", 2)}, 40, [40, 45])
    assert np.isnan(result.moved).all()


def test_what_was_learned_from_is_not_judged_on():
    with pytest.raises(BadInput, match="expected origins from 40 on, found 39"):
        backtest(synthetic(0, 3, 60), {"n": make_forecaster("last-value", 2)}, 40, [39, 40])


@pytest.mark.parametrize("suffix", [".npz", ".csv"])
def test_the_benchmark_reads_a_panel_of_each_kind(tmp_path, suffix):
    path = tmp_path / f"sales{suffix}"
    values = np.float32([[[1, -2, 3], [4, 5, 6]]])
    if suffix == ".npz":
        np.savez(path, values)
    else:
        rows = ["2024-01-01,a,x,1", "2024-01-15,a,x,3", "2024-01-21,b,x,0"]
        rows += [f"2024-01-{d:02d},b,x,{q}" for d, q in ((1, 4), (8, 5), (15, 6))]
        path.write_text("\n".join(["date,sku,location,quantity", *rows]))
    panel = benchmark.read_panel(path, 52)
    np.testing.assert_array_equal(panel.demand, [[1, 0, 3], [4, 5, 6]])
    assert panel.known.shape == (2, 3, 4)


def test_the_benchmark_refuses_what_it_cannot_read(tmp_path):
    with pytest.raises(BadInput, match=r"\.csv or \.npz"):
        benchmark.read_panel(tmp_path / "sales.xlsx", 52)


def test_the_benchmark_prints_both_tables(tmp_path, capsys):
    path = tmp_path / "sales.npz"
    np.savez(path, synthetic(0, 8, 60).demand)
    benchmark.main([str(path), "--only", "empirical", "last-value", "--horizon", "4", "--until", "40"])
    printed = capsys.readouterr().out
    assert "8 series, 17 origins from 40, 4 ahead" in printed
    assert len(re.findall(r"^\| (empirical|last-value)", printed, re.MULTILINE)) == 2 * 5


@pytest.mark.parametrize(
    "snippet", re.findall(r"```python\n(.*?)```", (ROOT / "docs/forecast.md").read_text(), re.DOTALL)
)
def test_the_snippets_of_the_documentation_run(snippet):
    exec(compile(snippet, "docs/forecast.md", "exec"), {})
