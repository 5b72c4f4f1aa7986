"""Quartet's Python client: `Client` and `AsyncClient`."""

from quartet._aio_client import AsyncClient
from quartet._client import Client
from quartet._digests import Digest
from quartet._errors import (
    AlreadyExists,
    CallError,
    Cancelled,
    ConfigurationError,
    Conflict,
    DataLoss,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    OutOfRange,
    PermissionDenied,
    QuartetError,
    ResourceExhausted,
    ServerFault,
    Unauthenticated,
    Unavailable,
    Unimplemented,
)
from quartet._options import TLS
from quartet.files.v1.files_pb2 import Attributes, CreateEntry, Entry

__all__ = [
    "TLS",
    "AlreadyExists",
    "AsyncClient",
    "Attributes",
    "CallError",
    "Cancelled",
    "Client",
    "ConfigurationError",
    "Conflict",
    "CreateEntry",
    "DataLoss",
    "DeadlineExceeded",
    "Digest",
    "Entry",
    "FailedPrecondition",
    "InvalidArgument",
    "NotFound",
    "OutOfRange",
    "PermissionDenied",
    "QuartetError",
    "ResourceExhausted",
    "ServerFault",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
]
