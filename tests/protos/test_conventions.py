"""The AIPs that protos/README.md says we follow, checked on descriptors."""

from __future__ import annotations

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)
from harness.protos import Method

READS = (
    "BatchGet",
    "BatchRead",
    "BatchStat",
    "Check",
    "Count",
    "Diff",
    "Get",
    "List",
    "Read",
    "Resolve",
    "Search",
    "Stat",
    "Status",
    "Tail",
    "Watch",
    "AgentOverview",
    "AgentUsage",
    "Aggregate",
    "Board",
    "Dashboard",
    "ExecutionView",
    "Find",
    "Latest",
    "Query",
    "RepoMap",
    "TaskGraph",
)
UNPAGED = {
    "quartet.files.v1.FileService.ListXattrs": "an entry has at most 64 of them",
    "quartet.mounts.v1.MountService.ListMounts": "a zone has at most 64 of them",
    "quartet.ops.v1.OpsService.ListBackfills": "jobs are in the code and counted in tens",
    "quartet.cluster.v1.ClusterService.ListZones": "an operator's call; tenants are counted in tens",
}
SAFE_TWICE = {
    "quartet.files.v1.FileService.WriteStream": "the request id is in the header, the first message of the stream",
    "quartet.files.v1.FileService.SetPrincipalRoot": "a second one sets the same root",
    "quartet.files.v1.FileService.RemovePrincipalRoot": "a second one finds nothing to remove",
    "quartet.files.v1.FileService.SetQuota": "a second one sets the same limits",
    "quartet.files.v1.FileService.RemoveQuota": "a second one finds no quota and says so",
    "quartet.files.v1.FileService.RenewLock": "a second renewal gives a lock its full time as the first did",
    "quartet.versions.v1.VersionService.DeleteVersions": "versions that are gone cannot be deleted again",
    "quartet.versions.v1.VersionService.SetRetention": "a second one sets the same retention",
    "quartet.versions.v1.VersionService.RemoveRetention": "a second one finds no retention to remove",
    "quartet.versions.v1.VersionService.CollectVersions": "a second one finds what the first one left",
    "quartet.maintenance.v1.MaintenanceService.Collect": "a second round finds what the first one left",
    "quartet.maintenance.v1.MaintenanceService.Adopt": "who owns a store alone can adopt it again",
    "quartet.objects.v1.ObjectService.PutStream": "the digest of the bytes makes a second put the same put",
    "quartet.objects.v1.ObjectService.Pin": "the pin's id, which its caller chooses, makes a second pin the same pin",
    "quartet.objects.v1.ObjectService.Unpin": "a pin that is gone cannot end again",
    "quartet.objects.v1.ObjectService.Delete": "a blob that is gone cannot be deleted again",
    "quartet.objects.peers.v1.PeerService.Put": "the digests of the bytes make a second put the same put",
    "quartet.objects.peers.v1.PeerService.Write": "the digest of the bytes makes a second write the same write",
    "quartet.objects.peers.v1.PeerService.Missing": "a second hit is a hit",
    "quartet.objects.peers.v1.PeerService.Hold": "a second hit is a hit",
    "quartet.objects.peers.v1.PeerService.Delete": "a blob that is gone cannot be deleted again",
    "quartet.objects.peers.v1.PeerService.Condemn": "what is condemned stays so, with its time",
    "quartet.objects.peers.v1.PeerService.Sweep": "a blob that is gone cannot be deleted again",
    "quartet.files.v1.FileService.EmptyTrash": "what a repetition gives up was named, or is as old as what it named",
    "quartet.cluster.v1.ClusterService.CreateJoinToken": "a second token expires as the first does",
    "quartet.cluster.v1.ClusterService.Join": "the node's name makes a second join the same join",
    "quartet.cluster.v1.ClusterService.Leave": "who has left cannot leave again",
    "quartet.cluster.v1.ClusterService.TransferLeadership": "whoever leads already need not take over",
    "quartet.cluster.v1.ClusterService.CreateZone": "the zone's name makes a second creation an ALREADY_EXISTS",
    "quartet.cluster.v1.ClusterService.MoveZone": "a zone that moves to a node already does, or is there",
    "quartet.cluster.v1.ClusterService.StopZoneMove": "a zone that stays cannot be stopped again",
    "quartet.cluster.peers.v1.TransferService.BeginTransfer": "what was deleted is gone",
    "quartet.cluster.peers.v1.TransferService.StoreRows": "rows that are there by their keys stay as they are",
    "quartet.cluster.peers.v1.TransferService.SumRows": "it only reads",
    "quartet.ops.v1.OpsService.Ping": "it only answers",
    "quartet.ops.v1.OpsService.Health": "it only looks",
    "quartet.ops.v1.OpsService.DescribeSchema": "it only reads",
    "quartet.ops.v1.OpsService.Backup": "a second backup is a backup",
    "quartet.ops.v1.OpsService.Restore": "a second one waits for the next start in the place of the first",
    "quartet.ops.v1.OpsService.Backfill": "jobs can be done again, and say so",
    "quartet.mounts.v1.MountService.Unmount": "a mount that is gone is not found again",
    "quartet.agents.v1.AgentService.ImportSessions": "the idempotency key makes a second import the same import",
    "quartet.agents.v1.AgentService.ImportSessionChunk": "the upload, and the part's place in it, make it the same part",
    "quartet.parsed.v1.ParsedService.PutParsed": "a second put keeps the same entry",
    "quartet.parsed.v1.ParsedService.DeleteParsed": "an entry that is gone cannot be forgotten again",
    "quartet.events.v1.EventService.Append": "an event of the same source id again is a duplicate and changes nothing",
    "quartet.events.v1.EventService.AppendEach": "an event of the same source id again is a duplicate and changes nothing",
    "quartet.events.v1.EventService.AppendBatches": "an event of the same source id again is a duplicate",
    "quartet.events.v1.EventService.BatchAppend": "an event of the same source id again is a duplicate",
    "quartet.events.v1.EventService.Rebuild": "a second one finds what the first one has mended",
    "quartet.projects.v1.ProjectService.Heartbeat": "a second beat is a beat",
    "quartet.settings.v1.SettingsService.RotateKey": "a second rotation is one key more and no value less",
}
"""Calls that need no request id, and why a repetition does no harm."""


