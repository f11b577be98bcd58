"""What importers share: a form says what to look for, and every row is a line or has a reason."""

from __future__ import annotations

from decimal import Decimal

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workgym.services.history import (
    EXAMPLES,
    RAGGED,
    Dialect,
    Example,
    Fault,
    Form,
    Reading,
    Table,
    date_reader,
    guess_decimal,
    judged,
    number_reader,
    read_table,
)
from workgym.services.kernel import BadInput, NotFound

FORM = Form("visits", {"who": "name visitor", "age": "age years"}, ("who",))


def table_of(folder, text: str, **how) -> Table:
    path = folder / "visits.csv"
    path.write_bytes(text.encode())
    return read_table(path, FORM, **how)


def test_a_form_finds_its_columns_and_only_them(tmp_path):
    table = table_of(tmp_path, "Visitor;Years;Shoe size\nAda;36;38\nMax;7\n")
    assert table.columns == {"who": ["Ada"], "age": ["36"]}
    assert table.mapping == {"who": "Visitor", "age": "Years"}
    assert [(one.row, one.reason, one.text) for one in table.ragged] == [(3, RAGGED, "Max | 7")]


def test_an_optional_column_may_be_missing_and_a_required_one_not(tmp_path):
    assert table_of(tmp_path, "name\nAda\n").columns == {"who": ["Ada"]}
    with pytest.raises(BadInput, match="expected columns for who, found none for who among 'age'"):
        table_of(tmp_path, "age\n36\n")


def test_errors_speak_of_the_forms_noun(tmp_path):
    with pytest.raises(BadInput, match="export the visits again"):
        table_of(tmp_path, "")
    with pytest.raises(BadInput, match="no field to map named 'whoo'; did you mean 'who'"):
        table_of(tmp_path, "name\nAda\n", mapping={"whoo": "name"})
    with pytest.raises(NotFound):
        read_table(tmp_path / "nothing", FORM)


@given(faulty=st.lists(st.booleans(), max_size=30), ragged=st.integers(0, 3))
def test_every_row_is_a_line_or_has_a_reason(faulty, ragged):
    odd = [Example(100 + i, RAGGED, "") for i in range(ragged)]
    table = Table({"who": ["x"] * len(faulty)}, list(range(1, len(faulty) + 1)), odd, Dialect(), {})
    values = {"who": [Fault("odd") if bad else "Ada" for bad in faulty], "age": [1] * len(faulty)}
    found = judged(table, values, ["who"])
    assert isinstance(found.lines, pd.DataFrame)
    assert len(found.lines) + sum(found.rejected.values()) == found.rows == len(faulty) + ragged
    assert found.lines["row"].tolist() == [i + 1 for i, bad in enumerate(faulty) if not bad]
    assert found.rejected.get("odd", 0) == sum(faulty)
    assert sum(one.reason == "odd" for one in found.examples) == min(sum(faulty), EXAMPLES)


def test_the_first_fault_in_the_given_order_counts():
    table = Table({"who": ["x"], "age": ["y"]}, [2], [], Dialect(), {})
    values = {"who": [Fault("no name")], "age": [Fault("no age")]}
    assert judged(table, values, ["age", "who"]).rejected == {"no age": 1}
    assert judged(table, values, ["who", "age"]).rejected == {"no name": 1}


def test_a_report_says_what_was_left_out_and_how_the_file_was_read(tmp_path):
    table = table_of(tmp_path, "name,age\nAda,36\nMax,?\n")
    values = {"who": table.columns["who"], "age": [36, Fault("no age")]}
    reading = Reading("visits.csv", *judged(table, values, ["who", "age"]), table.dialect, table.mapping)
    assert reading.report() == [
        "visits.csv: 2 rows, 1 accepted (50.0%)",
        "  rejected       1  no age",
        "                    row 3: Max | ?",
        "  read as utf-8 text separated by ',', decimal mark None, dates year first or with the month's name",
        "  columns who=name, age=age",
    ]
    assert (reading.to_dict()["accepted"], reading.to_dict()["rejected"]) == (1, {"no age": 1})


def test_nothing_accepted_is_told_with_the_reasons(tmp_path):
    table = table_of(tmp_path, "name\nAda\n")
    found = judged(table, {"who": [Fault("odd")]}, ["who"])
    with pytest.raises(BadInput, match=r"expected guests in a, found none \(1 rejected: odd\)"):
        Reading("a", *found, table.dialect, table.mapping).require_lines("guests")


@pytest.mark.parametrize(
    ("text", "point", "comma"),
    [
        ("1.234,50", None, Decimal("1234.50")),
        ("1,234.50", Decimal("1234.50"), None),
        ("12", Decimal(12), Decimal(12)),
        ("(7.5)", Decimal("-7.5"), None),
        ("€ 3,20", None, Decimal("3.20")),
        ("1e5", None, None),
        ("", None, None),
    ],
)
def test_a_number_reads_as_its_decimal_mark_says(text, point, comma):
    assert (number_reader(".")(text), number_reader(",")(text)) == (point, comma)


def test_the_mark_that_most_numbers_write_is_the_decimal_one():
    assert guess_decimal(["1,5", "2,25", "1.234"], Dialect()).decimal == ","
    doubtful = guess_decimal(["1,234"], Dialect(), "quantity")
    assert doubtful.assumed == ("'.' is the decimal mark: no quantity tells",)


@pytest.mark.parametrize("text", ["31.2.2024", "2024-13-01", "soon", "20240101", ""])
def test_an_unreadable_date_is_a_fault(text):
    assert isinstance(date_reader(True)(text), Fault)
