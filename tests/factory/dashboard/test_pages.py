"""The pages say who serves, why, and what is wrong, and never change a thing."""

from __future__ import annotations

import re
import subprocess
import sys
from html import unescape

import pytest
from fastapi.testclient import TestClient

from workgym.factory.artifacts import Tampered
from workgym.factory.dashboard.server import HERE, create_app, serve
from workgym.factory.dashboard.text import moment
from workgym.factory.records import Outcome, Verdict
from workgym.factory.registry import open_registry
from workgym.services.kernel import InfrastructureFault

PAGES = ["/", "/models/orders", "/models/orders/versions/12", "/runs", "/runs/3", "/models/nobody"]
HOSTILE = "<script>alert('x')</script><img src=x onerror=alert(1)> \"quoted\" {{ 1234567 * 7 }}"


def words(answer):
    """The page as a reader gets it: no tags, one space between words."""
    body = re.sub(r"<svg.*?</svg>", " ", answer.text, flags=re.DOTALL)
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", body)))


def part(answer, start, end):
    text = words(answer)
    return text[text.index(start) : text.index(end, text.index(start))]


# The overview


def test_the_champion_stands_first_with_since_when_and_its_profit_against_the_baseline(site, workspace):
    with open_registry(workspace) as registry:
        champion, model = registry.champion("orders"), registry.list_models()[0]
        profit = registry.scorecard(champion.scorecard_digest).profit_per_case()
    card = part(site.get("/"), "champion", "Candidates of run 3")
    assert f"version {champion.version}" in card
    assert "patient/0" in card
    assert moment(model.since) in card
    assert f"{profit:,.1f}" in card
    assert "against cheapest-feasible, the best rule" in card
    assert re.search(r"\+\d+\.\d \(?\s*\+\d+\.\d to \+\d+\.\d", card.replace("(", ""))


def test_the_interval_is_the_one_that_the_gate_decided_on(floor, own_site):
    with floor.open() as registry:
        best = floor.work(registry, {"steady": (38, 0), "small": (5, 0)})
        said = next(one for one in registry.verdicts(best) if one.gate == "improvement")
    (gain,) = [
        gain
        for gain in own_site.get("/api/models").json()["models"][0]["holders"][0]["gains"]
        if gain["against"] == "cheapest-feasible"
    ]
    assert [gain["value"], gain["low"], gain["high"]] == pytest.approx(
        [said.numbers["gain"], said.numbers["low"], said.numbers["high"]]
    )
    card, line = (
        part(own_site.get("/"), *ends) for ends in (("What it gains", "nearest"), ("steady/0", "passed"))
    )
    interval = re.compile(r"\+\d+\.\d \+\d+\.\d to \+\d+\.\d")
    assert interval.findall(card)[0] in line


def test_every_verdict_of_the_latest_run_is_there_as_its_sentence(site, workspace):
    text = words(site.get("/"))
    with open_registry(workspace) as registry:
        made = [version for version in registry.list_versions("orders") if version.run_id == 3]
        sentences = [verdict.sentence for version in made for verdict in registry.verdicts(version)]
    assert len(sentences) == 20
    assert not [sentence for sentence in sentences if sentence not in text]


def test_a_rejected_candidate_says_so_in_words_with_the_reason(site):
    rejected = part(site.get("/"), "explorer/0", "Learning curves, run 3")
    assert rejected.startswith("explorer/0 version 12 rejected")
    assert "fail improvement does not beat" in rejected
    assert "fail flips fails 44 of" in rejected


def test_the_history_has_a_line_for_each_move_the_newest_first(site):
    lines = part(site.get("/"), "History", "returns")
    moves = re.findall(r"(promoted|rolled back) champion: (nobody|v\d+) → (v\d+)", lines)
    assert moves == [
        ("promoted", "v3", "v11"),
        ("rolled back", "v5", "v3"),
        ("promoted", "v3", "v5"),
        ("promoted", "nobody", "v3"),
    ]
    assert "ada complaints about late parcels from Cork" in lines


