"""Tokens over REST, so that a trainer can hand one world to an agent."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel, Field

from workgym.services.access.guard import Recognition
from workgym.services.access.register import LONGEST_DAYS, Token
from workgym.services.access.roles import Role
from workgym.services.problems import documented
from workgym.services.rest import LARGEST_ID
from workgym.services.rest import Request as Body

TAG = {"name": "access", "description": "Hand out tokens and take them back"}

TokenId = Annotated[str, Path(max_length=40, description="Id of the token")]


class NewToken(Body):
    """What a token is for."""

    role: Literal["viewer", "operator", "agent", "admin"] = Field(description="What it may do")
    world: int | None = Field(None, ge=0, le=LARGEST_ID, description="The only world of an agent")
    days: float = Field(30.0, gt=0, le=LONGEST_DAYS, description="Until it expires", strict=False)


class KnownToken(BaseModel):
    """A token without its secret."""

    id: str = Field(description="Names the token; it is no secret")
    owner: str = Field(description="Who answers for it")
    role: Role = Field(description="What it may do")
    world: int | None = Field(description="The only world of an agent")
    expires_at: float = Field(description="Seconds since 1970")


class MintedToken(KnownToken):
    """A token with its secret, which is shown this once."""

    secret: str = Field(description="For `Authorization: Bearer`")


def tokens_router(recognition: Recognition) -> APIRouter:
    """The operations on tokens; admins only."""
    router = APIRouter(prefix="/tokens", tags=["access"])
    register = recognition.register

    @router.post(
        "",
        summary="Mint a token",
        status_code=201,
        response_model=MintedToken,
        responses=documented(404, 422, 503),
    )
    def mint_token(wish: NewToken, request: Request, response: Response) -> MintedToken:
        """The secret is shown this once; whoever mints a token owns it."""
        owner = request.scope["state"]["person"].name
        token, secret = register.mint(wish.role, owner=owner, world=wish.world, days=wish.days)
        response.headers.update({"Cache-Control": "no-store", "Location": f"/tokens/{token.id}"})
        return MintedToken(**vars(token), secret=secret)

    @router.get("", summary="List tokens", response_model=list[KnownToken], responses=documented(503))
    def list_tokens() -> list[Token]:
        """All that are neither revoked nor expired."""
        return register.tokens()

    @router.delete("/{token}", summary="Revoke a token", status_code=204, responses=documented(404, 422, 503))
    def revoke_token(token: TokenId) -> None:
        """It stops working here at once, and in other processes over the same database within seconds."""
        register.revoke(token)
        recognition.forget()

    return router
