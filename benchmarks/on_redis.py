"""The same tree on Redis: a hash of entries per directory, a string per inode and per parent pointer, a script per verb."""

from __future__ import annotations

from collections.abc import Sequence

from resp import Redis
from systems import System
from trees import INODE, PAGE, Tree, split

_DIRECTORY = "local d = redis.call('HGET', 'root', ARGV[1]) if not d then return redis.error_reply('no directory') end "
_CREATE = """
for k = 3, #ARGV do
  if redis.call('HEXISTS', 'd' .. d, ARGV[k]) == 1 then return redis.error_reply('it exists') end
  local i = redis.call('INCR', 'next')
  redis.call('HSET', 'd' .. d, ARGV[k], i)
  redis.call('MSET', 'i' .. i, ARGV[2], 'p' .. i, d .. '/' .. ARGV[k])
end return #ARGV - 2"""
_STAT = """
local found = {}
for k = 2, #ARGV do found[k - 1] = redis.call('GET', 'i' .. redis.call('HGET', 'd' .. d, ARGV[k])) end
return found"""
_RENAME = """
local i, e = redis.call('HGET', 'd' .. d, ARGV[2]), redis.call('HGET', 'root', ARGV[3])
if not i or redis.call('HEXISTS', 'd' .. e, ARGV[4]) == 1 then return redis.error_reply('it cannot move') end
redis.call('HDEL', 'd' .. d, ARGV[2]) redis.call('HSET', 'd' .. e, ARGV[4], i)
redis.call('SET', 'p' .. i, e .. '/' .. ARGV[4]) return 1"""
_REMOVE = """
local i = redis.call('HGET', 'd' .. d, ARGV[2])
redis.call('HDEL', 'd' .. d, ARGV[2]) return redis.call('DEL', 'i' .. i, 'p' .. i)"""
_MKDIR = "local i = redis.call('INCR', 'next') return redis.call('HSET', 'root', ARGV[1], i)"
_VALUE = INODE.SerializeToString()


class OnRedis(Tree):
    """Each verb is one script, which Redis runs as one transaction."""

    def __init__(self, system: System) -> None:
        """Use the server of `system`."""
        self._redis = Redis(system.endpoints[0])
        self._scripts: dict[str, bytes] = {}

    async def close(self) -> None:
        """See Tree."""
        await self._redis.close()

    async def _run(self, script: str, *words: str | bytes) -> object:
        if script not in self._scripts:
            name = await self._redis.call("SCRIPT", "LOAD", _DIRECTORY + script)
            assert isinstance(name, bytes)
            self._scripts[script] = name
        return await self._redis.call("EVALSHA", self._scripts[script], "0", *words)

    async def mkdir(self, directory: str) -> None:
        """See Tree."""
        await self._redis.call("EVAL", _MKDIR, "0", directory)

    async def create(self, path: str) -> None:
        """See Tree."""
        await self.create_many([path])

    async def create_many(self, paths: Sequence[str]) -> None:
        """See Tree."""
        done = await self._run(_CREATE, split(paths[0])[0], _VALUE, *(split(path)[1] for path in paths))
        assert done == b"%d" % len(paths)

    async def stat(self, path: str) -> None:
        """See Tree."""
        await self.stat_many([path])

    async def stat_many(self, paths: Sequence[str]) -> None:
        """See Tree."""
        found = await self._run(_STAT, split(paths[0])[0], *(split(path)[1] for path in paths))
        assert isinstance(found, list)
        for value in found:
            assert INODE.FromString(value).attributes.owner == INODE.attributes.owner

    async def list(self, directory: str) -> int:
        """See Tree."""
        ino = await self._redis.call("HGET", "root", directory)
        assert isinstance(ino, bytes)
        found = await self._redis.call("HGETALL", b"d" + ino)
        assert isinstance(found, list)
        return min(len(found) // 2, PAGE)

    async def rename(self, source: str, destination: str) -> None:
        """See Tree."""
        await self._run(_RENAME, *split(source), *split(destination))

    async def remove(self, path: str) -> None:
        """See Tree."""
        assert await self._run(_REMOVE, *split(path)) == b"2"
