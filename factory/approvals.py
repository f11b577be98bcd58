"""Who must and did say yes: protected aliases, and people's word on the versions that want them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from workgym.factory import ledger
from workgym.factory.entries import Approval, LedgerLine, entry
from workgym.factory.tables import AliasRow, ApprovalRow, LedgerRow, ModelVersionRow, ProtectionRow
from workgym.factory.versions import (
    VersionBook,
    generation_of,
    no_model,
    require_name,
    stored_version,
    version_row,
)
from workgym.services.kernel import BadInput, Conflict, Refused


class Unapproved(Refused):
    """The version earned the alias and waits for people to approve it.

    Attributes:
        missing: how many different people must still approve.
    """

    def __init__(self, model: str, version: int, alias: str, missing: int, needed: int) -> None:
        people = "person" if missing == 1 else "people"
        super().__init__(
            f"{model} version {version} waits for {missing} more {people} to approve it: {model}@{alias} is "
            f"protected by {needed}; `factory approve {model} {version} --alias {alias} --reason ...`, then "
            f"`factory promote {model} {version} --alias {alias}`"
        )
        self.missing = missing


class ApprovalBook(VersionBook):
    """The part of the registry that asks people, and shows the ledger."""

    def protect(self, name: str, alias: str, approvals: int, *, actor: str, reason: str) -> int:
        """Let an alias move only after so many different people approved; 0 lifts the protection.

        A rollback asks nobody: what served before was approved then, and a fire waits for no signature.

        Raises:
            Refused: it is protected so already.
        """
        require_said(actor, reason)
        require_name("alias", alias)
        if approvals < 0:
            raise BadInput(f"expected 0 or more approvals, found {approvals}")
        with self._database.write() as session:
            if session.scalar(select(ModelVersionRow.id).filter_by(name=name).limit(1)) is None:
                raise no_model(session, name)
            if needed(session, name, alias) == approvals:
                raise Refused(f"{name}@{alias} is protected by {approvals} already; there is nothing to do")
            session.merge(ProtectionRow(model=name, alias=alias, approvals=approvals))
            said = {"approvals": approvals, "actor": actor, "reason": reason}
            session.flush()
            ledger.append(session, "protect", name, alias, said, self._now())
        return approvals

    def approve(
        self, name: str, version: int, alias: str = "champion", *, actor: str, reason: str
    ) -> Approval:
        """Say yes to a version; counts for the present generation of the alias alone.

        Raises:
            Refused: the alias is not protected, or the version serves already.
            Conflict: this person has spoken.
        """
        return self._decide(name, version, alias, "approve", actor, reason)

    def reject(
        self, name: str, version: int, alias: str = "champion", *, actor: str, reason: str
    ) -> Approval:
        """Say no to a version; as long as the alias stands where it is, no approval outweighs it.

        Raises:
            Refused: the alias is not protected, or the version serves already.
            Conflict: this person has spoken.
        """
        return self._decide(name, version, alias, "reject", actor, reason)

    def protection(self, name: str, alias: str = "champion") -> int:
        """How many people must approve before the alias moves."""
        with self._database.read() as session:
            return needed(session, name, alias)

    def approvals(self, name: str, version: int, alias: str = "champion") -> tuple[Approval, ...]:
        """What people said of a version, at whatever generation, the oldest first."""
        with self._database.read() as session:
            row = version_row(session, name, version)
            query = select(ApprovalRow).filter_by(version_id=row.id, alias=alias).order_by(ApprovalRow.id)
            return tuple(entry(Approval, one) for one in session.scalars(query))

    def ledger(self, model: str | None = None) -> tuple[LedgerLine, ...]:
        """The lines of the ledger, the oldest first; of one model, or of all."""
        query = select(LedgerRow).order_by(LedgerRow.seq)
        with self._database.read() as session:
            rows = session.scalars(query if model is None else query.filter_by(model=model))
            return tuple(entry(LedgerLine, row) for row in rows)

    def reading(self, *, one_moment: bool = False) -> AbstractContextManager[Session]:
        """A session for queries that no other method answers; all may be asked to see the same moment."""
        return self._database.read(one_moment=one_moment)

    def _decide(
        self, name: str, version: int, alias: str, decision: str, actor: str, reason: str
    ) -> Approval:
        require_said(actor, reason)
        with self._database.write() as session:
            row = version_row(session, name, version)
            _require_asked(session, row, alias)
            approval = ApprovalRow(
                version_id=row.id,
                alias=alias,
                generation=generation_of(session, name, alias),
                decision=decision,
                actor=actor,
                reason=reason,
                at=self._now(),
            )
            _require_first_word(session, row, approval)
            session.add(approval)
            session.flush()
            payload = ledger.approval_payload(
                approval_rows(session, [approval])[0], stored_version(session, row)
            )
            ledger.append(session, decision, name, alias, payload, approval.at)
            return entry(Approval, approval)


def require_said(actor: str, reason: str) -> None:
    """Nothing is decided without a name and a reason."""
    for what, text in (("actor", actor), ("reason", reason)):
        if not text.strip():
            raise BadInput(
                f"expected who moves the alias and why, found an empty {what}; say it in a sentence"
            )


def needed(session: Session, name: str, alias: str) -> int:
    """How many people must approve."""
    row = session.get(ProtectionRow, (name, alias))
    return row.approvals if row else 0


def require_approved(
    session: Session, row: ModelVersionRow, alias: str, generation: int
) -> Sequence[ApprovalRow]:
    """The approvals that let a version through.

    Raises:
        Refused: somebody rejected it.
        Unapproved: too few have approved.
    """
    asked = needed(session, row.name, alias)
    if asked == 0:
        return []
    here = {"version_id": row.id, "alias": alias, "generation": generation}
    said = session.scalars(select(ApprovalRow).filter_by(**here).order_by(ApprovalRow.id)).all()
    for one in said:
        if one.decision == "reject":
            raise Refused(
                f"{one.actor} rejected {row.name} version {row.version} for {alias!r}: {one.reason}; "
                "promote another version"
            )
    if len(said) < asked:
        raise Unapproved(row.name, row.version, alias, asked - len(said), asked)
    return said


def _require_asked(session: Session, row: ModelVersionRow, alias: str) -> None:
    if needed(session, row.name, alias) == 0:
        raise Refused(
            f"{row.name}@{alias} asks for nobody's approval; "
            f"`factory protect {row.name} --alias {alias} --approvals 1` changes that"
        )
    serving = session.get(AliasRow, (row.name, alias))
    if serving is not None and serving.version == row.version:
        raise Refused(f"{row.name} version {row.version} already serves as {alias!r}; there is nothing to do")


def _require_first_word(session: Session, row: ModelVersionRow, approval: ApprovalRow) -> None:
    key = {name: getattr(approval, name) for name in ("version_id", "alias", "generation", "actor")}
    before = session.scalar(select(ApprovalRow).filter_by(**key))
    if before is not None:
        done = {"approve": "approved", "reject": "rejected"}[before.decision]
        raise Conflict(
            f"{before.actor} {done} {row.name} version {row.version} for {row.name}@{approval.alias} already "
            f"({before.reason}); somebody else may speak"
        )


def approval_rows(session: Session, rows: Sequence[ApprovalRow]) -> list[dict[str, Any]]:
    """Approvals as the ledger hashes them."""
    ids = [row.id for row in rows]
    return ledger.stored(session, "approvals", ledger.column("approvals", "id").in_(ids))
