"""How often sealed suites were shown to gates: each look wears a suite out a little."""

from __future__ import annotations

from sqlalchemy import func, select

from workgym.factory.runs import Clock, RunBook, utc_now
from workgym.factory.tables import SuiteUseRow


class SuiteUses:
    """What `workgym.factory.lab.Uses` asks for, kept in the registry."""

    def __init__(self, registry: RunBook, clock: Clock = utc_now) -> None:
        self._registry = registry
        self._clock = clock

    def use(self, suite_digest: str, policy: str, purpose: str) -> int:
        """Write down that a suite is shown to a policy's gate; the how-manieth policy it is, from 1."""
        about = {"suite_digest": suite_digest, "purpose": purpose}
        at = self._clock().isoformat(timespec="microseconds")
        with self._registry.database.write() as session:
            known = session.get(SuiteUseRow, (suite_digest, policy, purpose))
            if known is None:
                known = SuiteUseRow(**about, policy=policy, at=at)
                session.add(known)
                session.flush()
            until = select(func.count()).select_from(SuiteUseRow).filter_by(**about)
            return session.scalar(until.where(SuiteUseRow.at <= known.at)) or 1
