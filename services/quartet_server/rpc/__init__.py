"""What every call passes through on its way to a service: request id, zone, deadline, metrics, errors."""

from quartet_server.rpc.call import DEFAULT_ZONE, Call, current_call, current_zone

__all__ = ["DEFAULT_ZONE", "Call", "current_call", "current_zone"]
