"""Parsed contents, for synchronous callers."""

from __future__ import annotations

from collections.abc import Mapping

from google.protobuf.duration_pb2 import Duration

from quartet._digests import Digest
from quartet._transport import Transport
from quartet.parsed.v1 import parsed_pb2 as pb


class Parsed:
    """What parsers made of files' bytes: a cache of the node that is called. All methods raise `quartet.CallError`."""

    def __init__(self, transport: Transport) -> None:
        """Call over `transport`."""
        self._transport = transport

    def get(self, digest: Digest | str, parser: str, parser_version: str) -> pb.GetParsedResponse | None:
        """Return what a version of a parser made of some bytes (HASH/SIZE); None when the node has nothing."""
        request = pb.GetParsedRequest(key=key_of(digest, parser, parser_version))
        answer = self._transport.call(lambda at: at.parsed.GetParsed, request, safe=True)
        return answer if answer.hit else None

    def put(
        self,
        digest: Digest | str,
        parser: str,
        parser_version: str,
        data: bytes,
        *,
        media_type: str = "",
        metadata: Mapping[str, str] | None = None,
        ttl: int | None = None,
        path: str = "",
    ) -> bool:
        """Keep what a parser made of some bytes, for `ttl` seconds at most (None: as the node is configured); tell whether it is kept.

        The zone must have the bytes: as a blob, or as the file at `path`.
        """
        request = pb.PutParsedRequest(
            key=key_of(digest, parser, parser_version),
            data=data,
            media_type=media_type,
            metadata=metadata or {},
            parsed_ttl=None if ttl is None else Duration(seconds=ttl),
            path=path,
        )
        return self._transport.call(lambda at: at.parsed.PutParsed, request, safe=True).stored

    def delete(self, digest: Digest | str, parser: str = "", parser_version: str = "") -> int:
        """Forget what was made of some bytes, by all parsers if none is named; return how many entries there were."""
        request = pb.DeleteParsedRequest(key=key_of(digest, parser, parser_version))
        return self._transport.call(lambda at: at.parsed.DeleteParsed, request, safe=True).deleted


def key_of(digest: Digest | str, parser: str, parser_version: str) -> pb.ParsedKey:
    """Return the name of an entry."""
    return pb.ParsedKey(digest=Digest.named(digest).message, parser=parser, parser_version=parser_version)
