"""Pages of events, by what they have in common."""

from __future__ import annotations

from quartet.events.v1 import reading_pb2 as pb

from quartet_server.events.schema import EVENTS
from quartet_server.events.scope import conditions
from quartet_server.records import filtering, paging
from quartet_server.records.contract import Session

NEWEST_FIRST = "timestamp desc"


def list_events(session: Session, request: pb.ListEventsRequest) -> pb.ListEventsResponse:
    """Return a page of events. Raises FieldInvalid, PageTokenInvalid, and what filters raise."""
    same = pb.ListEventsRequest(scope=request.scope, filter=request.filter)
    found, token = paging.encoded_page(
        session,
        EVENTS,
        conditions=[*conditions(request.scope, session.zone), filtering.where(EVENTS, request.filter)],
        order_by=request.order_by or NEWEST_FIRST,
        page_size=request.page_size,
        page_token=request.page_token,
        seal=same.SerializeToString(deterministic=True).hex(),
    )
    return paging.answer(pb.ListEventsResponse, "events", found, token)
