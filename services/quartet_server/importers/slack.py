"""Exports of Slack, a zip file or what was in it: channels, dialogues, threads, reactions, files."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from quartet_server.importers import times
from quartet_server.importers.archives import Archive, opened
from quartet_server.importers.contract import Kind, Options, Reader
from quartet_server.importers.documents import each_value
from quartet_server.importers.faults import Faults, UnfitError, WrongKindError
from quartet_server.importers.imessage import media
from quartet_server.importers.items import Attached, Event, Json, Party
from quartet_server.importers.text import NAME, clean, cut, fit_id, kept, name, parse

_WHAT = "an export of Slack: the zip file, or the directory with its users.json and channels.json"
_KINDS = {"channels.json": "channel", "groups.json": "channel", "mpims.json": "group", "dms.json": "dm"}
_DAY = re.compile(r"\d{4}-\d\d-\d\d\.json")
_STAMP = re.compile(r"\d{1,12}\.\d{1,9}")
_LINK = re.compile(r"<([^<>]{1,4000})>")
_MEMBERSHIP = {
    "channel_join": "added", "channel_leave": "removed", "group_join": "added", "group_leave": "removed",
    "channel_archive": "archived", "channel_unarchive": "unarchived", "channel_name": "renamed", "channel_topic": "topic",
    "channel_purpose": "purpose", "group_archive": "archived", "group_name": "renamed", "group_topic": "topic",
}  # fmt: skip
_MOST = 1000


@dataclass(frozen=True, slots=True)
class Channel:
    """A conversation.

    Attributes:
        folder: Where its days are.
        kind: channel, group or dm.
        members: Ids of users.
    """

    id: str
    folder: str
    title: str
    kind: str
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Team:
    """Who and what an export speaks of.

    Attributes:
        names: What users are called, by id.
        channels: What channels are called, by id.
        mine: Ids of the owner's users.
    """

    names: dict[str, str]
    channels: dict[str, str]
    mine: frozenset[str]


def readers(path: Path, options: Options, faults: Faults) -> Iterator[Reader]:
    """Return a reader for each conversation."""
    archive = opened(path, _WHAT)
    if not any(archive.has(one) for one in ("users.json", *_KINDS)):
        raise WrongKindError(f"{path} has neither users.json nor channels.json", f"expected {_WHAT}")
    channels = _channels(archive, faults)
    team = _team(archive, channels, options, faults)
    for channel in channels:
        yield ChannelReader(f"slack:{path.absolute()}:{channel.id}", archive, channel, team, faults)


def _listed(archive: Archive, name_: str, faults: Faults) -> list[dict[str, Any]]:
    if not archive.has(name_):
        return []
    try:
        value = parse(archive.read(name_), name_)
    except (ValueError, OSError) as error:
        faults.add(name_, error)
        return []
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _channels(archive: Archive, faults: Faults) -> list[Channel]:
    """Return the conversations that are listed, and those that have a folder and are not."""
    found: dict[str, Channel] = {}
    for file, kind in _KINDS.items():
        for one in _listed(archive, file, faults):
            id_, title = clean(one.get("id")), clean(one.get("name"))
            folder = title if title in archive.folders else id_
            if id_ and folder in archive.folders:
                members = one.get("members")
                listed = tuple(clean(m) for m in members if isinstance(m, str)) if isinstance(members, list) else ()
                found[folder] = Channel(name(id_, 100), folder, title or id_, kind, listed)
    for folder in sorted(archive.folders - set(found)):
        if any(_DAY.fullmatch(day) for day in archive.folders_files(folder)):
            found[folder] = Channel(fit_id(folder, 100), folder, folder, "channel", ())
    return list(found.values())


def _team(archive: Archive, channels: list[Channel], options: Options, faults: Faults) -> Team:
    names: dict[str, str] = {}
    mine = set()
    for user in _listed(archive, "users.json", faults):
        id_ = clean(user.get("id"))
        profile = _dict(user.get("profile"))
        known = [
            clean(one)
            for one in (profile.get("display_name"), profile.get("real_name"), user.get("real_name"), user.get("name"))
        ]
        names[id_] = next((one for one in known if one), id_)
        if {id_.lower(), clean(user.get("name")).lower(), clean(profile.get("email")).lower()} & options.me:
            mine.add(id_)
    return Team(names, {channel.id: channel.title for channel in channels}, frozenset(mine))


class ChannelReader:
    """Reads the days of a conversation, and goes on at the last that an earlier run read."""

    def __init__(self, name: str, archive: Archive, channel: Channel, team: Team, faults: Faults) -> None:
        """Read `channel`."""
        self._name, self._archive, self._channel, self._team, self._faults = name, archive, channel, team, faults
        self._days = [day for day in archive.folders_files(channel.folder) if _DAY.fullmatch(day)]
        self._sizes = [archive.size(f"{channel.folder}/{day}") for day in self._days]
        self._from = self._done = 0

    @property
    def name(self) -> str:
        """The export's path and the conversation."""
        return self._name

    @property
    def size(self) -> int:
        """Bytes of all days."""
        return sum(self._sizes)

    @property
    def position(self) -> int:
        """Bytes read."""
        return sum(self._sizes[: self._done])

    def resume(self, mark: str) -> None:
        """Begin with the day of the mark: an export may have been made in its middle."""
        self._from = self._done = sum(day < mark for day in self._days) if _DAY.fullmatch(mark) else 0

    def mark(self) -> str:
        """Return the last day that is read."""
        return self._days[self._done - 1] if self._done else ""

    def close(self) -> None:
        """Nothing stays open."""

    def read(self) -> Iterator[Event]:
        """Yield messages and reactions."""
        each: Callable[[Any], Iterator[Event]] = partial(
            events, channel=self._channel, team=self._team, faults=self._faults
        )
        for day in self._days[self._from :]:
            file = f"{self._channel.folder}/{day}"
            try:
                with self._archive.open(file) as stream:
                    yield from each_value(stream, file, self._faults, each)
            except (OSError, ValueError) as error:
                self._faults.add(file, error)
            self._done += 1