def is_read(method: Method) -> bool:
    return method.verb.startswith(READS)


def types(message: DescriptorProto) -> dict[str, int]:
    return {field.name: field.type for field in message.field}


def enums(own: list[FileDescriptorProto]) -> list[EnumDescriptorProto]:
    def inside(message: DescriptorProto) -> list[EnumDescriptorProto]:
        return [*message.enum_type, *(enum for nested in message.nested_type for enum in inside(nested))]

    quartet = [file for file in own if file.package.startswith("quartet.")]
    return [e for file in quartet for e in (*file.enum_type, *(e for m in file.message_type for e in inside(m)))]


def test_lists_take_a_page_size_and_a_page_token_and_answer_with_the_next_one(methods: list[Method]) -> None:
    """AIP-158."""
    lists = [method for method in methods if method.verb.startswith("List") and method.name not in UNPAGED]
    assert lists
    for method in lists:
        asked, answered = types(method.request), types(method.response)
        assert asked.get("page_size") == FieldDescriptorProto.TYPE_INT32, method.name
        assert asked.get("page_token") == FieldDescriptorProto.TYPE_STRING, method.name
        assert answered.get("next_page_token") == FieldDescriptorProto.TYPE_STRING, method.name
        repeated = [f for f in method.response.field if f.label == FieldDescriptorProto.LABEL_REPEATED]
        assert len(repeated) == 1, method.name


def test_what_is_not_paged_answers_with_no_token(methods: list[Method]) -> None:
    for method in methods:
        if method.name in UNPAGED:
            assert "next_page_token" not in types(method.response), f"{method.name} pages: take it off the list"


def test_every_call_that_changes_something_takes_a_request_id(methods: list[Method]) -> None:
    """AIP-155: a write that timed out may have happened; with the same id it is safe to send again."""
    missing = [
        method.name
        for method in methods
        if not is_read(method)
        and method.name not in SAFE_TWICE
        and types(method.request).get("request_id") != FieldDescriptorProto.TYPE_STRING
    ]
    assert missing == []


def test_reads_take_no_request_id(methods: list[Method]) -> None:
    assert [method.name for method in methods if is_read(method) and "request_id" in types(method.request)] == []


def test_updates_name_the_fields_they_change(methods: list[Method]) -> None:
    """AIP-134 and AIP-161."""
    for method in methods:
        if method.verb.startswith("Update"):
            masks = [field.type_name for field in method.request.field if field.name == "update_mask"]
            assert masks == [".google.protobuf.FieldMask"], method.name


def test_batches_take_and_return_repeated_fields(methods: list[Method]) -> None:
    """AIP-231 and AIP-233."""
    for method in methods:
        if method.verb.startswith("Batch"):
            for message in (method.request, method.response):
                repeated = [f for f in message.field if f.label == FieldDescriptorProto.LABEL_REPEATED]
                assert repeated, f"{method.name}: {message.name}"


def test_the_first_value_of_an_enum_says_that_nothing_was_said(own: list[FileDescriptorProto]) -> None:
    """AIP-126."""
    assert enums(own)
    for enum in enums(own):
        assert enum.value[0].number == 0, enum.name
        assert enum.value[0].name.endswith("_UNSPECIFIED"), enum.name


def test_points_in_time_are_timestamps_and_spans_are_durations_or_named_by_unit(own: list[FileDescriptorProto]) -> None:
    """AIP-142."""
    for file in own:
        if not file.package.startswith("quartet.") or ".storage." in file.package:
            continue
        for message in file.message_type:
            for field in message.field:
                name = f"{file.package}.{message.name}.{field.name}"
                if field.name.endswith("_time"):
                    assert field.type_name == ".google.protobuf.Timestamp", name
                if field.name.endswith(("_timeout", "_ttl", "_age", "_duration")):
                    assert field.type_name == ".google.protobuf.Duration", name


def test_etags_are_strings(own: list[FileDescriptorProto]) -> None:
    """AIP-154."""
    for file in own:
        for message in file.message_type:
            for field in message.field:
                if field.name in ("etag", "if_match", "if_none_match"):
                    assert field.type == FieldDescriptorProto.TYPE_STRING, f"{message.name}.{field.name}"


def test_every_exception_on_these_lists_still_exists(methods: list[Method]) -> None:
    names = {method.name for method in methods}
    assert sorted((UNPAGED.keys() | SAFE_TWICE.keys()) - names) == []
