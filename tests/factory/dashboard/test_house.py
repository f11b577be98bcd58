"""What the owner of a model must see: releases, trade-offs, evidence, lost work, what waits for people."""

from __future__ import annotations

import itertools
import re
import shlex
import sqlite3
import time

import numpy as np
import pytest

from tests.factory.dashboard.conftest import (
    CHUNKS,
    FAMILIES,
    GATES,
    House,
    Working,
    client_of,
    scorecard,
)
from tests.factory.dashboard.test_pages import HOSTILE, part, words
from workgym.factory.betting import evidence
from workgym.factory.builtin_gates.improvement import gains_of
from workgym.factory.dashboard import charts
from workgym.factory.dashboard.evidence import course
from workgym.factory.dashboard.fronts import beaten_by
from workgym.factory.flipped import flipped
from workgym.factory.gates import judge
from workgym.factory.profiles import MEASURES, dominates, measure
from workgym.factory.records import Verdict
from workgym.factory.registry import open_registry
from workgym.factory.trade_offs import trade_offs

PAGES = ["/", "/models/orders", *(f"/models/orders/versions/{one}" for one in range(1, 7)), "/runs/2"]


@pytest.fixture
def registry(house):
    with open_registry(house) as opened:
        yield opened


# Releases


def test_each_release_tells_its_profile_generation_and_what_it_gave_up(home, registry):
    text = part(home.get("/models/orders"), "Releases", "Trade-offs")
    lines = {line.alias: line for line in registry.history("orders")}
    for alias, chosen in (("champion", "profit most profit"), ("edge", "small least size")):
        held = f"{alias} version {lines[alias].to_version} generation 1, since "
        assert held in text
        assert chosen in text[text.index(held) :]
    lost = lines["edge"].given_up["profit"]
    assert f"profit {lost['chosen']:,.1f} cents per order, where version {lost['version']} has" in text
    assert "night nobody yet specialist:promotion most profit in that family" in text


def test_who_waits_for_whose_approval_is_told_with_the_command(home):
    for path in ("/", "/models/orders"):
        text = words(home.get(path))
        assert "version 4 earned champion and waits for 1 more person to approve it" in text
        assert "the flips hurt nobody" in text
        assert "factory approve orders 4 --alias champion --reason ..." in text
    assert "2 people must approve" in words(home.get("/models/orders"))


@pytest.mark.parametrize(
    ("say", "expected"),
    [("approve", " and is approved; somebody may promote it"), ("reject", ", and was rejected")],
)
def test_what_people_decide_is_on_the_next_page(own_house, say, expected):
    floor, site = own_house
    with floor.open() as registry:
        getattr(registry, say)("orders", 4, actor="grace", reason="I looked")
    text = words(site.get("/models/orders"))
    assert f"version 4 earned champion{expected}" in text
    assert ("factory promote orders 4" in text) is (say == "approve")


def test_several_that_nobody_has_spoken_about_share_a_line(own_house):
    floor, site = own_house
    with floor.open() as registry:
        registry.protect("orders", "night", 1, actor="ada", reason="nights are long")
        for number in (1, 2):
            version = registry.version("orders", number)
            said = registry.verdicts_at(version, "champion", 0)
            registry.record_verdicts(version, said, generation=0, alias="night")
    text = words(site.get("/models/orders"))
    assert "version 2 , version 1 earned night, which asks for 1 person, and nobody has spoken" in text


def test_an_alias_that_nobody_protects_asks_for_nobody(site):
    text = part(site.get("/models/orders"), "Releases", "History")
    assert "champion version 11 generation 4" in text
    assert text.rstrip().endswith("none")


# Trade-offs


def test_the_front_is_the_one_that_factory_pareto_tells(home, registry):
    told = {one.version: one for one in trade_offs(registry, "orders", "champion", None).standings}
    table = part(home.get("/models/orders"), "The front", "Flips are")
    rows = [re.match(r"(\d+)(?:.* beaten by ([\d, ]+?) \d)?", one) for one in table.split("version ")[2:]]
    found = {int(row[1]): [int(one) for one in (row[2] or "").split(",") if one] for row in rows}
    serving = registry.champion("orders").version
    assert found.keys() == {number for number, one in told.items() if one.on_front} | {serving}
    assert all(sorted(better) == sorted(told[number].dominated_by) for number, better in found.items())
    assert found[serving]


