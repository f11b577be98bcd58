"""What a student costs beside its teacher: arithmetic, profit and flips, alone and with a router that asks.

    nice -n 10 python -m benchmarks.students      # about one and a half CPU minutes on one core
    python -m benchmarks.students --steps 65536 --rounds 8 --seasons 8

The teacher is the preset `profit`. The router asks it where the student's margin is small; the threshold is
chosen on seasons of the train split so that at most `--share` of the decisions are asked. All numbers are
of the gate split; gap and flips are measured against the teacher on the same seasons.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
from typing import cast

from benchmarks.flips import ENV, trained
from workgym.agents.mlp import MlpPolicy
from workgym.agents.policy import Policy, files_digest, load_policy
from workgym.agents.presets import PRESETS
from workgym.agents.routers import escalated, escalating
from workgym.agents.seasons import Seasons, train_seasons
from workgym.factory.evaluate import evaluate, gate_suite
from workgym.factory.records import Scorecard

TRAIN_SEASONS = 32  # of each family, to choose the threshold on


def line(name: str, policy: Policy, teacher: Scorecard, work: float, asked: float, seasons: int) -> str:
    card = evaluate(policy, gate_suite(ENV, {}, per_family=seasons), {})
    gap = (card.profit - teacher.profit).sum() / teacher.cases.sum()
    flips = (teacher.success & ~card.success).mean()
    cells = f"{work:,.0f} | {asked:.1%} | {card.profit.sum() / card.cases.sum():.1f} | {gap:+.1f}"
    return f"| {name} | {cells} | {card.success.mean():.1%} | {flips:.2%} |"


def gate_seasons(seasons: int) -> Seasons:
    suite = gate_suite(ENV, {}, per_family=seasons)
    names = zip(*((one.family, one.seed) for one in suite.scenarios), strict=True)
    return Seasons(ENV, {"split": "gate", "backend": "twin"}, *map(tuple, names))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--steps", type=int, default=1_600_000, help="of the teacher's training")
    parser.add_argument("--rounds", type=int, default=60, help="of the students'")
    parser.add_argument("--net", type=int, nargs="+", default=[16], help="the student's hidden layers")
    parser.add_argument("--share", type=float, default=0.1, help="of the decisions that may be asked")
    parser.add_argument("--seasons", type=int, default=256, help="of each family")
    given = parser.parse_args()
    files, cpu = trained({"env_id": ENV, **PRESETS["profit"], "steps": given.steps})
    digest, teacher = files_digest(files), cast("MlpPolicy", load_policy(files))
    recipe = {
        "env_id": ENV,
        **PRESETS["student"],
        "net": given.net,
        "rounds": given.rounds,
        "teacher": digest,
    }
    taught, student_cpu = trained(recipe, {digest: files})
    student = cast("MlpPolicy", load_policy(taught))
    router = escalating("router", student, teacher, train_seasons(ENV, {}, TRAIN_SEASONS, 0), given.share)
    asked = escalated(router, gate_seasons(given.seasons))
    card = evaluate(teacher, gate_suite(ENV, {}, per_family=given.seasons), {})
    print(f"teacher {cpu:.0f} CPU s, student {student_cpu:.0f} CPU s, threshold {router.threshold:.3f}")
    print(f"{teacher.multiplications / student.multiplications:.1f} times fewer multiplications\n")
    print("| policy | multiplications | asked | cents an order | gap | handled | flips |")
    print("|---|---|---|---|---|---|---|")
    work = student.multiplications + asked * teacher.multiplications
    rows: list[tuple[str, Policy, float, float]] = [
        ("teacher", teacher, teacher.multiplications, 0.0),
        ("student", student, student.multiplications, 0.0),
        ("student with router", router, work, asked),
    ]
    for name, policy, each, share in rows:
        print(line(name, policy, card, each, share, given.seasons), flush=True)


if __name__ == "__main__":
    main()
