"""What servicers are bound from, and what is an error before the first call."""

from __future__ import annotations

from typing import Any

import pytest
from harness.shelf import SCHEMA, pb, pb_grpc
from quartet_server.records.contract import Database
from quartet_server.records.fields import SchemaError
from quartet_server.records.standard import servicer

NOTHING: Any = None  # binding asks nothing of a database


class Verbs:
    """The two rpcs of the service that are no standard methods."""

    async def Lend(self, request: Any, context: Any) -> Any:  # noqa: N802
        return pb.Book(id=request.id)

    async def Watch(self, request: Any, context: Any) -> Any:  # noqa: N802
        yield pb.Book(id=request.id)

    def helper(self) -> None:
        """Something that is no rpc, by its name."""


def bound(base: type[Any], verbs: object, database: Database = NOTHING) -> Any:
    return servicer(base, database, SCHEMA, verbs)


async def test_a_servicer_is_one_of_the_generated_class_with_the_verbs_own_methods() -> None:
    made = bound(pb_grpc.ShelfServiceServicer, Verbs())
    assert isinstance(made, pb_grpc.ShelfServiceServicer)
    assert (await made.Lend(pb.GetBookRequest(id="b"), None)).id == "b"
    assert [one.id async for one in made.Watch(pb.GetBookRequest(id="b"), None)] == ["b"]


async def test_a_hand_written_method_wins_over_the_standard_one() -> None:
    class Own(Verbs):
        async def GetBook(self, request: Any, context: Any) -> Any:  # noqa: N802
            return pb.Book(id="mine")

    assert (await bound(pb_grpc.ShelfServiceServicer, Own()).GetBook(pb.GetBookRequest(id="b"), None)).id == "mine"


async def test_verbs_may_inherit_from_the_generated_class() -> None:
    class Inheriting(pb_grpc.ShelfServiceServicer):  # type: ignore[misc]
        Lend, Watch = Verbs.Lend, Verbs.Watch

    made = bound(pb_grpc.ShelfServiceServicer, Inheriting())
    assert made.GetBook is not pb_grpc.ShelfServiceServicer.GetBook


BROKEN = {
    "GetBook": "needs a field `string id`",
    "GetPlace": "is no record",
    "FindBook": "nobody wrote it",
    "ListBook": "should be called ListBooks",
    "ListCopies": "shelf_id is no column of copies",
    "CreateBook": "one field that is a record",
    "CreateCopy": "answers with Book, not with Copy",
    "CreateShelf": "needs a field `string request_id`",
    "UpdateBook": "update_mask",
    "DeleteBook": "needs a field `string request_id`",
    "DeleteShelf": "of which the standard method knows nothing",
    "DeleteRoom": "there is no record Room",
    "BatchGetCopies": "is not one text",
    "BatchGetBooks": "needs a field `repeated string ids`",
    "BatchCreateBooks": "needs a field `repeated message requests`",
    "ListShelves": "nobody wrote it",
}


def test_every_rpc_that_is_not_what_its_name_says_is_named_at_start_up() -> None:
    with pytest.raises(SchemaError) as caught:
        bound(pb_grpc.BrokenServiceServicer, object())
    told = dict(one.split(": ", 1) for one in str(caught.value).split("; "))
    assert set(told) == {f"rpc quartet.testing.v1.BrokenService/{name}" for name in BROKEN}
    for name, why in BROKEN.items():
        assert why in told[f"rpc quartet.testing.v1.BrokenService/{name}"]


def test_a_verb_that_is_no_rpc_is_an_error() -> None:
    class Misspelt(Verbs):
        async def Lent(self, request: Any, context: Any) -> Any:  # noqa: N802
            return request

    with pytest.raises(SchemaError, match=r"Misspelt\.Lent is no rpc of quartet\.testing\.v1\.ShelfService"):
        bound(pb_grpc.ShelfServiceServicer, Misspelt())


def test_a_class_that_was_not_generated_is_an_error() -> None:
    with pytest.raises(SchemaError, match="was not generated"):
        bound(Verbs, Verbs())