def test_whoever_is_beaten_is_so_by_the_factorys_own_rule():
    rng = np.random.default_rng(3)
    names = list(MEASURES)
    some = [dict(zip(names, rng.integers(0, 4, len(names)).astype(float), strict=True)) for _ in range(60)]
    for over in (names, names[:2], names[4:]):
        expected = [[at for at, other in enumerate(some) if dominates(other, one, over)] for one in some]
        assert beaten_by(some, over) == expected
    assert beaten_by([], names) == []


@pytest.mark.parametrize("against", ["flips", "bytes", "p99_us"])
def test_every_measured_version_is_a_mark_that_leads_to_it(home, registry, against):
    body = home.get(f"/models/orders?release=champion&against={against}").text
    chart = body[body.index('aria-labelledby="trade-offs"') : body.index('class="legend"')]
    measured = [one for one in registry.list_versions("orders") if registry.measures(one, "champion")]
    marks = re.findall(r'<a href="/models/orders/versions/(\d+)" aria-label="([^"]+)"><title>', chart)
    assert sorted(int(number) for number, _ in marks) == sorted(one.version for one in measured)
    assert all("cents per order" in title for _, title in marks)
    assert chart.count('class="spot serves"') == 1


def test_a_release_that_is_not_there_is_no_page(home):
    answer = home.get("/models/orders?release=egde")
    assert answer.status_code == 404
    assert "did you mean 'edge'" in words(answer)


@pytest.mark.parametrize("values", [(11_000, 640_000), (3, 7), (5, 5), (1, 90_000_000), (0.04, 143)])
def test_an_axis_of_factors_holds_all_values_and_has_few_ticks(values):
    found = charts.powers(*values)
    assert found[0] <= min(values) <= max(values) <= found[-1]
    assert 2 <= len(found) <= 9
    assert found == sorted(set(found))


def test_those_that_serve_are_compared_from_their_recorded_results(home, registry):
    champion, edge = (registry.champion("orders", alias) for alias in ("champion", "edge"))
    ours, theirs = (registry.scorecard(one.scorecard_digest) for one in (champion, edge))
    text = part(home.get("/models/orders"), "Who handles what", "History")
    assert f"champion version {champion.version} {ours.profit_per_case():,.1f} – " in text
    assert f"{(theirs.success & ~ours.success).mean():.2%}" in text


# A version


@pytest.mark.parametrize("gain", [60, -60, 1])
def test_the_drawn_evidence_is_what_the_gate_decided_on(gain):
    ours, theirs = scorecard("a" * 64, gain, seed=5), scorecard("champion v3", 0, seed=9)
    (verdict,) = judge(ours, theirs, {"improvement": {}}, candidates=4)
    drawn = course("improvement", verdict.numbers, ours, theirs)
    assert drawn.sure_after == verdict.numbers["n_used"]
    crossed = [line for line in drawn.chart.lines if min(at for _, at in line.points) <= drawn.chart.level]
    assert len(crossed) == bool(drawn.sure_after)
    gains = gains_of(ours, theirs, verdict.numbers["range"])
    found = evidence(gains.units(0.0) * (gains.reach > 0), 0.05 / 4 / 2)
    if gain == 60:
        assert len(FAMILIES) * found.after == drawn.sure_after


def test_no_evidence_is_drawn_from_other_results_than_the_verdicts(home):
    ours, theirs = scorecard("a" * 64, 40, seed=5), scorecard("champion v3", 0, seed=9)
    (verdict,) = judge(ours, theirs, {"improvement": {}}, candidates=4)
    other = scorecard("a" * 64, 41, seed=6)
    assert course("improvement", verdict.numbers, other, theirs) is None
    assert course("improvement", {**verdict.numbers, "n": 12}, ours, theirs) is None
    assert course("improvement", {"n": ours.n}, ours, theirs) is None
    older = {name: value for name, value in verdict.numbers.items() if name != "range_cents"}
    assert course("improvement", older, ours, theirs) is None
    assert course("latency", verdict.numbers, ours, theirs) is None