def test_a_model_that_nothing_serves_says_so(site):
    assert "Nobody serves yet" in part(site.get("/"), "returns workgym/Orders-v0", "Candidates of run 4")


def test_runs_are_listed_with_their_status_killed_ones_as_abandoned(site):
    listed = re.findall(
        r"(\d) (orders|returns) (running|abandoned|finished|failed)", words(site.get("/runs"))
    )
    assert [status for _, _, status in listed] == ["running", "abandoned", *["finished"] * 4]
    assert "ended without a word" in words(site.get("/runs"))


def test_a_run_that_is_being_written_shows_up_on_the_next_load(floor, own_site):
    assert "No model yet" in words(own_site.get("/"))
    with floor.open() as registry:
        floor.work(registry, {"steady": (38, 0)})
        run = floor.start(registry, ["small", "patient"])
        first = words(own_site.get("/"))
        registry.finish_run(run.id, "all is done")
    assert f"Run {run.id} running is under way: 0 of 2 trainings are done" in first
    assert "all is done" in words(own_site.get("/"))


def test_an_empty_registry_shows_how_to_make_the_first_model(own_site):
    answer = own_site.get("/")
    assert answer.status_code == 200
    assert "factory run pipelines/orders.toml" in words(answer)


def test_the_overview_has_a_twin_for_machines(site):
    twin = site.get("/api/models").json()
    orders = twin["models"][0]
    assert [model["summary"]["name"] for model in twin["models"]] == ["orders", "returns"]
    assert orders["holders"][0]["version"]["version"] == 11
    assert {one["standing"] for one in orders["latest"]["candidates"]} >= {"rejected", "serves as champion"}
    assert len(twin["runs"]) == 6


# The other pages


def test_a_version_shows_its_families_its_lineage_and_all_verdicts(site, workspace):
    text = words(site.get("/models/orders/versions/12"))
    with open_registry(workspace) as registry:
        version = registry.version("orders", 12)
        assert all(verdict.sentence in text for verdict in registry.verdicts(version))
    for family in (*dict.fromkeys(registry_families(workspace, version)), "all"):
        assert re.search(rf"{family} \d+ 1,\d\d\d\.\d −\d+\.\d", text)
    for fact in (version.artifact_digest, version.suite_digest, "version 3 served then"):
        assert fact in text


def registry_families(workspace, version):
    with open_registry(workspace) as registry:
        return registry.scorecard(version.scorecard_digest).family


def test_a_verdict_that_was_repeated_against_another_champion_is_superseded(floor, own_site):
    with floor.open() as registry:
        best = floor.work(registry, {"steady": (38, 0)})
        old = registry.verdicts(best)[0]
        again = Verdict(
            "improvement", Outcome.FAIL, "not any more", {}, best.artifact_digest, "x", best.suite_digest
        )
        registry.record_verdicts(best, [again], generation=1)
    text = words(own_site.get("/models/orders/versions/1"))
    assert text.index("fail not any more") < text.index(f"pass superseded {old.sentence}")


def test_a_required_gate_that_was_not_asked_is_shown_as_missing(floor, own_site):
    with floor.open() as registry:
        run = floor.start(registry, ["steady"])
        floor.register(registry, run, "steady", (5, 0), ["improvement"])
    assert "missing improvement required, but not asked yet" in words(own_site.get("/"))


def test_a_run_has_a_line_per_variant_a_legend_and_the_baseline_dashed(site):
    body = site.get("/runs/3").text
    plot, legend = body.split('<svg class="plot"')[1].split('<ul class="legend">')
    assert plot.count('<g class="series') == 4
    assert plot.count('class="level"') == 1
    assert "The dashed line is cheapest-feasible" in plot
    assert re.findall(r"</svg>(\w+)", legend.split("</ul>")[0]) == [
        "steady",
        "small",
        "patient",
        "explorer",
        "cheapest",
    ]


