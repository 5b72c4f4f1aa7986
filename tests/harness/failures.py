"""What a failed call says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status


def reason_of(error: grpc.aio.AioRpcError) -> str:
    """Return the reason in an error's details."""
    return str(info_of(error).reason)


def info_of(error: grpc.aio.AioRpcError) -> ErrorInfo:
    """Return what an error's details say; empty where they say nothing."""
    info = ErrorInfo()
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin" and isinstance(value, bytes):
            for detail in Status.FromString(value).details:
                if detail.Unpack(info):
                    return info
    return info


@contextmanager
def fails(code: grpc.StatusCode, reason: str) -> Iterator[None]:
    """Demand that the block raises an error of this code and reason."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        yield
    assert (caught.value.code(), reason_of(caught.value)) == (code, reason), caught.value.details()