def test_a_version_shows_the_course_of_its_evidence(home):
    body = home.get("/models/orders/versions/4").text
    assert re.search(
        r'aria-label="Evidence of the gate improvement along 384 scenarios: sure after \d+\."', body
    )
    assert 'aria-label="Evidence of the gate flips' in body


def test_verdicts_for_another_alias_say_so(home):
    text = words(home.get("/models/orders/versions/2"))
    assert "cheapest-feasible for edge, " in text
    assert "against cheapest-feasible, for edge: what bets" in text
    assert "improvement for edge beats cheapest-feasible" in words(home.get("/models/orders"))


def test_flips_are_listed_with_a_command_that_names_both(home, registry):
    body = home.get("/models/orders/versions/4")
    text = part(body, "Flips against version 3", "Families")
    ours, theirs = (registry.scorecard(registry.version("orders", n).scorecard_digest) for n in (4, 3))
    found = flipped(ours, theirs, lambda family, seed: f"{family} {seed}")
    assert found.won
    assert found.lost
    assert f"{len(found.won)} lost: the other handles them" in text
    assert f"{len(found.lost)} gained: this one handles them" in text
    for flip in (*found.won, *found.lost):
        command = f"factory replay orders 4 --family {flip.family} --seed {flip.seed} --against 3"
        assert command in text
        assert shlex.split(command)[0] == "factory"


def test_whom_a_champion_replaced_is_whom_it_is_compared_with(site):
    text = words(site.get("/models/orders/versions/11"))
    assert "Flips against version 3 whom it replaced as champion" in text


def test_a_router_says_who_decides_where(home):
    for path in ("/models/orders/versions/6", "/runs/2"):
        text = words(home.get(path))
        assert "version 3 goes on in stock-out; version 5 decides in normal, promotion" in text


def test_a_lineage_holds_the_hash_of_every_chunk_and_of_the_ledgers_line(home, registry):
    made = words(home.get("/models/orders/versions/4"))
    assert "2 chunks of its training" in made
    for chunk in registry.committed("chunk", CHUNKS):
        assert chunk.artifact in made
    line = next(one for one in registry.ledger("orders") if one.alias == "edge" and one.kind == "move")
    assert f"ledger, line {line.seq} promoted as edge" in words(home.get("/models/orders/versions/2"))
    assert line.hash in words(home.get("/models/orders/versions/2"))


@pytest.mark.parametrize(("kind", "start"), [("md", "# orders version 4"), ("json", "{")])
def test_a_model_card_is_downloaded_from_its_page(home, kind, start):
    address = f"/models/orders/versions/4/card.{kind}"
    assert f'href="{address}"' in home.get("/models/orders/versions/4").text
    answer = home.get(address)
    assert answer.status_code == 200
    assert answer.headers["content-disposition"] == f'attachment; filename="orders-v4.{kind}"'
    assert answer.text.startswith(start)


# A run


def test_a_run_says_what_its_work_came_to(home, registry):
    text = words(home.get("/runs/2"))
    assert f"last driven by {registry.driver(2).owner}" in text
    assert re.search(r"chunks 2 0 1 0", part(home.get("/runs/2"), "Tasks", "Tries"))
    assert "committed by rack-1:411 (2 tasks)" in text
    lost = part(home.get("/runs/2"), "Tries that brought nothing", "Search for")
    assert f"chunk {CHUNKS[:12]}/1 lost rack-2:93" in lost
    assert "the worker died: exit code -9" in lost
    assert "the engine closes" in lost


def test_a_run_shows_what_it_searched_for(home):
    body = home.get("/runs/2")
    text = part(body, "Search for wide", "Trainings")
    assert "1 complete, 2 pruned, 14 chunks of training in all" in text
    assert re.findall(r"wide\.(\d) (?:complete|pruned)", text) == ["0", "1", "2"]
    assert body.text.count('aria-label="wide.') == 3


# The house