def events(message: Any, channel: Channel, team: Team, faults: Faults) -> Iterator[Event]:
    """Yield a message, and the reactions to it. Raises UnfitError."""
    if not isinstance(message, dict):
        raise UnfitError("it is no JSON object")
    if message.get("type", "message") != "message" or message.get("subtype") == "tombstone":
        faults.skip()
        return
    stamp = message.get("ts")
    if not isinstance(stamp, str) or not _STAMP.fullmatch(stamp):
        raise UnfitError("it has no ts")
    seconds, _, fraction = stamp.partition(".")
    when = times.unix(int(seconds)) + int((fraction + "000000")[:6])
    author, shown = _author(message, team)
    subtype = clean(message.get("subtype"))
    root = clean(message.get("thread_ts"))
    conversation = fit_id(f"slack:{channel.id}", NAME)
    answered = root if root and root != stamp else ""
    threaded = bool(answered or message.get("reply_count") or message.get("replies"))
    kind = "membership" if subtype in _MEMBERSHIP else "message"
    metadata: dict[str, Json] = kept(
        {
            "subtype": subtype,
            "author": shown,
            "thread_name": channel.title,
            "is_group": channel.kind != "dm",
            "thread_ts": root,
            "in_channel": channel.id if threaded else "",
            "edited": _dict(message.get("edited")).get("ts"),
            "action": _MEMBERSHIP.get(subtype),
            "client_msg_id": message.get("client_msg_id"),
            "bot_id": message.get("bot_id"),
        }
    )
    mine = author in team.mine
    yield Event(
        source="slack",
        source_id=fit_id(f"{channel.id}:{stamp}"),
        timestamp=when,
        direction="outbound" if mine else "observed" if kind == "membership" else "inbound",
        type=kind,
        from_channel="slack",
        from_identifier=author,
        to=[Party("slack", channel.id, name=channel.title), *_mentioned(message)],
        content=cut(_said(message, team), metadata),
        thread_id=fit_id(f"slack:{channel.id}:{root or stamp}", NAME) if threaded else conversation,
        reply_to=f"slack:{fit_id(f'{channel.id}:{answered}')}" if answered else "",
        attachments=_files(message),
        metadata=metadata,
    )
    for reaction in _dicts(message.get("reactions")):
        yield from _reactions(reaction, channel, team, stamp, when)