def test_trainings_of_a_killed_run_do_not_seem_to_go_on(site):
    assert part(site.get("/runs/5"), "Trainings", "Specification").count("abandoned") == 2


@pytest.mark.parametrize("path", ["/runs?before=3", "/models/orders?before=3"])
def test_older_entries_have_a_page(site, path):
    answer = site.get(path)
    assert answer.status_code == 200
    assert "explorer/0 version 12" not in words(answer)


def test_long_lists_are_cut_and_lead_on(floor, own_site):
    with floor.open() as registry:
        for _ in range(10):
            registry.finish_run(floor.start(registry, []).id)
    body = own_site.get("/").text
    assert body.count('<th scope="row"><a href="/runs/') == 8
    assert '<a href="/runs?before=3">' in body
    assert own_site.get("/runs?before=3").text.count('<th scope="row"><a href="/runs/') == 2


# What goes wrong


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("/models/ordres", "no model named 'ordres'; did you mean 'orders'?"),
        ("/models/orders/versions/99", "no orders version 99; there are versions 1 to 12"),
        ("/runs/99", "no run 99; the registry has 6"),
        ("/runs/three", "/runs/6"),
        ("/runs/99999999999999999999999", "/runs/6"),
        ("/runs?before=then", "/runs"),
        ("/model/orders", "did you mean '/models/orders'?"),
        ("/models/Orders%00<script>", "no model named"),
    ],
)
def test_an_unknown_page_says_what_there_is(site, path, hint):
    answer = site.get(path)
    assert answer.status_code == 404
    assert hint in words(answer)
    assert "<script" not in answer.text


def test_an_unknown_address_for_machines_answers_json(site):
    answer = site.get("/api/modles")
    assert (answer.status_code, set(answer.json())) == (404, {"error"})


@pytest.mark.parametrize("what", ["policy", "scorecard"])
def test_a_tampered_artifact_is_shown_as_such_and_the_page_stands(floor, own_site, tamper, what):
    with floor.open() as registry:
        best = floor.work(registry, {"steady": (38, 0)})
        digest = best.artifact_digest if what == "policy" else best.scorecard_digest
        tamper(registry, digest)
        with pytest.raises(Tampered):
            registry.artifacts.get(digest)
    for path in ("/", "/models/orders", "/models/orders/versions/1", "/runs/1"):
        answer = own_site.get(path)
        assert answer.status_code == 200
        assert f"Integrity. The {what} was tampered with: artifact {digest}" in words(answer)
    assert own_site.get("/api/models").json()["models"][0]["holders"][0]["version"]["trouble"]


def test_a_deleted_scorecard_of_a_baseline_leaves_the_page_standing(floor, own_site):
    with floor.open() as registry:
        floor.work(registry, {"steady": (38, 0)})
        best = registry.baselines(1)[0]
        (floor.folder / "artifacts" / best.scorecard_digest[:2] / best.scorecard_digest).unlink()
    text = words(own_site.get("/"))
    assert "+38.0 against cheapest-feasible, the best rule (interval not known)" in re.sub(
        r"\+3\d\.\d", "+38.0", text
    )
    assert (
        f"Of baseline cheapest-feasible: The scorecard cannot be read: no artifact {best.scorecard_digest}"
        in text
    )
    assert words(own_site.get("/models/orders/versions/1")).count("Integrity.") == 1


def test_a_registry_that_cannot_be_read_is_said_to_be_so():
    def broken():
        raise InfrastructureFault("cannot open the registry: the disk is gone", committed="no")

    client = TestClient(create_app(broken))
    for path in ("/", "/runs/1", "/api/models", "/healthz"):
        answer = client.get(path)
        assert answer.status_code == 503
        assert "the disk is gone" in answer.text
    assert client.get("/nowhere").status_code == 404


def test_healthz_answers(site):
    assert site.get("/healthz").json() == {"status": "ok", "models": 2}


