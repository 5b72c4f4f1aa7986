"""The error tree: every reason has one class, one status code, one documented value."""

from __future__ import annotations

import json
import re
from pathlib import Path

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status
from quartet.errors.v1.errors_pb2 import ErrorReason
from quartet_server import errors
from quartet_server.rpc.status import from_metastore, to_status

from raftmeta.errors import Fault, MetastoreError

ROOT = Path(__file__).parents[2]
LEAVES = list(errors.leaves())
PROTO = (ROOT / "protos/quartet/errors/v1/errors.proto").read_text()
CODES = grpc.StatusCode


def _named(leaf: type[errors.QuartetError]) -> str:
    return leaf.__name__


def test_every_reason_of_the_proto_has_exactly_one_class() -> None:
    names = [name.removeprefix("ERROR_REASON_") for name in ErrorReason.keys()]  # noqa: SIM118 - an enum wrapper
    assert names[0] == "UNSPECIFIED"
    assert sorted(names[1:]) == sorted(leaf.reason for leaf in LEAVES)


@pytest.mark.parametrize("leaf", LEAVES, ids=_named)
def test_a_reason_is_well_formed_and_its_class_is_drawn_in_the_tree(leaf: type[errors.QuartetError]) -> None:
    assert re.fullmatch(r"[A-Z][A-Z0-9_]{1,61}[A-Z0-9]", leaf.reason)  # google.rpc.ErrorInfo's own rule
    assert leaf.__doc__
    assert re.search(rf"\b{leaf.__name__}\b", errors.__doc__ or "")


@pytest.mark.parametrize("leaf", LEAVES, ids=_named)
def test_the_proto_documents_the_code_and_an_example_of_each_reason(leaf: type[errors.QuartetError]) -> None:
    comment = re.search(rf"((?:  //.*\n)+)  ERROR_REASON_{leaf.reason} = \d+;", PROTO)
    assert comment is not None
    text = comment.group(1)
    assert f"ERROR_REASON_{leaf.reason} ({leaf.code.name}):" in text
    example = re.search(r"//     (\{.*\})", text)
    assert example is not None
    info = json.loads(example.group(1))
    assert info["reason"] == leaf.reason
    assert info["domain"] == "quartet.dev"
    ErrorInfo(**info)


def test_no_reason_is_unknown_and_only_one_is_internal() -> None:
    codes = [leaf.code for leaf in LEAVES]
    assert CODES.UNKNOWN not in codes
    assert codes.count(CODES.INTERNAL) == 1
    assert set(codes) == set(CODES) - {CODES.OK, CODES.UNKNOWN}


def test_a_status_carries_the_reason_the_facts_the_hint_and_every_violation() -> None:
    error = errors.FieldInvalid("two fields", violations={"a": "empty", "b": "long"}, hint="read", retry_after=1.5, n=3)
    status = to_status(error)
    info, bad = ErrorInfo(), BadRequest()
    assert status.details[0].Unpack(info)
    assert (info.reason, info.domain) == ("FIELD_INVALID", "quartet.dev")
    assert dict(info.metadata) == {"n": "3", "hint": "read"}
    assert status.details[1].Unpack(bad)
    assert [(v.field, v.description) for v in bad.field_violations] == [("a", "empty"), ("b", "long")]


def test_details_stay_below_the_metadata_limit_of_peers_whatever_the_request_was() -> None:
    many = {f"entries[{i}].{'x' * 5_000}": "y" * 5_000 for i in range(1_000)}
    status = to_status(errors.FieldInvalid("z" * 100_000, violations=many))
    assert status.ByteSize() < 6_000
    info = ErrorInfo()
    assert status.details[0].Unpack(info)
    assert info.metadata["violations"] == "1000"
    assert Status.FromString(status.SerializeToString()) == status


OURS = {
    Fault.EMPTY_KEY,
    Fault.KEY_NOT_FOUND,
    Fault.VALUE_PROVIDED,
    Fault.LEASE_PROVIDED,
    Fault.DUPLICATE_KEY,
    Fault.INVALID_SORT_OPTION,
    Fault.INVALID_CLIENT_API_VERSION,
    Fault.LEASE_TTL_TOO_LARGE,
    Fault.LEASE_EXISTS,
}


@pytest.mark.parametrize("fault", Fault)
def test_a_fault_of_the_store_becomes_a_leaf_and_internal_only_when_a_service_asked_nonsense(fault: Fault) -> None:
    error = from_metastore(MetastoreError(fault))
    assert error.reason
    assert isinstance(error, errors.InternalFault) == (fault in OURS)
    assert "etcdserver" not in error.message or fault in OURS


@pytest.mark.parametrize(
    "fault",
    [fault for fault in Fault if "timed out" in fault.text and fault is not Fault.TIMEOUT_WAIT_APPLIED]
    + [Fault.STOPPED, Fault.LEADER_CHANGED],
)
def test_a_write_that_may_have_happened_says_so(fault: Fault) -> None:
    assert isinstance(from_metastore(MetastoreError(fault)), errors.OutcomeUnknown)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (CODES.UNAVAILABLE, errors.OutcomeUnknown),
        (CODES.DEADLINE_EXCEEDED, errors.OutcomeUnknown),
        (CODES.UNAUTHENTICATED, errors.MetastoreUnreachable),
        (CODES.PERMISSION_DENIED, errors.MetastoreUnreachable),
        (CODES.RESOURCE_EXHAUSTED, errors.TooManyRequests),
        (CODES.UNKNOWN, errors.InternalFault),
    ],
)
def test_what_an_external_store_says_in_its_own_words_goes_by_its_code(
    code: grpc.StatusCode, kind: type[errors.QuartetError]
) -> None:
    assert type(from_metastore(MetastoreError(None, code, "words"))) is kind
