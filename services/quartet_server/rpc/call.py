"""What a service may know about the call it is serving: its zone, its request id, its method."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass

DEFAULT_ZONE = "default"
REQUEST_ID_KEY = "quartet-request-id"


@dataclass(frozen=True, slots=True)
class Call:
    """The call being served.

    Attributes:
        method: Full gRPC method name, `/package.Service/Method`.
        request_id: Given by the caller in the metadata `quartet-request-id`, else drawn here; it is on every log line
            of the call and returned in the trailing metadata. For tracing only: it does not make a write idempotent.
        zone: Validated name of the zone the caller acts in, which the caller may name. Empty for a call of the Remote
            Execution API that must say its zone as instance name, because nothing else says it.
    """

    method: str
    request_id: str
    zone: str = DEFAULT_ZONE


_call: ContextVar[Call] = ContextVar("quartet_call")


def current_call() -> Call:
    """Return the call being served; raises LookupError outside of one."""
    return _call.get()


def current_zone() -> str:
    """Return the zone of the call being served, 1 to 63 characters; raises LookupError outside of a call."""
    return _call.get().zone


def serving() -> Call | None:
    """Return the call being served, or None outside of one."""
    return _call.get(None)


def enter(call: Call) -> None:
    """Make `call` the current one for this task and the tasks it starts; each call is served in a task of its own."""
    _call.set(call)
