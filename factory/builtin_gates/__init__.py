"""The gates that come with the factory; importing this enters them.

Two kinds of wrong answer count. A wrong pass lets a candidate in that is not what its gate claims: all of a
gate's claims must hold at once, so each is tested at the full `alpha` (intersection-union). A wrong fail
turns a good candidate away: any one broken claim suffices, so each is tested at `alpha` over the number of
claims (Bonferroni). Both are measured in docs/design/gates.md.
"""

from workgym.factory.builtin_gates import (
    bootstrap,
    constraints,
    flips,
    harm,
    improvement,
    improvement_fixed,
    latency,
)

__all__ = ["bootstrap", "constraints", "flips", "harm", "improvement", "improvement_fixed", "latency"]
