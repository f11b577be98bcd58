"""Write a page for every environment: its docstring, its spaces, and one episode as a picture.

    python docs/make_env_pages.py             pages and pictures
    python docs/make_env_pages.py --no-plots  pages alone

A page is made of the env's docstring, so it is written there and nowhere else; a test compares them.
"""

from __future__ import annotations

import argparse
import inspect
from pathlib import Path
from typing import Any, cast

import gymnasium as gym

import workgym.envs
from workgym.envs import base
from workgym.envs.supply_chain.presets import Preset

FOLDER = Path(__file__).resolve().parent / "envs"
HEADINGS = (
    "Department",
    "Observation",
    "Action",
    "Reward",
    "Episode end",
    "Start",
    "Rules",
    "Source",
    "Versions",
)
SEED = 1
COMMON = (
    "- `backend`, `split`, `family`, `actions`, `observation`, `mishaps`, `stress`, `render_mode`: "
    "as in [workgym/SupplyChain-v0](supplychain.md)"
)
COLOURS = 48  # in a picture's palette; more make no visible difference


def page_name(env_id: str) -> str:
    """File name of an env's page: `workgym/SupplyChain.retail-v0` is `supplychain.retail`."""
    return env_id.removeprefix("workgym/").rsplit("-v", 1)[0].lower()


def make(env_id: str, **more: Any) -> base.Env:
    """The env without wrappers."""
    return cast("base.Env", gym.make(env_id, **more).unwrapped)


def has_picture(env_id: str) -> bool:
    """Whether the env draws itself."""
    env = make(env_id)
    modes = env.task.render_modes
    env.close()
    return "rgb_array" in modes


def page(env_id: str) -> str:
    """An env's page.

    Raises:
        ValueError: the docstring lacks a heading.
    """
    env = make(env_id)
    told = inspect.cleandoc(type(env).__doc__ or "")
    missing = [heading for heading in HEADINGS if f"\n## {heading}\n" not in told]
    if missing:
        raise ValueError(f"expected headings {missing} in the docstring of {type(env).__name__}, found none")
    first, rest = told.split("\n", 1)
    body, _, arguments = rest.partition("\nArgs:\n")
    name = page_name(env_id)
    picture = f"![An episode of {env_id}]({name}.png)\n\n" if has_picture(env_id) else ""
    lines = [
        f"# {env_id}\n",
        first,
        "",
        "```python",
        "import gymnasium as gym",
        "import workgym.envs",
        "",
        f'env = gym.make("{env_id}")',
        "```",
        "",
        f"{picture}{_spaces(env)}",
        body.strip(),
        "",
        "## Arguments",
        "",
        *_arguments(arguments),
        *([COMMON] if isinstance(env, Preset) else []),
    ]
    env.close()
    return "\n".join(lines).rstrip() + "\n"


def _spaces(env: base.Env) -> str:
    """What every page says in the same words."""
    task = env.task
    rows = (
        ("observation", f"`{task.observation_space}`"),
        ("action", f"`{task.action_space}`"),
        ("reward", f"{task.unit}: {', '.join(task.terms)}"),
        ("families", ", ".join(task.families)),
        ("render modes", ", ".join(task.render_modes)),
        ("version", f"`{task.version}`"),
    )
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]) + "\n"


def _arguments(section: str) -> list[str]:
    """A list of what `Args:` names."""
    items: list[str] = []
    for line in inspect.cleandoc(section).split("\n"):
        if line.startswith(" "):
            items[-1] += " " + line.strip()
        elif line:
            name, _, words = line.partition(":")
            items.append(f"- `{name}`:{words}")
    return items


def draw(env_id: str, path: Path) -> None:
    """One episode of the reference rule as a small PNG."""
    from PIL import Image

    from workgym.agents.baselines import make_baseline

    env = make(env_id, render_mode="rgb_array")
    lane = env.vector_env(1, autoreset_mode="Disabled", **env.arguments)
    policy = make_baseline(env_id, env.task.reference)
    policy.begin(lane)
    env.reset(seed=SEED)
    obs, _ = lane.reset(seed=SEED)
    over = False
    while not over:
        action = policy.act(obs, lane.mask)
        obs, *_ = lane.step(action)
        *_, over, _, _ = env.step(action[0])
    frame = Image.fromarray(env.picture())
    frame.quantize(COLOURS).save(path, optimize=True)
    env.close()


def main() -> None:
    """Write all pages, and the pictures unless told otherwise."""
    parser = argparse.ArgumentParser(description="Write a page for every environment.")
    parser.add_argument("--no-plots", action="store_true", help="pages alone")
    parser.add_argument("ids", nargs="*", help="environments; default all")
    asked = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    for env_id in asked.ids or workgym.envs.ENV_IDS:
        path = FOLDER / f"{page_name(env_id)}.md"
        path.write_text(page(env_id), encoding="utf-8")
        print(path.name)
        if not asked.no_plots and has_picture(env_id):
            draw(env_id, path.with_suffix(".png"))
            print(path.with_suffix(".png").name)


if __name__ == "__main__":
    main()
