"""Numbers of rows that have no other name: writes of a zone are one after another, so the next one is the highest and one."""

from __future__ import annotations

from typing import Any

from quartet_server.records.contract import Session as Transaction
from quartet_server.records.schema import Record
from quartet_server.records.statements import mark, quoted


def next_number(at: Transaction, record: Record[Any]) -> int:
    """Return the number of the next row of a record whose key is `id`, a number from 1."""
    return highest(at, record, "id") + 1


def highest(at: Transaction, record: Record[Any], column: str, where: str = "", value: str = "") -> int:
    """Return the highest value of a column of the zone's rows, of those whose column `where` has `value`; 0 without any."""
    sign = mark(at.dialect)
    sql = f"SELECT max({quoted(column)}) FROM {quoted(record.name)} WHERE zone = {sign}"  # noqa: S608 - names of protos
    parameters = [at.zone]
    if where:
        sql += f" AND {quoted(where)} = {sign}"
        parameters.append(value)
    cursor = at.cursor()
    cursor.execute(sql, parameters)
    row = cursor.fetchone()
    cursor.close()
    return int(row[0] or 0) if row else 0
