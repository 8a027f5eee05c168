"""A user's file: numbers are float64, labels keep their text, and what can't be read says how to convert it."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pdstudy.analysis.data.points import column
from pdstudy.analysis.data.table_file import evaluate, parse_number, read_table, select_rows
from pdstudy.analysis.errors import DataError


def write(tmp_path: Path, text: str, name: str = "runs.csv") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_whole_numbers_do_not_overflow_in_a_condition(tmp_path: Path) -> None:
    """6 N D of int64 columns wrapped around, and the most expensive runs came out on the cheap side."""
    rows = [(n, d) for n in (10**8, 10**9, 10**10, 10**11) for d in (10**9, 10**10, 10**11, 10**12, 10**13)]
    path = write(tmp_path, "N,D\n" + "".join(f"{n},{d}\n" for n, d in rows))
    expected = sum(6.0 * n * d < 1e21 for n, d in rows)
    assert len(select_rows(read_table(path), "6*N*D<1e21")) == expected == 10
    assert set(read_table(path).dtypes) == {np.dtype(np.float64)}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "N,loss\n1.5B,3.25\n300M,4\n"),
        ("a.csv", "N;loss\n1,5e9;3,25\n3e8;4,0\n"),
        ("a.tsv", "N\tloss\n1.5e9\t3.25\n3e8\t4\n"),
        ("a.jsonl", '{"N": 1500000000, "loss": 3.25}\n{"N": 3e8, "loss": 4}\n'),
        ("a.csv", "\ufeffN,loss\r\n1.5G,3.25\r\n300 M,4\r\n"),
    ],
)
def test_other_ways_to_write_a_table(tmp_path: Path, name: str, text: str) -> None:
    table = read_table(write(tmp_path, text, name))
    assert table["N"].tolist() == [1.5e9, 3e8]
    assert table["loss"].tolist() == [3.25, 4.0]


def test_rows_have_the_lines_of_the_file(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, "N,loss\n1e9,3\n\n2e9,\n"))
    with pytest.raises(DataError, match="'loss' for the loss is NaN or infinite in row 4"):
        column(table, "loss", "the loss")


def test_text_that_is_no_number_is_shown_with_its_row(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, 'N,loss\n1e9,3\n"1,234",4\n'))
    with pytest.raises(DataError, match=r"column 'N' for N holds '1,234' in row 3, which is no number; write 1\.5e9"):
        column(table, "N", "N")


def test_labels_keep_their_text(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, "arm,loss\n0.001,3\n1e-2,4\nNone,5\nNA,6\n07,7\n"), labels=["arm"])
    assert table["arm"].tolist() == ["0.001", "1e-2", "None", "NA", "07"]


def test_a_name_with_a_space_is_explained(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, "train loss,N\n3,1\n5,2\n"))
    assert evaluate(table, "`train loss` < 4").tolist() == [True, False]
    with pytest.raises(DataError, match=r"write a name such as 'train loss' in backticks: `train loss` > 1"):
        evaluate(table, "train loss < 4")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.jsonl", '{"N": 1}\n{"N": \n', "a.jsonl:2 is no JSON"),
        ("a.jsonl", "[1]\n", "a.jsonl:1 is no JSON object"),
        ("a.csv", "N,loss\n", "has a header and no rows"),
        ("a.csv", "", "is no table"),
    ],
)
def test_files_that_are_no_table(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_table(write(tmp_path, text, name))


def test_numbers_as_people_write_them() -> None:
    assert [parse_number(t) for t in ("1.5B", "300M", "12k", "-2", "1e-3", ".5", "2T")] == [
        1.5e9, 3e8, 12e3, -2.0, 1e-3, 0.5, 2e12,
    ]  # fmt: skip
    assert np.isnan(parse_number("NA"))
    for text in ("1,5", "abc", "1.5X", "1 2"):
        with pytest.raises(ValueError, match="is no number"):
            parse_number(text)


def test_what_pandas_writes_is_read_back(tmp_path: Path) -> None:
    frame = pd.DataFrame({"N": [1, 2], "loss": [3.123456789012345, np.nan], "arm": ["a", "b"]})
    frame.to_csv(tmp_path / "x.csv", index=False)
    read = read_table(tmp_path / "x.csv")
    assert read["loss"][2] == frame["loss"][0]
    assert np.isnan(read["loss"][3])
    assert read["arm"].tolist() == ["a", "b"]
    rows = "\n".join(json.dumps(row) for row in frame.fillna("").to_dict("records"))
    (tmp_path / "x.jsonl").write_text(rows)
    assert read_table(tmp_path / "x.jsonl")["N"].tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("N,D,loss,loss\n1,2,3,4\n", "more than one column 'loss'"),
        ("N, N ,loss\n1,2,3\n", "more than one column 'N'"),
        ("N,D,loss\n1,2,3,4\n", "Expected 3 fields in line 2, saw 4$"),
        ("N,D,loss\n1,2,3,\n", "Expected 3 fields in line 2, saw 4$"),
    ],
)
def test_a_value_has_one_column(text: str, words: str, tmp_path: Path) -> None:
    """Of two columns of a name the first was taken; in rows with one field more, each value for its left neighbour."""
    path = tmp_path / "runs.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=words):
        read_table(path)


def test_columns_without_a_name_are_kept_apart(tmp_path: Path) -> None:
    """As pandas writes them for its index."""
    path = tmp_path / "runs.csv"
    path.write_text(",,N\n0,5,1e6\n")
    assert read_table(path).to_dict("list") == {"column 1": [0.0], "column 2": [5.0], "N": [1e6]}
