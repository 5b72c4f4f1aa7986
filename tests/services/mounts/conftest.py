"""A node with a local disk of its own, and two more directories that may be mounted."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio
from harness import s3
from quartet import AsyncClient
from quartet_server.config import Config, Objects, Serve
from quartet_server.node import RunningNode
from quartet_server.objects.contract import BlobStore


@dataclass
class Mounting:
    """A node that may be restarted, and a client of it.

    Attributes:
        directory: What it keeps is in `node`, what may be mounted in `stores`.
        allowed: What its configuration lists.
    """

    directory: Path
    allowed: str
    node: RunningNode = field(init=False)
    client: AsyncClient = field(init=False)

    async def start(self) -> None:
        """Start the node."""
        serve = Serve(data_dir=self.directory / "node", listen="127.0.0.1:0", listen_http="")
        self.node = await RunningNode.start(Config(serve=serve, objects=Objects(mounts=self.allowed)))
        await self.node.wait_ready()
        self.client = AsyncClient(str(self.node.address))

    async def stop(self) -> None:
        """Stop it."""
        await self.client.close()
        await self.node.stop()

    def url(self, name: str) -> str:
        """A place of a store on the disk."""
        return (self.directory / "stores" / name).as_uri()

    @property
    def own(self) -> BlobStore:
        """The node's stores of blobs, by address."""
        assert self.node.blobs is not None
        return self.node.blobs


@pytest.fixture(scope="session")
def bucket() -> Callable[[], str]:
    """Makes the URL of an empty bucket."""
    return lambda: f"s3://{s3.new_bucket()}/some/prefix"


@pytest_asyncio.fixture(loop_scope="session")
async def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Mounting]:
    """A node with nothing mounted."""
    for name, value in s3.ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    mounting = Mounting(tmp_path, f"{(tmp_path / 'stores').as_uri()},memory://,s3://,{s3.endpoint()}")
    await mounting.start()
    yield mounting
    await mounting.stop()


@pytest.fixture(scope="session", autouse=True)
def no_server_left() -> Iterator[None]:
    """End the S3 server with the tests."""
    yield
    s3.stop()
