"""Alembic's entry: runs the migrations on the connection that `workgym.factory.database` opened.

Migrations only go forward: going back would drop history. A new one is drafted with

    python -c "from alembic import command; from sqlalchemy import create_engine
    from workgym.factory.database import alembic_config
    with create_engine('sqlite:///.workgym/registry.db').begin() as connection:
        command.revision(alembic_config(connection), 'what changes', autogenerate=True)"
"""

from typing import Any, Literal

from alembic import context

from workgym.factory.database import VERSION_TABLE
from workgym.factory.tables import Base, CanonicalJson


def render(kind: str, item: Any, _context: Any) -> str | Literal[False]:
    """Write our column type as what it is in the database: a migration must not follow our code."""
    return "sa.Text()" if kind == "type" and isinstance(item, CanonicalJson) else False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    version_table=VERSION_TABLE,
    compare_type=True,
    render_item=render,
    # SQLite cannot alter a table in place. A rebuilt table loses its triggers: create them again.
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
