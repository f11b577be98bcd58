"""How often sealed suites were shown to gates: each look wears a suite out a little."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import func, select

from workgym.factory import ledger
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
        with self._registry.database.write() as session:
            known = session.get(SuiteUseRow, (suite_digest, policy, purpose))
            if known is None:
                newest = session.scalar(select(func.max(SuiteUseRow.at)).filter_by(**about))
                known = SuiteUseRow(**about, policy=policy, at=self._after(newest))
                session.add(known)
                session.flush()
                ledger.tell_used(session, {**about, "policy": policy, "at": known.at})
            until = select(func.count()).select_from(SuiteUseRow).filter_by(**about)
            return session.scalar(until.where(SuiteUseRow.at <= known.at)) or 1

    def _after(self, newest: str | None) -> str:
        """Now, or a moment after the newest use: a clock that lags must not turn the order round."""
        now = self._clock()
        if newest is not None:
            now = max(now, datetime.fromisoformat(newest) + timedelta(microseconds=1))
        return now.isoformat(timespec="microseconds")
