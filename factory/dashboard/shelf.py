"""What a page reads of the registry, of many versions or runs at once: a query each, not one a line."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, TypeVar

from sqlalchemy import select

from workgym.factory.entries import Baseline, CurvePoint, ModelVersion, RecordedVerdict, Training, entry
from workgym.factory.registry import Registry
from workgym.factory.tables import (
    BaselineRow,
    CurvePointRow,
    MeasureRow,
    ModelVersionRow,
    TrainingRow,
    VerdictRow,
)

T = TypeVar("T")
Found = dict[int, tuple[T, ...]]


class Shelf:
    """Reads once what was announced, and anything else when it is asked for."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._verdicts: Found[RecordedVerdict] = {}
        self._trainings: Found[Training] = {}
        self._baselines: Found[Baseline] = {}
        self._curves: Found[CurvePoint] = {}

    def announce(self, versions: Iterable[ModelVersion] = (), runs: Iterable[int] = ()) -> None:
        """Fetch all that pages show of these."""
        wanted = {one.id for one in versions} - self._verdicts.keys()
        self._verdicts |= self._rows(RecordedVerdict, VerdictRow, "version_id", wanted, VerdictRow.id)
        asked = set(runs) - self._trainings.keys()
        order = (BaselineRow.profit_per_case.desc(), BaselineRow.name)
        self._trainings |= self._rows(Training, TrainingRow, "run_id", asked, TrainingRow.id)
        self._baselines |= self._rows(Baseline, BaselineRow, "run_id", asked, *order)

    def verdicts(self, version: ModelVersion) -> tuple[RecordedVerdict, ...]:
        """On a version, in the order they were made."""
        self.announce(versions=[version])
        return self._verdicts[version.id]

    def trainings(self, run: int) -> tuple[Training, ...]:
        """Of a run, in the order of their first start."""
        self.announce(runs=[run])
        return self._trainings[run]

    def baselines(self, run: int) -> tuple[Baseline, ...]:
        """Of a run, the best first."""
        self.announce(runs=[run])
        return self._baselines[run]

    def announce_curves(self, runs: Iterable[int]) -> None:
        """Fetch the learning curves of these runs."""
        runs = list(runs)
        self.announce(runs=runs)
        wanted = {one.id for run in runs for one in self._trainings[run]} - self._curves.keys()
        found: dict[int, list[CurvePoint]] = {one: [] for one in wanted}
        row = CurvePointRow
        query = select(row.training_id, row.steps, row.value, row.cpu_seconds)
        query = query.where(row.training_id.in_(wanted)).order_by(row.training_id, row.steps)
        with self._registry.reading() as session:
            for training, steps, value, cpu_seconds in session.execute(query):
                found[training].append(CurvePoint(steps, value, cpu_seconds))
        self._curves |= {one: tuple(points) for one, points in found.items()}

    def curve(self, training: Training) -> tuple[CurvePoint, ...]:
        """A training's, in the order of its steps."""
        if training.id not in self._curves:
            self.announce_curves([training.run_id])
        return self._curves[training.id]

    def measures(self, model: str) -> dict[str, dict[int, dict[str, float]]]:
        """What a model's versions were measured by: alias, id of the version, measure."""
        row = MeasureRow
        query = select(row.alias, row.version_id, row.name, row.value)
        query = query.join(ModelVersionRow, ModelVersionRow.id == row.version_id)
        query = query.where(ModelVersionRow.name == model).order_by(row.name)
        found: dict[str, dict[int, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
        with self._registry.reading() as session:
            for alias, version, name, value in session.execute(query):
                found[alias][version][name] = value
        return found

    def _rows(self, kind: type[T], row: Any, key: str, wanted: set[int], *order: Any) -> Found[T]:
        """Entries of a table by the thing that they are about, also where there are none."""
        found: dict[int, list[T]] = {one: [] for one in wanted}
        if wanted:
            columns = row.__table__.c
            query = select(*columns).where(columns[key].in_(wanted)).order_by(*order)
            with self._registry.reading() as session:
                for one in session.execute(query):
                    found[getattr(one, key)].append(entry(kind, one))
        return {one: tuple(entries) for one, entries in found.items()}
