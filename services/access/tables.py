"""What is remembered of users, tokens and sessions: never a secret, only what recognises one."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Float, ForeignKey, Index, LargeBinary, MetaData, Table, Text

from workgym.services.storage import SERIAL

metadata = MetaData()

users = Table(
    "access_users",
    metadata,
    Column("name", Text, primary_key=True),
    Column("password", Text, nullable=False),  # scrypt, with its parameters and salt
    Column("role", Text, nullable=False),
    Column("disabled", Boolean, nullable=False),
)

tokens = Table(
    "access_tokens",
    metadata,
    Column("id", Text, primary_key=True),
    Column("digest", LargeBinary, nullable=False),  # SHA-256 of the secret
    Column("owner", Text, nullable=False),
    Column("role", Text, nullable=False),
    # No foreign key: a gym empties a world and opens it again under the same id, and its agent stays.
    Column("world", SERIAL),
    Column("expires_at", Float, nullable=False),  # seconds since 1970
    Index("access_tokens_by_world", "world"),
)

sessions = Table(
    "access_sessions",
    metadata,
    Column("digest", LargeBinary, primary_key=True),  # SHA-256 of the cookie
    Column("user", Text, ForeignKey("access_users.name"), nullable=False),
    Column("expires_at", Float, nullable=False),
)
