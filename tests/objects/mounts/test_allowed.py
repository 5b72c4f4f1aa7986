"""What may be mounted: one spelling of a place, nothing that the configuration does not list, nothing that holds other things."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from quartet_server.errors import FieldInvalid, MountRefused
from quartet_server.objects.mounts.addresses import address, parsed
from quartet_server.objects.mounts.allowed import Allowed, normal, overlap


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/", "s3://bucket"),
        ("gs://b/p/q//", "gs://b/p/q"),
        ("az://container/p", "az://container/p"),
        ("file:///srv/blobs/", "file:///srv/blobs"),
        ("memory://x", "memory://x"),
    ],
)
def test_a_place_has_one_spelling(url: str, told: str) -> None:
    assert normal(url) == told


@pytest.mark.parametrize(
    "url",
    [
        "", "s3:", "s3://", "s3:///p", "http://host/", "bucket-memory://x", "S3://bucket", "file://host/srv", "file:///",
        "file://", "file:///srv/../etc", "file:///srv/./x", "s3://b/a//b", "s3://key:secret@bucket/p", "s3://b/p?region=x",
        "s3://b/%2e%2e/x", "s3://b/\x00", "s3://b/p#x", "s3://b\\p", "s3://b/p q", "s3://.b", "s3://" + "b" * 300,
        "file:///" + "x" * 1100, "memory://", "s3://b/é",
    ],
)  # fmt: skip
def test_what_is_no_place_of_a_store_is_refused(url: str) -> None:
    with pytest.raises(FieldInvalid) as caught:
        normal(url)
    assert list(caught.value.violations) == ["url"]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.text(max_size=60) | st.builds("{}://{}".format, st.sampled_from(["s3", "file", "gs", "x"]), st.text(max_size=40))
)
def test_any_text_is_a_place_that_stays_the_same_or_a_mistake(text: str) -> None:
    try:
        told = normal(text)
    except FieldInvalid:
        return
    assert normal(told) == told
    assert "@" not in told
    assert ".." not in told.split("/")


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        ("s3://b", "s3://b", True),
        ("s3://b/p", "s3://b", True),
        ("s3://b", "s3://b/p/q", True),
        ("s3://b/p", "s3://b/pq", False),
        ("s3://b", "gs://b", False),
    ],
)
def test_places_that_share_something_are_told_from_those_that_do_not(one: str, other: str, together: bool) -> None:
    assert overlap(one, other) is together


@pytest.mark.parametrize(
    ("listed", "url", "endpoint", "allowed"),
    [
        ("", "s3://b", "", False),
        ("s3://", "s3://b/p", "", True),
        ("s3://b", "s3://b", "", True),
        ("s3://b", "s3://b/p", "", True),
        ("s3://b", "s3://bb", "", False),
        ("s3://b/p/", "s3://b/p", "", True),
        ("s3://b/p", "s3://b", "", False),
        ("gs://b, s3://c", "s3://c", "", True),
        ("s3://b", "gs://b", "", False),
        ("s3://b", "s3://b", "http://169.254.169.254", False),
        ("s3://b,http://10.0.0.1:9000", "s3://b", "http://10.0.0.1:9000", True),
        ("s3://b,http://10.0.0.1:9000", "s3://b", "http://10.0.0.1:9001", False),
        ("s3://b", "s3://b", "http://own:9000", True),
    ],
)
def test_only_what_is_listed_may_be_mounted(listed: str, url: str, endpoint: str, allowed: bool) -> None:
    policy = Allowed.of(listed, "http://own:9000", Path("/nowhere"))
    if allowed:
        policy.check(url, endpoint)
        return
    with pytest.raises(MountRefused):
        policy.check(url, endpoint)


@pytest.mark.parametrize("listed", ["bucket", "ftp://x", "s3:/b"])
def test_a_list_that_names_no_places_is_refused(listed: str) -> None:
    with pytest.raises(FieldInvalid):
        Allowed.of(listed, "", Path("/nowhere"))


def test_a_directory_is_below_what_is_listed_once_links_are_resolved_and_holds_nothing_else(tmp_path: Path) -> None:
    root, own = tmp_path / "root", tmp_path / "root" / "node"
    policy = Allowed.of(root.as_uri(), "", own)
    for path in (root / "fine", own / "inside", tmp_path / "elsewhere", root / "full"):
        path.mkdir(parents=True)
    (root / "full" / "thesis.txt").write_text("precious")
    (root / "file").write_text("x")
    (root / "link").symlink_to(tmp_path / "elsewhere")
    (root / "again").symlink_to(root / "fine")
    (root / "used" / "packs").mkdir(parents=True)
    assert policy.folder((root / "fine").as_uri()) == root / "fine"
    assert policy.folder((root / "new" / "one").as_uri()) == root / "new" / "one"
    assert policy.folder((root / "again").as_uri()) == root / "fine"
    assert policy.folder((root / "used").as_uri()) == root / "used"
    for name in ("link", "full", "file", "node", "node/inside", "."):
        with pytest.raises(MountRefused):
            policy.folder(f"{root.as_uri()}/{name}")


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.from_regex(r"[a-z][a-z0-9-]{0,62}", fullmatch=True), st.integers(0, 2**63))
def test_an_address_names_a_zone_and_a_store(zone: str, number: int) -> None:
    assert parsed(address(zone, number)) == (zone, number)
    assert parsed(zone) == (zone, 0)
