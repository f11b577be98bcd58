"""Pages for the people of every service: server-rendered, without any script.

A service gets a desk without writing one: `pages` reads its operations and shows, below `/desk`, the
worlds, a table for each listing, a form for each business verb, and the audit trail. An address below
`/desk/{world}` mirrors the one below `/worlds/{world}`, so that a service that has a better page for
`/desk/{world}/orders` adds a route there, and the rest stays.

Whoever has a page of their own (sign-in, for one) renders it in the same frame:

    page(request, "signin.html", Path(__file__).parent / "templates", title="Sign in")

with a template that says `{% extends "base.html" %}` and fills the block `main`; inputs are drawn by
`{% import "parts.html" as parts %}`. The frame's style sheet is open to everybody.
"""

from workgym.services.pages.mounting import pages as pages
from workgym.services.pages.rendering import HEADERS as HEADERS
from workgym.services.pages.rendering import may_act as may_act
from workgym.services.pages.rendering import page as page

__all__ = ["HEADERS", "may_act", "page", "pages"]