def _author(message: dict[str, Any], team: Team) -> tuple[str, str]:
    user = name(message.get("user")) or name(message.get("bot_id")) or name(message.get("username"))
    profile = _dict(message.get("user_profile"))
    shown = team.names.get(user) or clean(profile.get("display_name")) or clean(profile.get("real_name"))
    return user, shown or clean(message.get("username"))


def _reactions(reaction: dict[str, Any], channel: Channel, team: Team, stamp: str, when: int) -> Iterator[Event]:
    """Yield one event for each who reacted: an export does not say when, so it was when the message was written."""
    word, users = name(reaction.get("name"), 100), reaction.get("users")
    for user in (users if isinstance(users, list) else [])[:_MOST]:
        who = name(user, 100)
        if word and who:
            yield Event(
                source="slack",
                source_id=fit_id(f"{channel.id}:{stamp}:{word}:{who}"),
                timestamp=when,
                direction="outbound" if who in team.mine else "inbound",
                type="reaction",
                from_channel="slack",
                from_identifier=who,
                to=[Party("slack", channel.id, name=channel.title)],
                content=f":{word}:",
                thread_id=fit_id(f"slack:{channel.id}", NAME),
                reply_to=f"slack:{fit_id(f'{channel.id}:{stamp}')}",
                metadata=kept({"author": team.names.get(who), "action": "added", "time_of_message": True}),
            )


def _said(message: dict[str, Any], team: Team) -> str:
    """Return a message's text; of one that has only attachments, what stands for them."""
    text = message.get("text")
    if not isinstance(text, str) or not text.strip():
        fallbacks = (one.get("fallback") or one.get("text") for one in _dicts(message.get("attachments")))
        text = "\n".join(one for one in fallbacks if isinstance(one, str))
    return clean(html.unescape(_LINK.sub(partial(_link, team=team), clean(text))))


def _link(match: re.Match[str], team: Team) -> str:
    target, _, label = match[1].partition("|")
    if target[:1] == "@":
        return "@" + (label or team.names.get(target[1:], target[1:]))
    if target[:1] == "#":
        return "#" + (label or team.channels.get(target[1:], target[1:]))
    if target[:1] == "!":
        return "@" + (label.removeprefix("@") or target[1:].partition("^")[0])
    return f"{label} ({target})" if label and label not in target else target


def _mentioned(message: dict[str, Any]) -> list[Party]:
    ids = re.findall(r"<@([A-Z0-9]{1,40})", clean(message.get("text")))
    return [Party("slack", one, role="mentioned") for one in dict.fromkeys(ids)][:_MOST]


def _files(message: dict[str, Any]) -> list[Attached]:
    found = []
    for one in _dicts(message.get("files")):
        if (id_ := name(one.get("id"))) and one.get("mode") != "tombstone":
            size, mime = one.get("size"), name(one.get("mimetype"))
            found.append(
                Attached(
                    id=id_,
                    mime=mime,
                    filename=clean(one.get("name")),
                    size=size if isinstance(size, int) and 0 <= size < 1 << 53 else None,
                    url=clean(one.get("permalink") or one.get("url_private")),
                    metadata=kept({"title": one.get("title"), "media_type": media(mime)}),
                )
            )
    return found


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _dicts(value: object) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)][:_MOST] if isinstance(value, list) else []


SLACK = Kind("slack", _WHAT, readers)
