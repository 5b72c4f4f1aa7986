"""The standard methods, called over gRPC."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.protobuf.field_mask_pb2 import FieldMask
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status
from grpc import aio
from harness.failures import fails
from harness.records import Clock, Opening
from harness.shelf import SCHEMA, pb, pb_grpc
from quartet_server.domain import Resources
from quartet_server.records.standard import servicer

C = grpc.StatusCode


class Verbs:
    """What no standard method is."""

    async def Lend(self, request: Any, context: Any) -> Any:  # noqa: N802
        return pb.Book(id=request.id, lent=True)

    async def Watch(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        for number in range(3):
            yield pb.Book(id=request.id, pages=number)


class ShelfDomain:
    """The domain service of shelves."""

    names = ("quartet.testing.v1.ShelfService",)

    def __init__(self, made: Any) -> None:
        self._made = made

    def add_to(self, server: aio.Server) -> None:
        """Register the servicer."""
        pb_grpc.add_ShelfServiceServicer_to_server(self._made, server)

    async def stop(self) -> None:
        """Nothing to end."""


async def start(resources: Resources) -> ShelfDomain:
    """Serve shelves."""
    assert resources.records is not None
    return ShelfDomain(servicer(pb_grpc.ShelfServiceServicer, resources.records.database("shelf"), SCHEMA, Verbs()))


@pytest_asyncio.fixture
async def books(opening: Opening) -> Any:
    """A stub of the service, over a database with shelf s in the default zone."""
    stub = pb_grpc.ShelfServiceStub(await opening.served(SCHEMA, start))
    await stub.CreateShelf(pb.CreateShelfRequest(shelf=pb.Shelf(id="s", name="s")))
    return stub


async def create(books: Any, title: str = "t", request_id: str = "", **fields: Any) -> Any:
    made = pb.Book(**({"shelf_id": "s", "title": title} | fields))
    return await books.CreateBook(pb.CreateBookRequest(book=made, request_id=request_id))


async def refusal(call: Any) -> tuple[str, dict[str, str], list[str]]:
    """Return the reason, the facts and the fields of a call that fails."""
    with pytest.raises(aio.AioRpcError) as caught:
        await call
    info, bad = ErrorInfo(), BadRequest()
    for key, value in caught.value.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            for detail in Status.FromString(value).details:
                detail.Unpack(info)
                detail.Unpack(bad)
    return info.reason, dict(info.metadata), [one.field for one in bad.field_violations]


async def test_a_record_is_created_read_changed_and_deleted(books: Any, clock: Clock) -> None:
    made = await create(books, "t", pages=3)
    assert (made.etag, made.condition, made.created_at.ToSeconds()) == ("1", pb.CONDITION_GOOD, int(clock.now))
    assert await books.GetBook(pb.GetBookRequest(id=made.id)) == made
    clock.now += 5
    change = pb.Book(id=made.id, title="u", etag=made.etag)
    now = await books.UpdateBook(pb.UpdateBookRequest(book=change, update_mask=FieldMask(paths=["title", "pages"])))
    assert (now.title, now.pages, now.etag, now.updated_at.ToSeconds()) == ("u", 0, "2", int(clock.now))
    assert await books.DeleteBook(pb.DeleteBookRequest(id=made.id, etag="2")) == pb.DeleteBookResponse()
    with fails(C.NOT_FOUND, "RECORD_NOT_FOUND"):
        await books.GetBook(pb.GetBookRequest(id=made.id))


async def test_verbs_and_streams_are_served_beside_the_standard_methods(books: Any) -> None:
    assert (await books.Lend(pb.GetBookRequest(id="b"))).lent
    assert [one.pages async for one in books.Watch(pb.GetBookRequest(id="b"))] == [0, 1, 2]


async def test_a_record_that_was_read_can_be_sent_back_with_changes(books: Any) -> None:
    made = await create(books, isbn="1", metadata={"a": 1})
    made.title = "other"
    now = await books.UpdateBook(pb.UpdateBookRequest(book=made))
    assert (now.title, now.isbn, now.etag) == ("other", "1", "2")
    now.title = "third"
    again = await books.UpdateBook(pb.UpdateBookRequest(book=now, update_mask=FieldMask(paths=["*"])))
    assert (again.title, again.etag) == ("third", "3")


async def test_a_star_sets_what_is_not_there_to_nothing(books: Any) -> None:
    made = await create(books, subtitle="x", pages=4, tags=["a"], metadata={"a": 1})
    sent = pb.Book(id=made.id, title="t", condition=pb.CONDITION_LOST)
    now = await books.UpdateBook(pb.UpdateBookRequest(book=sent, update_mask=FieldMask(paths=["*"])))
    assert (now.HasField("subtitle"), now.pages, list(now.tags), now.HasField("metadata")) == (False, 0, [], False)
    assert (now.condition, now.shelf_id) == (pb.CONDITION_LOST, "s")


@pytest.mark.parametrize(
    ("paths", "sent", "reason", "facts"),
    [
        (["created_at"], {}, "MASK_INVALID", {"path": "created_at", "kind": "output_only"}),
        (["shelf_id"], {"shelf_id": "s"}, "MASK_INVALID", {"path": "shelf_id", "kind": "immutable"}),
        ([], {"shelf_id": "other", "title": "x"}, "MASK_INVALID", {"path": "shelf_id", "kind": "immutable"}),
        (["*"], {"isbn": "new", "title": "x"}, "MASK_INVALID", {"path": "isbn", "kind": "immutable"}),
        (["nothing"], {}, "MASK_INVALID", {"path": "nothing", "kind": "unknown"}),
        ([], {}, "MASK_INVALID", {"path": "", "kind": "empty"}),
        (["title"], {"title": ""}, "FIELD_INVALID", {}),
        (["*"], {"pages": 1}, "FIELD_INVALID", {}),
        (["title"], {"title": "x", "etag": "7"}, "ETAG_STALE", {"etag": "1"}),
        (["title"], {"title": "x", "etag": "x" * 5000}, "ETAG_STALE", {"etag": "1"}),
        (["title"], {"title": "x", "id": "none"}, "RECORD_NOT_FOUND", {"id": "none"}),
        ([], {"title": "x", "shelf_id": "s", "id": "none"}, "RECORD_NOT_FOUND", {"id": "none"}),
        (["title"], {"title": "x", "id": ""}, "FIELD_INVALID", {}),
    ],
)
async def test_an_update_that_cannot_be_is_refused_and_changes_nothing(
    books: Any, paths: list[str], sent: dict[str, Any], reason: str, facts: dict[str, str]
) -> None:
    made = await create(books, id="b")
    request = pb.UpdateBookRequest(book=pb.Book(**({"id": "b"} | sent)), update_mask=FieldMask(paths=paths))
    told, metadata, _ = await refusal(books.UpdateBook(request))
    assert (told, {key: metadata.get(key) for key in facts}) == (reason, facts)
    assert await books.GetBook(pb.GetBookRequest(id="b")) == made


@pytest.mark.parametrize(
    ("fields", "reason", "named"),
    [
        ({"title": "", "shelf_id": ""}, "FIELD_INVALID", ["book.shelf_id", "book.title"]),
        ({"title": "a\0b"}, "FIELD_INVALID", ["book.title"]),
        ({"condition": 77}, "FIELD_INVALID", ["book.condition"]),
        ({"weight": float("nan")}, "FIELD_INVALID", ["book.weight"]),
        ({"id": "a\nb"}, "FIELD_INVALID", ["book.id"]),
        ({"id": "x" * 513}, "FIELD_INVALID", ["book.id"]),
        ({"shelf_id": "none"}, "REFERENCE_MISSING", []),
        ({"id": "b"}, "RECORD_EXISTS", []),
        ({"isbn": "1"}, "RECORD_EXISTS", []),
    ],
)
async def test_a_record_that_cannot_be_created_is_refused_by_its_fields(
    books: Any, fields: dict[str, Any], reason: str, named: list[str]
) -> None:
    await create(books, id="b", isbn="1")
    told, _, violations = await refusal(create(books, **fields))
    assert (told, violations) == (reason, named)


async def test_what_only_the_server_sets_is_passed_over_at_creation(books: Any) -> None:
    made = await create(books, borrower="me", created_at={"seconds": 5}, etag="9")
    assert (made.HasField("borrower"), made.etag) == (False, "1")
    assert made.created_at.seconds != 5


async def test_repetitions_with_a_request_id_are_told_the_first_answer(books: Any) -> None:
    made = await create(books, request_id="c")
    assert await create(books, request_id="c") == made
    with fails(C.INVALID_ARGUMENT, "REQUEST_ID_REUSED"):
        await create(books, "other", request_id="c")
    change = pb.UpdateBookRequest(book=pb.Book(id=made.id, title="u", etag="1"), request_id="u")
    assert await books.UpdateBook(change) == await books.UpdateBook(change)
    gone = pb.DeleteBookRequest(id=made.id, request_id="d")
    assert await books.DeleteBook(gone) == await books.DeleteBook(gone)
    batch = pb.BatchCreateBooksRequest(
        requests=[pb.CreateBookRequest(book=pb.Book(shelf_id="s", title="x"))] * 3, request_id="b"
    )
    assert await books.BatchCreateBooks(batch) == await books.BatchCreateBooks(batch)
    assert len((await books.ListBooks(pb.ListBooksRequest())).books) == 3


async def test_a_parent_that_is_referred_to_stays(books: Any) -> None:
    await create(books)
    with fails(C.FAILED_PRECONDITION, "RECORD_REFERENCED"):
        await books.DeleteShelf(pb.DeleteShelfRequest(id="s"))


async def test_zones_know_nothing_of_each_others_records(books: Any) -> None:
    made = await create(books, id="b")
    other = (("quartet-zone", "other"),)
    with fails(C.NOT_FOUND, "RECORD_NOT_FOUND"):
        await books.GetBook(pb.GetBookRequest(id="b"), metadata=other)
    with fails(C.NOT_FOUND, "RECORD_NOT_FOUND"):
        await books.UpdateBook(pb.UpdateBookRequest(book=pb.Book(id="b", title="u")), metadata=other)
    with fails(C.NOT_FOUND, "RECORD_NOT_FOUND"):
        await books.DeleteBook(pb.DeleteBookRequest(id="b"), metadata=other)
    with fails(C.NOT_FOUND, "RECORD_NOT_FOUND"):
        await books.BatchGetBooks(pb.BatchGetBooksRequest(ids=["b"]), metadata=other)
    with fails(C.FAILED_PRECONDITION, "REFERENCE_MISSING"):
        await books.CreateBook(pb.CreateBookRequest(book=pb.Book(shelf_id="s", title="t")), metadata=other)
    assert not (await books.ListBooks(pb.ListBooksRequest(), metadata=other)).books
    assert await books.GetBook(pb.GetBookRequest(id="b")) == made


async def test_a_list_selects_by_columns_filter_and_order(books: Any) -> None:
    for number in range(6):
        await create(books, f"t{number}", id=f"{number}", pages=number % 2, lent=number < 3, condition=number % 3 + 1)

    async def listed(**asked: Any) -> list[str]:
        return [one.id for one in (await books.ListBooks(pb.ListBooksRequest(**asked))).books]

    assert await listed() == list("012345")
    assert await listed(shelf_id="s", pages=1) == list("135")
    assert await listed(shelf_id="other") == []
    assert await listed(lent=False) == list("345")
    assert await listed(condition=pb.CONDITION_LOST) == list("25")
    assert await listed(subtitle="") == []  # `optional`, and none has an empty one
    assert await listed(filter="pages = 0 title != t2", order_by="title desc") == list("40")
    first = await books.ListBooks(pb.ListBooksRequest(lent=True, page_size=2))
    assert [one.id for one in first.books] == list("01")
    rest = await books.ListBooks(pb.ListBooksRequest(lent=True, page_size=2, page_token=first.next_page_token))
    assert ([one.id for one in rest.books], rest.next_page_token) == (["2"], "")


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"filter": "title ="}, "FILTER_INVALID"),
        ({"filter": "titel = x"}, "COLUMN_UNKNOWN"),
        ({"filter": "cover = x"}, "COLUMN_UNUSABLE"),
        ({"filter": "pages = x"}, "FILTER_TYPE_MISMATCH"),
        ({"order_by": "tags"}, "COLUMN_UNUSABLE"),
        ({"order_by": "-title"}, "FIELD_INVALID"),
        ({"page_size": 1001}, "FIELD_INVALID"),
        ({"page_token": "x"}, "PAGE_TOKEN_INVALID"),
        ({"condition": 77}, "FIELD_INVALID"),
        ({"shelf_id": "a\0"}, "FIELD_INVALID"),
    ],
)
async def test_a_list_that_cannot_be_says_why(books: Any, asked: dict[str, Any], reason: str) -> None:
    assert (await refusal(books.ListBooks(pb.ListBooksRequest(**asked))))[0] == reason


async def test_a_batch_is_created_whole_or_not_at_all(books: Any) -> None:
    def batch(*titles: str, **fields: Any) -> Any:
        return pb.BatchCreateBooksRequest(
            requests=[
                pb.CreateBookRequest(book=pb.Book(**({"shelf_id": "s", "title": one} | fields))) for one in titles
            ]
        )

    made = (await books.BatchCreateBooks(batch("a", "b", "c"))).books
    assert [one.title for one in made] == ["a", "b", "c"]
    assert (await books.BatchCreateBooks(batch())).books == []
    assert await refusal(books.BatchCreateBooks(batch("a", ""))) == ("FIELD_INVALID", {}, ["requests[1].book.title"])
    assert await refusal(books.BatchCreateBooks(batch("a", "b\0"))) == (
        "FIELD_INVALID", {"index": "1"}, ["requests[1].book.title"],
    )  # fmt: skip
    reason, facts, _ = await refusal(books.BatchCreateBooks(batch("a", "b", isbn="same")))
    assert (reason, facts["index"]) == ("RECORD_EXISTS", "1")
    assert len((await books.ListBooks(pb.ListBooksRequest())).books) == 3


async def test_a_batch_of_records_comes_in_the_order_of_its_ids(books: Any) -> None:
    for name in "abc":
        await create(books, id=name)
    found = (await books.BatchGetBooks(pb.BatchGetBooksRequest(ids=["c", "a", "c"]))).books
    assert [one.id for one in found] == ["c", "a", "c"]
    assert (await refusal(books.BatchGetBooks(pb.BatchGetBooksRequest(ids=["a", "x"]))))[0] == "RECORD_NOT_FOUND"
    reason, _, fields = await refusal(books.BatchGetBooks(pb.BatchGetBooksRequest(ids=["a", ""])))
    assert (reason, fields) == ("FIELD_INVALID", ["ids[1]"])


async def test_a_batch_that_is_too_large_is_refused_with_its_limit(books: Any) -> None:
    told = await refusal(books.BatchGetBooks(pb.BatchGetBooksRequest(ids=["a"] * 1001)))
    assert (told[0], told[1]["limit"], told[1]["found"], told[2]) == ("BATCH_TOO_LARGE", "1000", "1001", ["ids"])
    many = pb.BatchCreateBooksRequest(requests=[pb.CreateBookRequest(book=pb.Book(shelf_id="s", title="t"))] * 1001)
    told = await refusal(books.BatchCreateBooks(many))
    assert (told[0], told[2]) == ("BATCH_TOO_LARGE", ["requests"])
    await create(books, id="large", subtitle="x" * 1_000_000)
    told = await refusal(books.BatchGetBooks(pb.BatchGetBooksRequest(ids=["large"] * 4)))
    assert (told[0], told[1]["field"]) == ("BATCH_TOO_LARGE", "ids")


async def test_a_request_id_inside_of_a_batch_is_refused(books: Any) -> None:
    one = pb.CreateBookRequest(book=pb.Book(shelf_id="s", title="t"), request_id="r")
    told = await refusal(books.BatchCreateBooks(pb.BatchCreateBooksRequest(requests=[one])))
    assert (told[0], told[2]) == ("FIELD_INVALID", ["requests[0].request_id"])


async def test_a_record_is_named_by_a_key_of_several_columns(books: Any) -> None:
    made = await books.CreateCopy(pb.CreateCopyRequest(copy=pb.Copy(book_id="b", number=0, note="x")))
    assert await books.GetCopy(pb.GetCopyRequest(book_id="b", number=0)) == made
    with fails(C.NOT_FOUND, "RECORD_NOT_FOUND"):
        await books.GetCopy(pb.GetCopyRequest(book_id="b", number=1))
    assert list((await books.ListCopies(pb.ListCopiesRequest(order_by="number desc"))).copies) == [made]
