"""Settings and flags: read, written under conditions, listed, watched."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc
import pytest
from harness.failures import fails
from quartet.settings.v1 import settings_pb2 as pb

if TYPE_CHECKING:
    from quartet.settings.v1.settings_pb2_grpc import SettingsServiceAsyncStub

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_setting_is_read_as_it_was_written(settings: SettingsServiceAsyncStub) -> None:
    made = await settings.SetSetting(pb.SetSettingRequest(name="a/b.c-d_1", value="v", description="why"))
    read = await settings.GetSetting(pb.GetSettingRequest(name="a/b.c-d_1"))
    assert read == made
    assert (read.value, read.sensitive, read.description) == ("v", False, "why")
    await settings.DeleteSetting(pb.DeleteSettingRequest(name="a/b.c-d_1", etag=read.etag))
    with fails(grpc.StatusCode.NOT_FOUND, "SETTING_NOT_FOUND"):
        await settings.GetSetting(pb.GetSettingRequest(name="a/b.c-d_1"))


async def test_a_flag_is_read_as_it_was_written(settings: SettingsServiceAsyncStub) -> None:
    made = await settings.SetFlag(pb.SetFlagRequest(name="f", enabled=True, description="why"))
    assert await settings.GetFlag(pb.GetFlagRequest(name="f")) == made
    with fails(grpc.StatusCode.NOT_FOUND, "SETTING_NOT_FOUND"):
        await settings.GetSetting(pb.GetSettingRequest(name="f"))
    await settings.DeleteFlag(pb.DeleteFlagRequest(name="f"))
    with fails(grpc.StatusCode.NOT_FOUND, "SETTING_NOT_FOUND"):
        await settings.DeleteFlag(pb.DeleteFlagRequest(name="f"))


@pytest.mark.parametrize(
    ("etag", "exists", "stale"),
    [
        ("", False, False),
        ("", True, False),
        ("0", False, False),
        ("0", True, True),
        ("1", False, True),
        ("1", True, True),
    ],
)
async def test_an_etag_demands_which_write_was_the_last(
    settings: SettingsServiceAsyncStub, etag: str, exists: bool, stale: bool
) -> None:
    if exists:
        await settings.SetSetting(pb.SetSettingRequest(name="n", value="1"))
    request = pb.SetSettingRequest(name="n", value="2", etag=etag)
    if stale:
        with fails(grpc.StatusCode.ABORTED, "ETAG_STALE"):
            await settings.SetSetting(request)
    else:
        made = await settings.SetSetting(request)
        await settings.SetSetting(pb.SetSettingRequest(name="n", value="3", etag=made.etag))


async def test_of_writers_with_the_same_etag_one_wins(settings: SettingsServiceAsyncStub) -> None:
    results = await asyncio.gather(
        *(settings.SetFlag(pb.SetFlagRequest(name="f", enabled=True, etag="0", description=str(i))) for i in range(6)),
        return_exceptions=True,
    )
    assert sum(isinstance(result, pb.Flag) for result in results) == 1


async def test_a_repeated_write_happens_once(settings: SettingsServiceAsyncStub) -> None:
    for sensitive in (False, True):
        request = pb.SetSettingRequest(name="n", value="1", sensitive=sensitive, request_id=f"r{sensitive}")
        first = await settings.SetSetting(request)
        await settings.SetSetting(pb.SetSettingRequest(name="n", value="2"))
        assert await settings.SetSetting(request) == first
        assert (await settings.GetSetting(pb.GetSettingRequest(name="n"))).value == "2"


@pytest.mark.parametrize(
    "request_",
    [
        pb.SetSettingRequest(name=""),
        pb.SetSettingRequest(name="A"),
        pb.SetSettingRequest(name="1a"),
        pb.SetSettingRequest(name="a" * 256),
        pb.SetSettingRequest(name="a b"),
        pb.SetSettingRequest(name="a", value="v" * 65_537),
        pb.SetSettingRequest(name="a", description="d" * 1025),
    ],
)
async def test_what_breaks_a_limit_is_refused(
    settings: SettingsServiceAsyncStub, request_: pb.SetSettingRequest
) -> None:
    with fails(grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID"):
        await settings.SetSetting(request_)


async def test_lists_come_in_pages_by_prefix(settings: SettingsServiceAsyncStub) -> None:
    for i in range(5):
        await settings.SetSetting(pb.SetSettingRequest(name=f"a/{i}", value=str(i), sensitive=i == 3))
        await settings.SetFlag(pb.SetFlagRequest(name=f"b/{i}", enabled=bool(i % 2)))
    found, token = [], ""
    while True:
        page = await settings.ListSettings(pb.ListSettingsRequest(prefix="a/", page_size=2, page_token=token))
        found += [(setting.name, setting.value) for setting in page.settings]
        token = page.next_page_token
        if not token:
            break
    assert found == [("a/0", "0"), ("a/1", "1"), ("a/2", "2"), ("a/3", "********"), ("a/4", "4")]
    flags = await settings.ListFlags(pb.ListFlagsRequest())
    assert [(flag.name, flag.enabled) for flag in flags.flags] == [(f"b/{i}", bool(i % 2)) for i in range(5)]
    first = await settings.ListSettings(pb.ListSettingsRequest(prefix="a/", page_size=2))
    for wrong in ("?", first.next_page_token):
        with fails(grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID"):
            await settings.ListSettings(pb.ListSettingsRequest(prefix="a", page_token=wrong))


async def test_a_watcher_is_told_of_both_and_of_nothing_else(settings: SettingsServiceAsyncStub) -> None:
    call = settings.Watch(pb.WatchRequest(prefix="a"))
    stream = aiter(call)
    async with asyncio.timeout(20):
        await anext(stream)
        await settings.SetSetting(pb.SetSettingRequest(name="b", value="x"))
        made = await settings.SetSetting(pb.SetSettingRequest(name="a", value="secret", sensitive=True))
        await settings.SetFlag(pb.SetFlagRequest(name="a", enabled=True))
        await settings.DeleteSetting(pb.DeleteSettingRequest(name="a"))
        await settings.DeleteFlag(pb.DeleteFlagRequest(name="a"))
        told = [await anext(stream) for _ in range(4)]
    assert list(told[0].settings) == [made]
    assert told[0].settings[0].value == "********"
    assert [flag.enabled for flag in told[1].flags] == [True]
    assert list(told[2].deleted_settings) == ["a"]
    assert list(told[3].deleted_flags) == ["a"]
    again = aiter(settings.Watch(pb.WatchRequest(prefix="a", start_revision=told[2].revision)))
    async with asyncio.timeout(20):
        await anext(again)
        assert await anext(again) == told[2]


async def test_a_page_ends_before_it_is_longer_than_a_message(settings: SettingsServiceAsyncStub) -> None:
    for i in range(70):
        await settings.SetSetting(pb.SetSettingRequest(name=f"n{i:02}", value="v" * 65_536))
    found: list[str] = []
    request = pb.ListSettingsRequest()
    while not found or request.page_token:
        page = await settings.ListSettings(request)
        found += [setting.name for setting in page.settings]
        request.page_token = page.next_page_token
    assert found == [f"n{i:02}" for i in range(70)]


async def test_a_token_of_settings_is_none_of_flags(settings: SettingsServiceAsyncStub) -> None:
    for name in ("a", "b"):
        await settings.SetSetting(pb.SetSettingRequest(name=name))
    token = (await settings.ListSettings(pb.ListSettingsRequest(page_size=1))).next_page_token
    with fails(grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID"):
        await settings.ListFlags(pb.ListFlagsRequest(page_token=token))
