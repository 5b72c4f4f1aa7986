"""GetTree: directories as blobs, sent with the bytes that their digests are of."""

from __future__ import annotations

import grpc
import pytest
from harness.rpc import failure
from harness.wire import Wire, digest
from quartet.wire.reapi import cas_pb2 as pb
from quartet.wire.reapi import tree_pb2
from quartet_server.objects.digest import Digest
from quartet_server.objects.wire.batches import BATCH_BYTES

pytestmark = pytest.mark.asyncio(loop_scope="session")

CODES = grpc.StatusCode


def directory(**children: tree_pb2.Directory) -> tree_pb2.Directory:
    nodes = [tree_pb2.DirectoryNode(name=name, digest=digest(of(one))) for name, one in sorted(children.items())]
    return tree_pb2.Directory(directories=nodes)


def of(node: tree_pb2.Directory) -> bytes:
    return node.SerializeToString()


async def stored(wire: Wire, *nodes: tree_pb2.Directory) -> None:
    for node in nodes:
        await wire.blobs.put("default", of(node))


async def tree(wire: Wire, root: bytes, page_size: int = 0, token: str = "") -> list[pb.GetTreeResponse]:
    request = pb.GetTreeRequest(root_digest=digest(root), page_size=page_size, page_token=token)
    return [page async for page in wire.cas.GetTree(request)]


def named(*names: str) -> tree_pb2.Directory:
    return tree_pb2.Directory(files=[tree_pb2.FileNode(name=name, digest=digest(b"")) for name in names])


def grown(width: int) -> list[tree_pb2.Directory]:
    """A tree of two levels: the root, `width` directories, and one below each of them."""
    leaves = [named(f"f{i:03}") for i in range(width)]
    middle = [directory(leaf=leaf) for leaf in leaves]
    root = directory(**{f"d{i:03}": one for i, one in enumerate(middle)})
    return [root, *middle, *leaves]


async def test_every_directory_comes_once_and_after_its_parent(wire: Wire) -> None:
    leaf, twin = named("x"), tree_pb2.Directory(symlinks=[tree_pb2.SymlinkNode(name="l", target="/anywhere")])
    middle = directory(leaf=leaf, twin=twin)
    root = directory(a=leaf, b=middle, c=middle)
    await stored(wire, leaf, twin, middle, root)
    pages = await tree(wire, of(root))
    assert [one for page in pages for one in page.directories] == [root, leaf, middle, twin]
    assert pages[-1].next_page_token == ""


async def test_an_empty_directory_is_always_there(wire: Wire) -> None:
    assert [list(page.directories) for page in await tree(wire, b"")] == [[tree_pb2.Directory()]]


async def test_directories_are_sent_with_the_bytes_that_were_kept(wire: Wire) -> None:
    odd = of(named("x")) + b"\xfa\x3f\x03odd" + of(tree_pb2.Directory(node_properties=tree_pb2.NodeProperties()))
    await wire.blobs.put("default", odd)
    method = "/build.bazel.remote.execution.v2.ContentAddressableStorage/GetTree"
    call = wire.channel.unary_stream(method, pb.GetTreeRequest.SerializeToString, bytes)
    [page] = [page async for page in call(pb.GetTreeRequest(root_digest=digest(odd)))]
    assert odd in page


@pytest.mark.parametrize("page_size", [1, 2, 7, 1000])
async def test_a_stream_that_broke_off_goes_on_after_any_page(wire: Wire, page_size: int) -> None:
    every = grown(10)
    await stored(wire, *every)
    pages = await tree(wire, of(every[0]), page_size)
    found = [one for page in pages for one in page.directories]
    assert sorted(map(of, found)) == sorted(map(of, every))
    assert all(len(page.directories) <= page_size for page in pages)
    for at, page in enumerate(pages[:-1]):
        rest = await tree(wire, of(every[0]), page_size, page.next_page_token)
        assert rest == pages[at + 1 :]


async def test_what_is_missing_below_the_root_is_left_out(wire: Wire) -> None:
    leaf, lost = named("x"), named("y")
    root = directory(a=leaf, b=lost)
    await stored(wire, leaf, root)
    assert [one for page in await tree(wire, of(root)) for one in page.directories] == [root, leaf]


