"""The `factory` command.

Exit codes: 0 done, 2 wrong usage or input, 3 a gate failed, 4 a gate is inconclusive, 5 refused or
stale, 6 infrastructure, 7 integrity; 130 interrupted.
"""

from importlib import import_module

from workgym.factory.cli.base import EXIT_CODES, app, exit_code, main

# Modules of commands, in the order in which the help lists them.
GROUPS = ("line", "book", "work", "proof", "front", "compare", "search", "mirror", "house")

for _name in GROUPS:
    import_module(f"workgym.factory.cli.{_name}")

__all__ = ["EXIT_CODES", "GROUPS", "app", "exit_code", "main"]