def test_the_overview_tells_of_the_ledger_the_mirrors_and_the_runs_to_resume(home, registry):
    text = words(home.get("/"))
    lines = registry.ledger()
    assert f"{len(lines)} lines; every hash holds, head {lines[-1].hash}" in text
    assert re.search(r"mirror mlflow is \d+ lines behind: no MLflow server answers, since ", text)
    assert "factory resume 3 goes on" in text
    twin = home.get("/api/models").json()
    assert twin["ledger"] == {"lines": len(lines), "head": lines[-1].hash, "walked": len(lines), "broken": ""}
    assert [run["id"] for run in twin["abandoned"]] == [3]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("UPDATE ledger SET at = '2020-01-01' WHERE seq = 2", "line 2 was changed"),
        ("DELETE FROM ledger WHERE seq = 2", "1 of 5 lines are missing"),
        ("UPDATE ledger SET prev_hash = 'x' WHERE seq = 3", "line 3 does not follow the one before it"),
    ],
)
def test_a_ledger_that_does_not_hold_stands_on_top_of_the_overview(own_house, change, told):
    floor, site = own_house
    with sqlite3.connect(floor.folder / "registry.db") as file:
        triggers = file.execute(
            "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'ledger'"
        )
        for (name,) in triggers.fetchall():
            file.execute(f"DROP TRIGGER {name}")
        file.execute(change)
    text = words(site.get("/"))
    assert text.index(f"Integrity. The ledger does not hold: {told}") < text.index("since 17 Nov")


# All pages


@pytest.mark.parametrize("path", PAGES)
def test_pages_of_a_house_can_be_heard_and_load_nothing_from_elsewhere(home, path):
    body = home.get(path).text
    assert body.count("<table") == body.count("<caption")
    drawn = re.findall(r'<svg class="(?:plot|whisker|spark)"[^>]*>', body)
    assert all(re.search(r'role="(?:img|group)" aria-label="', svg) for svg in drawn)
    ids = re.findall(r'\sid="([^"]+)"', body)
    assert len(ids) == len(set(ids))
    assert not re.search(r"https?://(?!www\.w3\.org/)|<script|\sstyle=|\son\w+=", body)


def test_what_people_and_workers_write_is_never_markup(own_house):
    floor, site = own_house
    with floor.open() as registry:
        registry.reject("orders", 4, actor=HOSTILE, reason=HOSTILE)
    for path in ("/", "/models/orders"):
        assert not re.search(r"<script|<img|8641969", site.get(path).text)


@pytest.mark.slow
def test_no_page_of_two_hundred_versions_costs_a_fifth_of_a_second(tmp_path):
    with Crowd(tmp_path, Working()).open() as registry:
        Crowd(tmp_path, Working()).fill(registry, 200)
    site = client_of(tmp_path)
    paths = ["/", "/models/orders", "/models/orders/versions/200", "/runs", "/runs/50"]
    costs = {path: min(cost(site, path) for _ in range(4)) for path in paths}
    print({path: f"{1000 * seconds:.0f} ms" for path, seconds in costs.items()})
    assert max(costs.values()) < 0.2


def cost(site, path):
    """CPU seconds of an answer."""
    began = time.process_time()
    assert site.get(path).status_code == 200
    return time.process_time() - began


class Crowd(House):
    """A floor with many versions, whose verdicts are copies of one version's."""

    def fill(self, registry, count):
        super().first(registry)
        said = registry.verdicts(registry.version("orders", 3))
        theirs = scorecard("cheapest-feasible", 0, seed=1)
        for number in range(count // 4):
            run = self.start(registry, ["steady", "small", "patient", "wide"])
            registry.record_baseline(run.id, theirs)
            for at, variant in enumerate(("steady", "small", "patient", "wide")):
                version, card = self.register(registry, run, variant, (30 + number + at, at), [*GATES])
                facts = {"candidate": card.policy, "suite": card.suite}
                copies = [
                    Verdict(one.gate, one.outcome, one.sentence, one.numbers, champion="champion v3", **facts)
                    for one in said
                ]
                registry.record_verdicts(version, copies, generation=1)
                size = 10_000 + 977 * number * (at + 1)
                measures = measure(card, theirs, bytes_=size, cpu_seconds=40.0 + at)
                registry.record_measures(version, "champion", measures)
            registry.finish_run(run.id, "one of many")


def test_marks_of_a_cloud_keep_to_the_chart():
    spots = [charts.Spot(x, y, "front", "t") for x, y in itertools.product((0.0, 3.0), (-5.0, 1e6))]
    drawn = charts.cloud(spots)
    assert all(0 <= x <= 100 and 0 <= y <= drawn.height for x, y, _ in drawn.spots)
    assert charts.cloud([]) is None