async def test_a_root_that_is_missing_is_not_found(wire: Wire) -> None:
    got = await failure(wire.cas.GetTree(pb.GetTreeRequest(root_digest=digest(b"nothing"))))
    assert got.info is not None
    assert (got.code, got.info.reason) == (CODES.NOT_FOUND, "BLOB_NOT_FOUND")


@pytest.mark.parametrize(
    "bad",
    [
        b"\xff\xff no message",
        of(named("b", "a")),
        of(named("a", "a")),
        of(named("a/b")),
        of(named("..")),
        of(named(".")),
        of(named("")),
        of(named("a\0b")),
        of(tree_pb2.Directory(files=named("a").files, symlinks=[tree_pb2.SymlinkNode(name="a", target="t")])),
        of(tree_pb2.Directory(directories=[tree_pb2.DirectoryNode(name="a")])),
    ],
    ids=range(10),
)
async def test_what_is_no_canonical_directory_is_refused_at_any_depth(wire: Wire, bad: bytes) -> None:
    above = tree_pb2.Directory(directories=[tree_pb2.DirectoryNode(name="bad", digest=digest(bad))])
    await wire.blobs.put("default", bad)
    await stored(wire, above)
    for root in (bad, of(above)):
        got = await failure(wire.cas.GetTree(pb.GetTreeRequest(root_digest=digest(root))))
        assert got.code is CODES.INVALID_ARGUMENT
        assert got.info is not None
        assert got.info.reason == "FIELD_INVALID"


async def test_names_are_sorted_by_their_bytes(wire: Wire) -> None:
    root = named("Z", "a", "z", "\u00e9", "\ufb01", "\U0001f600")
    await stored(wire, root)
    assert [list(page.directories) for page in await tree(wire, of(root))] == [[root]]


@pytest.mark.parametrize("token", ["x", "0-" + "0" * 16, "1-" + "0" * 16, "99999999999-" + "0" * 16, "-1-" + "0" * 16])
async def test_a_token_of_another_tree_is_refused(wire: Wire, token: str) -> None:
    await stored(wire, named("a"))
    request = pb.GetTreeRequest(root_digest=digest(of(named("a"))), page_token=token)
    got = await failure(wire.cas.GetTree(request))
    assert got.info is not None
    assert (got.code, got.info.reason) == (CODES.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID")


async def test_a_token_beyond_the_end_and_a_negative_page_are_refused(wire: Wire) -> None:
    await stored(wire, named("a"))
    root = digest(of(named("a")))
    beyond = pb.GetTreeRequest(root_digest=root, page_token=f"5-{root.hash[:16]}")
    assert (await failure(wire.cas.GetTree(beyond))).code is CODES.INVALID_ARGUMENT
    got = await failure(wire.cas.GetTree(pb.GetTreeRequest(root_digest=root, page_size=-1)))
    assert (got.code, list(got.violations)) == (CODES.INVALID_ARGUMENT, ["page_size"])


async def test_pages_fit_into_messages_and_a_directory_that_does_not_is_told(wire: Wire) -> None:
    large = [named(f"{i}" + "n" * 1_500_000) for i in range(4)]
    root = directory(**{f"d{i}": one for i, one in enumerate(large)})
    await stored(wire, root, *large)
    pages = await tree(wire, of(root))  # the client takes 4 MiB
    assert [one for page in pages for one in page.directories] == [root, *large]
    huge = named("n" * BATCH_BYTES)
    await stored(wire, huge)
    got = await failure(wire.cas.GetTree(pb.GetTreeRequest(root_digest=digest(of(huge)))))
    assert got.info is not None
    assert (got.code, got.info.reason) == (CODES.RESOURCE_EXHAUSTED, "LIMIT_REACHED")


async def test_directories_that_name_one_another_in_a_circle_cannot_be_made_so_a_twin_ends_the_walk(wire: Wire) -> None:
    twin = named("x")
    root = directory(**{f"d{i:03}": twin for i in range(500)})
    await stored(wire, twin, root)
    assert sum(len(page.directories) for page in await tree(wire, of(root))) == 2
    assert await wire.blobs.missing("default", [Digest.of(of(twin))]) == []