# Nothing can be done from here, to the registry or to the reader


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("path", ["/", "/models/orders", "/api/models", "/nowhere"])
def test_the_dashboard_is_read_only(site, method, path):
    answer = site.request(method, path)
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
    assert "read-only" in answer.text


def test_looking_at_every_page_changes_no_row(site, workspace):
    def rows():
        with open_registry(workspace) as registry:
            models = [(one, registry.list_versions(one.name)) for one in registry.list_models()]
            return models, registry.runs(), registry.history("orders")

    before = rows()
    for path in PAGES:
        site.get(path)
    assert rows() == before


@pytest.mark.parametrize("path", PAGES)
def test_head_answers_like_get(site, path):
    assert site.head(path).status_code == site.get(path).status_code


@pytest.mark.parametrize("path", [*PAGES, "/style.css", "/api/models", "/healthz"])
def test_a_browser_may_load_nothing_from_elsewhere(site, path):
    answer = site.get(path)
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'self'; img-src 'self' data:")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert not re.search(r"https?://(?!www\.w3\.org/)|<script|\sstyle=|\son\w+=", answer.text)


def test_what_people_and_pipelines_write_is_never_markup(floor, own_site):
    said = {"actor": HOSTILE, "reason": HOSTILE}
    with floor.open() as registry:
        floor.work(registry, {HOSTILE: (38, 0)})
        better = floor.work(registry, {HOSTILE: (90, 0)}, HOSTILE, promote=False)
        registry.promote("orders", better.version, expected_generation=1, **said)
        registry.rollback("orders", **said)
        facts = (better.artifact_digest, HOSTILE, better.suite_digest)
        registry.record_verdicts(better, [Verdict("flips", Outcome.FAIL, HOSTILE, {}, *facts)], generation=3)
        registry.fail_run(floor.start(registry, [HOSTILE]).id, HOSTILE)
    paths = ["/", "/runs", "/runs/2", "/models/orders", "/models/orders/versions/2"]
    for answer in map(own_site.get, paths):
        assert answer.status_code == 200
        assert HOSTILE in unescape(answer.text)
        assert not re.search(r"<script|<img|8641969", answer.text)


# How it is made


@pytest.mark.parametrize("path", PAGES)
def test_pages_can_be_heard(site, path):
    body = site.get(path).text
    assert body.count("<main") == body.count("<h1") == 1
    assert body.count("<table") == body.count("<caption")
    assert "<html lang=" in body
    drawn = re.findall(r"<svg class=\"(?:plot|whisker|spark)\"[^>]*>", body)
    assert all('role="img" aria-label="' in svg for svg in drawn)
    ids = re.findall(r'\sid="([^"]+)"', body)
    assert len(ids) == len(set(ids))


def colours(dark):
    css = (HERE / "style.css").read_text()
    sets = re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    return {
        name: value for text in sets[: 1 + dark] for name, value in re.findall(r"--(\w+): (#\w{6})", text)
    }


def luminance(colour):
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("ground", ["paper", "raised"])
@pytest.mark.parametrize(
    ("ink", "least"),
    [
        *((name, 4.5) for name in ("ink", "muted", "link", "pass", "fail", "open")),
        *((f"s{n}", 3) for n in range(6)),
    ],
)
def test_every_ink_stands_out_from_its_ground(dark, ground, ink, least):
    known = colours(dark)
    assert contrast(known[ink], known[ground]) >= least


def test_the_dashboard_loads_no_training_library():
    heavy = ("torch", "ray", "stable_baselines3", "gymnasium", "onnx", "docker")
    code = f"import sys, workgym.factory.dashboard.server; print(*[h for h in {heavy} if h in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not answer.stdout.split()


def test_a_taken_port_is_refused_with_the_way_out(tmp_path):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(InfrastructureFault, match="--port"):
        serve(tmp_path, "127.0.0.1", taken.getsockname()[1], print)
