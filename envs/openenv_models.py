"""The shapes of the OpenEnv wire, as its clients and its validator expect them.

They are written down again, so that a server needs nothing of OpenEnv's to speak to its clients.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictFloat, StrictInt, model_validator

Number = Annotated[StrictInt | StrictFloat, Field(union_mode="left_to_right")]
EpisodeId = Annotated[str, Field(min_length=1, max_length=255)]


class _Asked(BaseModel):
    """What a client sends: unknown fields are refused, since a typo would silently change the task."""

    model_config = ConfigDict(extra="forbid")


class Reset(_Asked):
    """Begin an episode."""

    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = Field(
        default=None, description="Names the episode; without one the next episode of the last seed begins"
    )
    episode_id: EpisodeId | None = Field(
        default=None, description="What to call the episode; over HTTP, the session"
    )
    env_id: str | None = Field(
        default=None, description="What to play; the last one, else the first of the service"
    )
    family: str | None = Field(default=None, description="Business situation; otherwise the seed draws one")
    split: str | None = Field(default=None, description="`train`, `gate` or `audit`")
    text: bool | None = Field(
        default=None, description="Whether observations tell the business as a page; as before, else yes"
    )


class Action(_Asked):
    """A decision: a tool with arguments, or what the env's own action space has."""

    tool: str | None = Field(default=None, description="Name of one of the tools that a reset told")
    arguments: dict[str, Any] = Field(default_factory=dict, description="Of the tool, by its input schema")
    action: Number | list[Number] | None = Field(default=None, description="The numeric view of a decision")
    metadata: dict[str, Any] = Field(default_factory=dict, description="Not read; OpenEnv's actions have it")

    @model_validator(mode="before")
    @classmethod
    def _of_a_tool_call(cls, said: Any) -> Any:
        """OpenEnv's own `CallToolAction` says the same in other words."""
        if not isinstance(said, dict) or said.get("type") != "call_tool":
            return said
        rest = {name: value for name, value in said.items() if name not in ("type", "tool_name")}
        return {"tool": said.get("tool_name"), **rest}

    @model_validator(mode="after")
    def _says_one_thing(self) -> Action:
        if (self.tool is None) == (self.action is None):
            raise ValueError("expected either a tool or an action")
        return self


class Step(_Asked):
    """Take a decision."""

    action: Action
    episode_id: EpisodeId | None = Field(
        default=None, description="Of the session, as `/reset` told it in `metadata.episode_id`"
    )
    request_id: Annotated[str, Field(max_length=255)] | None = Field(
        default=None, description="The same id again gives the same answer without a second step"
    )
    timeout_s: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="Not read: a step is never left half done"
    )


class ToolOffer(BaseModel):
    """What can be called."""

    name: str
    description: str
    input_schema: dict[str, Any] = Field(description="JSON schema of the arguments")


class Observation(BaseModel):
    """What an agent sees."""

    text: str = Field(description="The business as a page; empty if the reset said `text: false`")
    features: list[float] | list[list[float]] = Field(description="What a numeric policy sees")
    legal: list[str] | dict[str, list[int]] | None = Field(
        description="What the tool may be asked now; null where all that its schema allows is legal",
    )
    reward_terms: dict[str, int] = Field(
        description="What the last decision earned; they add up to the reward"
    )
    constraint_cost: float = Field(description="What it broke")
    terminated: bool = Field(description="The episode reached its end")
    truncated: bool = Field(description="It was cut")
    refused: str | None = Field(description="Why the last decision changed nothing")
    tools: list[ToolOffer] | None = Field(
        default=None, description="What can be called in this env; after a reset alone"
    )
    feature_names: list[str] | None = Field(
        default=None, description="Of the features, or of those of a row; after a reset alone, may be empty"
    )


class Answer(BaseModel):
    """What a reset and a step answer; `done` is terminated or truncated, which the observation tells."""

    observation: dict[str, Any] = Field(description="As `/schema` describes it")
    reward: float | None = Field(default=None, description="Sum of the reward terms; null after a reset")
    done: bool = False
    metadata: dict[str, Any] | None = Field(
        default=None, description="`episode_id`, `env_id` and `step_count`"
    )


class State(BaseModel):
    """Where an episode stands, for whoever trains; an agent does not see it."""

    episode_id: str | None = None
    step_count: int = 0
    env_id: str | None = None
    split: str | None = None
    family: str | None = Field(default=None, description="As asked for; null where the seed drew it")
    seed: int | None = Field(
        default=None, description="Of the episode, or of the first of those that followed it"
    )
    number: int | None = Field(default=None, description="Episodes that began since that seed was given")
    total_reward: float = 0.0
    terminated: bool = False
    truncated: bool = False
    state_hash: str | None = Field(default=None, description="Content hash of the business")


class Metadata(BaseModel):
    """What can be played here."""

    name: str
    description: str
    readme_content: str | None = None
    version: str | None = None
    author: str | None = None
    documentation_url: str | None = None


class Schemas(BaseModel):
    """JSON schemas of the wire."""

    action: dict[str, Any]
    observation: dict[str, Any]
    state: dict[str, Any]


class Health(BaseModel):
    """The server answers."""

    status: Literal["healthy"] = "healthy"
