"""Business faults: what goes wrong between whoever decides and the business that carries it out.

    gym.make("workgym/Orders-v0", mishaps={"lost-acknowledgement": 0.05, "stale-read": 0.05})

    lost-acknowledgement   the decision is carried out, and nothing comes back: whoever decided still sees
                           what was seen last. What was booked arrives with the next acknowledgement, or at
                           the end of the episode.
    duplicate-delivery     the decision reaches the business twice. The second one is a decision of its own,
                           for what is in hand then; where that is illegal it is refused, and nothing changes.
    stale-read             the acknowledgement comes at once and is true; what is shown beside it, and the
                           mask, are those of the moment before the decision.

A stale read is one moment old, a lost acknowledgement as old as the last news; only the latter holds money
back, and the reason of a refusal for good. No mishap hides how an episode begins or ends. A number is the
share of decisions. Which decision of an episode is hit is a function of the episode's key, so that every
backend, every lane and every policy meets the same mishaps.

Infrastructure faults are none of this: they never change a trajectory. See `docs/design/faults.md`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from workgym.envs.contract import ACT, BEGIN, REST, Backend, Board, Bools, Episodes, Floats, Ints, Task
from workgym.services.kernel import BadInput, InfrastructureFault, did_you_mean
from workgym.services.scenario import draws, episode_key

KINDS = ("lost-acknowledgement", "duplicate-delivery", "stale-read")
_SOURCE = 1 << 20  # of the first kind; far from the sources of any business
_SPARE_BITS, _UNIT = np.uint64(11), 2.0**-53  # as many bits as a float holds
_HEAD = 3  # numbers of a lane in `Disturbed.untold` before what was booked: key, decision, late


@dataclass(frozen=True)
class Mishaps:
    """Shares of decisions that are hit.

    Attributes:
        lost_acknowledgement: the answer never comes.
        duplicate_delivery: the decision comes twice.
        stale_read: the answer shows the moment before.
    """

    lost_acknowledgement: float = 0.0
    duplicate_delivery: float = 0.0
    stale_read: float = 0.0

    @classmethod
    def of(cls, given: Mapping[str, float] | None) -> Mishaps:
        """The mishaps of an env's argument, names as in `KINDS`.

        Raises:
            BadInput: a name is unknown, or a share is no number in 0..1.
        """
        if given is not None and not isinstance(given, Mapping):
            raise BadInput(f"expected mishaps as a mapping from names to shares, found {given!r}")
        for name, share in (given or {}).items():
            if name not in KINDS:
                raise BadInput(did_you_mean("mishap", str(name), list(KINDS)))
            if isinstance(share, bool) or not isinstance(share, Real) or not 0 <= share <= 1:
                raise BadInput(f"expected mishaps[{name!r}] to be a share in 0..1, found {share!r}")
        return cls(**{name.replace("-", "_"): float(share) for name, share in (given or {}).items()})

    @property
    def shares(self) -> tuple[float, float, float]:
        """In the order of `KINDS`."""
        return self.lost_acknowledgement, self.duplicate_delivery, self.stale_read

    @property
    def hide(self) -> bool:
        """Whether what is shown may be old, so that a mask may name what is refused."""
        return self.lost_acknowledgement > 0 or self.stale_read > 0


class _Sight(NamedTuple):
    """What lanes show."""

    obs: Floats
    mask: Bools


class Disturbed:
    """A backend whose decisions and answers meet mishaps.

    State, counters, pages and whatever planners ask for are the business's own and true.

    Args:
        backend: what holds the state.
        task: what is asked.
        mishaps: how often what goes wrong.
    """

    def __init__(self, backend: Backend, task: Task, mishaps: Mishaps) -> None:
        n = backend.lanes
        self.backend = backend
        self.lanes = n
        self.mishaps = mishaps
        self._shape = task.observation_space.shape
        self._terms = len(task.terms)
        self._key = np.zeros(n, dtype=np.uint64)
        self._decision = np.zeros(n, dtype=np.int64)  # how many the episode has had
        self._late = np.zeros(n, dtype=np.bool_)  # lanes that show an old moment
        self._unpaid = np.zeros((n, self._terms + 1 + task.rows), dtype=np.int64)  # as `_booked`
        self._true: _Sight | None = None
        self._shown: _Sight | None = None

    def advance(self, mode: NDArray[np.int8], actions: Ints, episodes: Episodes) -> Board:
        """Let each lane act, begin or stand still, and tell what arrives of it.

        Raises:
            InfrastructureFault: the service did not answer; a decision that came once is committed.
        """
        acts, begins = mode == ACT, mode == BEGIN
        lost, twice, stale = (acts & hit for hit in self._hits())
        board = self.backend.advance(mode, actions, episodes)
        if twice.any():
            board = self._deliver_again(board, twice, actions, episodes)
        self._decision += acts
        if begins.any():
            self._begin(begins, episodes)
        if board.dropped is not None:
            acts = acts & ~board.dropped
        goes_on = acts & ~board.ended
        lost, stale = lost & goes_on, stale & goes_on & ~lost
        self._late = np.where(acts, lost | stale, self._late)
        return self._show(self._paid(board, acts, lost), lost | (mode == REST), stale)

    def _hits(self) -> list[Bools]:
        """Whether each kind would hit the next decision of each lane."""
        bits, hits = np.empty(self.lanes, dtype=np.uint64), []
        for kind, share in enumerate(self.mishaps.shares):
            draws(self._key, _SOURCE + kind, self._decision, bits)
            hits.append((bits >> _SPARE_BITS) * _UNIT < share)
        return hits

    def _begin(self, begins: Bools, episodes: Episodes) -> None:
        for lane in np.flatnonzero(begins):
            self._key[lane] = episode_key(episodes.salt, episodes.seed[lane], episodes.number[lane])
        self._decision[begins] = 0
        self._unpaid[begins] = 0
        self._late[begins] = False

    def _deliver_again(self, board: Board, twice: Bools, actions: Ints, episodes: Episodes) -> Board:
        """The second delivery of decisions that were carried out; what both did."""
        again = twice & (board.refusal == 0) & ~board.ended
        if board.dropped is not None:
            again &= ~board.dropped
        if not again.any():
            return board
        mode = np.where(again, ACT, REST).astype(np.int8)
        try:
            second = self.backend.advance(mode, actions, episodes)
        except InfrastructureFault as fault:
            raise InfrastructureFault(f"at the second delivery of a decision: {fault}", "yes") from fault
        if board.dropped is not None:
            fallen = board.dropped if second.dropped is None else board.dropped | second.dropped
            second = second._replace(dropped=fallen)
        both = self._booked(board) + self._booked(second)
        return self._with_booked(second, both)._replace(refusal=board.refusal)

    def _paid(self, board: Board, acts: Bools, lost: Bools) -> Board:
        """What arrives of what was booked; the rest is kept for the next acknowledgement."""
        if not (lost.any() or self._unpaid.any()):
            return board
        due = self._booked(board) + self._unpaid * acts[:, None]
        self._unpaid = np.where(acts[:, None], due * lost[:, None], self._unpaid)
        told = self._with_booked(board, due * ~lost[:, None])
        return told._replace(refusal=board.refusal * ~lost)

    def _booked(self, board: Board) -> Ints:
        """(N, terms + 1 + rows) reward terms, constraint cost and credit of an advance."""
        parts = [board.terms.T, board.violations[:, None]]
        return np.concatenate(parts if board.credit is None else [*parts, board.credit], axis=1)

    def _with_booked(self, board: Board, booked: Ints) -> Board:
        terms = self._terms
        return board._replace(
            terms=np.ascontiguousarray(booked[:, :terms].T),
            violations=booked[:, terms].copy(),
            credit=None if board.credit is None else booked[:, terms + 1 :].copy(),
        )

    def _show(self, board: Board, keeps: Bools, stale: Bools) -> Board:
        """Show what was shown in the lanes of `keeps`, the moment before in those of `stale`."""
        now = _Sight(board.obs, board.mask)
        before, shown = self._true or now, self._shown or now
        obs, mask = (
            _of_lanes(keeps, old, _of_lanes(stale, last, new))
            for old, last, new in zip(shown, before, now, strict=True)
        )
        self._true, self._shown = now, _Sight(obs.copy(), mask.copy())
        return board._replace(obs=obs, mask=mask)

    def state_bytes(self, lane: int) -> bytes:
        """The canonical state of the business."""
        return self.backend.state_bytes(lane)

    def load_state(self, lane: int, data: bytes) -> Board:
        """Put a canonical state into a lane; it shows the truth, and owes nothing."""
        board = self.backend.load_state(lane, data)
        self._unpaid[lane] = 0
        self._late[lane] = False
        return self._show(board, np.arange(self.lanes) != lane, np.zeros(self.lanes, dtype=np.bool_))

    def untold(self, lane: int) -> bytes:
        """What stands between a lane's business and whoever decides, for `go_to`; equal on every backend."""
        late = self._late[lane]
        head = [self._key[lane : lane + 1].view(np.int64), [self._decision[lane], late], self._unpaid[lane]]
        told: bytes = np.concatenate(head).astype("<i8").tobytes()
        if not late or self._shown is None:
            return told
        seen: bytes = self._shown.obs[lane].astype("<f4").tobytes() + self._shown.mask[lane].tobytes()
        return told + seen

    def go_to(self, lane: int, data: bytes, untold: bytes) -> Board:
        """Put a lane where `state_bytes` and `untold` were taken; what all lanes show afterwards.

        Raises:
            BadInput: it was taken from an env without mishaps, or with another observation.
        """
        size = 8 * (_HEAD + self._unpaid.shape[1])
        if len(untold) < size:
            raise BadInput(
                f"expected a snapshot of an env with mishaps, found {len(untold)} bytes about them; "
                "take it from an env that is made with the same arguments"
            )
        head, seen = np.frombuffer(untold[:size], dtype="<i8").astype(np.int64), untold[size:]
        board = self.load_state(lane, data)
        self._key[lane] = head[:1].view(np.uint64)[0]
        self._decision[lane], self._late[lane] = head[1], head[2] == 1
        self._unpaid[lane] = head[_HEAD:]
        return self._show_late(board, lane, seen) if self._late[lane] else board

    def _show_late(self, board: Board, lane: int, seen: bytes) -> Board:
        """Show an old moment in a lane, as `untold` keeps it."""
        features = 4 * int(np.prod(self._shape))
        if len(seen) != features + board.mask.shape[1]:
            raise BadInput(f"expected a snapshot with observations {self._shape}, found others")
        obs = np.frombuffer(seen[:features], dtype="<f4").reshape(self._shape)
        mask = np.frombuffer(seen[features:], dtype=np.bool_)
        for sight in (self._shown, board):
            if sight is not None:
                sight.obs[lane], sight.mask[lane] = obs, mask
        return board

    def facts(self, lane: int) -> dict[str, int]:
        """The counters of the business."""
        return self.backend.facts(lane)

    def render(self, lane: int) -> str:
        """The business as a page of text."""
        return self.backend.render(lane)

    def close(self) -> None:
        """Give back what the backend holds."""
        self.backend.close()

    def __getattr__(self, name: str) -> Any:
        """What planners ask for beyond the contract."""
        if name.startswith("_") or "backend" not in self.__dict__:
            raise AttributeError(name)
        return getattr(self.backend, name)


def _of_lanes(which: Bools, one: NDArray[Any], other: NDArray[Any]) -> NDArray[Any]:
    """The rows of `one` in the lanes of `which`, else of `other`."""
    return np.where(which.reshape(-1, *(1 for _ in one.shape[1:])), one, other)
