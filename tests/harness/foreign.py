"""Databases as other programs keep them: small, made up, with the quirks of the real ones."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from pathlib import Path

APPLE = 978_307_200


def nanoseconds(unix: int) -> int:
    """Apple's count of a moment, as it is since High Sierra."""
    return (unix - APPLE) * 1_000_000_000


def attributed(text: str, *, mutable: bool = False) -> bytes:
    """An attributed string, serialised as macOS does."""
    data = text.encode()
    if len(data) < 0x80:
        length = bytes([len(data)])
    elif len(data) < 1 << 16:
        length = b"\x81" + len(data).to_bytes(2, "little")
    else:
        length = b"\x82" + len(data).to_bytes(4, "little")
    root = b"\x84\x84\x84\x12NSAttributedString\x00"
    kind = b"\x84\x84\x84\x08NSString\x01\x94"
    if mutable:
        root = b"\x84\x84\x84\x19NSMutableAttributedString\x00\x84\x84\x12NSAttributedString\x00"
        kind = b"\x84\x84\x84\x0fNSMutableString\x01\x84\x84\x08NSString\x01\x95"
    head = b"\x04\x0bstreamtyped\x81\xe8\x03\x84\x01@" + root + b"\x84\x84\x08NSObject\x00\x85\x92" + kind
    return head + b"\x84\x01+" + length + data + b"\x86\x84\x02iI\x01" + bytes([len(text) % 128]) + b"\x92\x84\x86"


def _made(path: Path, schema: str, rows: dict[str, Iterable[tuple[object, ...]]], *, wal: bool = False) -> Path:
    connection = sqlite3.connect(path)
    if wal:
        connection.execute("PRAGMA journal_mode = WAL")
    connection.executescript(schema)
    for table, values in rows.items():
        for row in values:
            connection.execute(f"INSERT INTO {table} VALUES ({','.join('?' * len(row))})", row)
    connection.commit()
    connection.close()
    return path


CHAT = """
CREATE TABLE message (ROWID INTEGER PRIMARY KEY AUTOINCREMENT, guid TEXT UNIQUE NOT NULL, text TEXT, attributedBody BLOB,
  handle_id INTEGER DEFAULT 0, date INTEGER, is_from_me INTEGER DEFAULT 0, type INTEGER DEFAULT 0, service TEXT,
  associated_message_guid TEXT, associated_message_type INTEGER DEFAULT 0, associated_message_emoji TEXT, reply_to_guid TEXT,
  thread_originator_guid TEXT, group_action_type INTEGER DEFAULT 0, other_handle INTEGER DEFAULT 0, group_title TEXT,
  item_type INTEGER DEFAULT 0, message_action_type INTEGER DEFAULT 0, destination_caller_id TEXT, date_edited INTEGER DEFAULT 0);
CREATE TABLE handle (ROWID INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, service TEXT);
CREATE TABLE chat (ROWID INTEGER PRIMARY KEY AUTOINCREMENT, guid TEXT, style INTEGER, chat_identifier TEXT, service_name TEXT,
  display_name TEXT);
CREATE TABLE attachment (ROWID INTEGER PRIMARY KEY AUTOINCREMENT, guid TEXT, created_date INTEGER, filename TEXT, uti TEXT,
  mime_type TEXT, transfer_name TEXT, total_bytes INTEGER, is_sticker INTEGER DEFAULT 0);
CREATE TABLE chat_message_join (chat_id INTEGER, message_id INTEGER, PRIMARY KEY (chat_id, message_id));
CREATE TABLE chat_handle_join (chat_id INTEGER, handle_id INTEGER);
CREATE TABLE message_attachment_join (message_id INTEGER, attachment_id INTEGER);
"""
_AT = 1_769_904_000


def chat_db(path: Path) -> Path:
    """A chat.db of macOS, in WAL mode as the real one: a dialogue and a group."""
    columns = [
        "ROWID",
        "guid",
        "text",
        "attributedBody",
        "handle_id",
        "date",
        "is_from_me",
        "type",
        "service",
        "associated_message_guid",
        "associated_message_type",
        "associated_message_emoji",
        "reply_to_guid",
        "thread_originator_guid",
        "group_action_type",
        "other_handle",
        "group_title",
        "item_type",
        "message_action_type",
        "destination_caller_id",
        "date_edited",
    ]

    def message(number: int, guid: str, **values: object) -> tuple[object, ...]:
        given: dict[str, object] = {"handle_id": 1, "date": nanoseconds(_AT + 60 * number), "service": "iMessage"}
        given |= dict.fromkeys(("is_from_me", "type", "associated_message_type", "group_action_type", "item_type"), 0)
        given |= {"ROWID": number, "guid": guid} | values
        return tuple(given.get(column) for column in columns)

    messages = [
        message(1, "G-1", text="Are you coming on Friday?"),
        message(
            2, "G-2", attributedBody=attributed("Yes, at seven 🚲"), is_from_me=1, handle_id=0, reply_to_guid="G-1"
        ),
        message(
            3, "G-3", associated_message_guid="p:0/G-2", associated_message_type=2000, text="Loved “Yes, at seven 🚲”"
        ),
        message(4, "G-4", associated_message_guid="p:0/G-2", associated_message_type=3000),
        message(5, "G-5", text="\ufffc", thread_originator_guid="G-1", reply_to_guid="G-2"),
        message(6, "G-6", text="Liked “Are you coming on Friday?”", service="SMS", handle_id=2),
        message(7, "G-7", item_type=1, group_action_type=1, other_handle=3, handle_id=2),
        message(
            8,
            "G-8",
            attributedBody=attributed("ä" * 70_000, mutable=True),
            handle_id=2,
            destination_caller_id="+4930111",
        ),
        message(9, "G-9", text="from before High Sierra", date=_AT - APPLE + 540),
        message(10, "G-10", text="when?", date=0),
        message(
            11, "G-11", associated_message_guid="bp:G-1", associated_message_type=2006, associated_message_emoji="🦋"
        ),
    ]
    joins = [(1 if number in (1, 2, 3, 4, 5, 9, 10, 11) else 2, number) for number in range(1, 12)]
    return _made(
        path,
        CHAT,
        {
            "handle": [(1, "+49301234567", "iMessage"), (2, "eve@example.org", "iMessage"), (3, "+33155", "SMS")],
            "chat": [
                (1, "iMessage;-;+49301234567", 45, "+49301234567", "iMessage", ""),
                (2, "iMessage;+;chat9", 43, "chat9", "iMessage", "Cycling"),
            ],
            "chat_handle_join": [(1, 1), (2, 1), (2, 2), (2, 3)],
            "chat_message_join": joins,
            "message": messages,
            "attachment": [
                (
                    1,
                    "A-1",
                    0,
                    "~/Library/Messages/Attachments/00/bike.heic",
                    "public.heic",
                    "image/heic",
                    "bike.heic",
                    2048,
                    0,
                )
            ],
            "message_attachment_join": [(5, 1)],
        },
        wal=True,
    )


AIX = """
CREATE TABLE sessions (id TEXT PRIMARY KEY, source TEXT NOT NULL, project TEXT, model TEXT, created_at INTEGER,
  message_count INTEGER, summary TEXT, raw_json TEXT);
CREATE TABLE messages (id TEXT PRIMARY KEY, session_id TEXT NOT NULL, role TEXT NOT NULL, content TEXT, sequence INTEGER NOT NULL,
  timestamp INTEGER, UNIQUE(session_id, sequence));
CREATE TABLE message_metadata (message_id TEXT PRIMARY KEY, metadata_json TEXT);
CREATE TABLE turns (id TEXT PRIMARY KEY, session_id TEXT, query_message_ids TEXT, response_message_id TEXT, timestamp INTEGER);
"""


def aix_db(path: Path) -> Path:
    """An aix.db: two sessions of Cursor and one of Codex, whose messages have no times."""
    at = _AT * 1000

    def tool(**values: object) -> str:
        return json.dumps(
            {"toolFormerData": {"name": "run_terminal_cmd", "status": "completed", "toolCallId": "call_1"} | values}
        )

    return _made(
        path,
        AIX,
        {
            "sessions": [
                ("s-1", "cursor", "shop", "gpt-5", at, 4, "Tests fail", "{}"),
                ("s-2", "cursor", None, "  ", at + 1, 1, None, "{}"),
                ("s-3", "codex", "shop", "o4-mini", at + 2, 1, None, "{}"),
            ],
            "messages": [
                ("m-1", "s-1", "user", "Why do the tests fail?", 1, at + 1000),
                ("m-2", "s-1", "user", " On Tuesdays only. ", 2, at + 1500),
                ("m-3", "s-1", "tool", "ran", 3, at + 2000),
                (
                    "m-4",
                    "s-1",
                    "assistant",
                    "<thinking>dates</thinking>A date is fixed.\n\n\n\nMend it with <b>freezegun</b>.",
                    4,
                    at + 3000,
                ),
                ("m-5", "s-2", "assistant", None, 1, at + 4000),
                ("m-6", "s-3", "user", "hello", 1, None),
                ("m-7", "gone", "user", "whose?", 1, at),
                ("m-8", "s-2", "user", "bad time", 2, "soon"),
            ],
            "message_metadata": [
                ("m-3", tool(params=json.dumps({"command": "pytest -q"}))),
                ("m-4", tool(status="cancelled", rawArgs={"command": "rm -r build"})),
                ("m-2", "{broken run_terminal_cmd"),
            ],
            "turns": [
                ("t-1", "s-1", json.dumps(["m-2", "m-1"]), "m-4", at + 3000),
                ("t-2", "s-2", "m-8", "m-5", at + 4000),
                ("t-3", "gone", "[]", None, at),
            ],
        },
    )


CORTEX = """
CREATE TABLE schema_version (version INTEGER PRIMARY KEY, applied_at INTEGER NOT NULL);
CREATE TABLE events (id TEXT PRIMARY KEY, timestamp INTEGER NOT NULL, channel TEXT NOT NULL, content_types TEXT NOT NULL,
  content TEXT, direction TEXT NOT NULL, thread_id TEXT, reply_to TEXT, source_adapter TEXT NOT NULL, source_id TEXT NOT NULL,
  metadata_json TEXT, UNIQUE(source_adapter, source_id));
CREATE INDEX idx_events_timestamp ON events(timestamp);
CREATE VIRTUAL TABLE events_fts USING fts5(event_id UNINDEXED, channel UNINDEXED, content, tokenize='porter unicode61');
CREATE TRIGGER events_fts_insert AFTER INSERT ON events BEGIN
  INSERT INTO events_fts(event_id, channel, content) VALUES (new.id, new.channel, COALESCE(new.content, ''));
END;
CREATE TRIGGER events_fts_delete AFTER DELETE ON events BEGIN DELETE FROM events_fts WHERE event_id = old.id; END;
CREATE TABLE persons (id TEXT PRIMARY KEY, canonical_name TEXT NOT NULL, display_name TEXT, is_me INTEGER DEFAULT 0,
  relationship_type TEXT, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL);
CREATE TABLE contacts (id TEXT PRIMARY KEY, display_name TEXT, source TEXT, created_at INTEGER, updated_at INTEGER);
CREATE TABLE contact_identifiers (id TEXT PRIMARY KEY, contact_id TEXT NOT NULL REFERENCES contacts(id) ON DELETE CASCADE,
  type TEXT NOT NULL, value TEXT NOT NULL, normalized TEXT NOT NULL, created_at INTEGER, last_seen_at INTEGER, UNIQUE(type, normalized));
CREATE TABLE event_participants (event_id TEXT NOT NULL REFERENCES events(id) ON DELETE CASCADE,
  contact_id TEXT NOT NULL REFERENCES contacts(id) ON DELETE CASCADE, role TEXT NOT NULL, PRIMARY KEY (event_id, contact_id, role));
CREATE INDEX idx_event_participants_event ON event_participants(event_id);
CREATE TABLE event_state (event_id TEXT PRIMARY KEY REFERENCES events(id) ON DELETE CASCADE, read_state TEXT NOT NULL DEFAULT 'unknown',
  flagged INTEGER NOT NULL DEFAULT 0, archived INTEGER NOT NULL DEFAULT 0, status TEXT NOT NULL DEFAULT 'sent', updated_at INTEGER NOT NULL);
CREATE TABLE event_tags (event_id TEXT NOT NULL REFERENCES events(id) ON DELETE CASCADE, tag TEXT NOT NULL,
  source TEXT NOT NULL DEFAULT 'system', created_at INTEGER NOT NULL, PRIMARY KEY (event_id, tag, source));
CREATE TABLE tags (id TEXT PRIMARY KEY, event_id TEXT NOT NULL REFERENCES events(id) ON DELETE CASCADE, tag_type TEXT NOT NULL,
  value TEXT NOT NULL, confidence REAL, source TEXT NOT NULL, created_at INTEGER NOT NULL);
CREATE TABLE threads (id TEXT PRIMARY KEY, channel TEXT NOT NULL, name TEXT, is_group INTEGER DEFAULT 0, source_adapter TEXT NOT NULL,
  source_id TEXT NOT NULL, parent_thread_id TEXT REFERENCES threads(id), created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL,
  UNIQUE(source_adapter, source_id));
CREATE TABLE attachments (id TEXT PRIMARY KEY, event_id TEXT NOT NULL REFERENCES events(id) ON DELETE CASCADE, filename TEXT,
  mime_type TEXT, size_bytes INTEGER, media_type TEXT, storage_uri TEXT, storage_type TEXT, content_hash TEXT, source_id TEXT,
  metadata_json TEXT, created_at INTEGER NOT NULL);
CREATE TABLE document_heads (doc_key TEXT PRIMARY KEY, channel TEXT NOT NULL, current_event_id TEXT NOT NULL REFERENCES events(id),
  content_hash TEXT NOT NULL, title TEXT, description TEXT, metadata_json TEXT, updated_at INTEGER NOT NULL,
  retrieval_count INTEGER NOT NULL DEFAULT 0, last_retrieved_at INTEGER);
CREATE TABLE retrieval_log (id TEXT PRIMARY KEY, doc_key TEXT REFERENCES document_heads(doc_key), event_id TEXT REFERENCES events(id),
  query_text TEXT, score REAL, retrieved_at INTEGER NOT NULL);
CREATE TABLE sync_watermarks (adapter TEXT PRIMARY KEY, last_sync_at INTEGER NOT NULL, last_event_id TEXT);
CREATE TABLE episode_definitions (id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, channel TEXT, strategy TEXT NOT NULL,
  config_json TEXT NOT NULL, description TEXT, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL);
CREATE TABLE episodes (id TEXT PRIMARY KEY, definition_id TEXT NOT NULL REFERENCES episode_definitions(id), channel TEXT,
  thread_id TEXT REFERENCES threads(id), start_time INTEGER NOT NULL, end_time INTEGER NOT NULL, event_count INTEGER NOT NULL,
  first_event_id TEXT, last_event_id TEXT, created_at INTEGER NOT NULL);
CREATE INDEX idx_episodes_thread ON episodes(thread_id);
CREATE TABLE episode_events ( -- which events, in which order
  episode_id TEXT NOT NULL REFERENCES episodes(id) ON DELETE CASCADE,
  event_id TEXT NOT NULL REFERENCES events(id) ON DELETE CASCADE, -- the ledger's, "events"
  position INTEGER NOT NULL CHECK (position > 0),
  PRIMARY KEY (episode_id, event_id)
);
CREATE INDEX idx_episode_events_event ON episode_events(event_id);
CREATE TABLE unattributed_facts (id TEXT PRIMARY KEY, fact_type TEXT NOT NULL, fact_value TEXT NOT NULL,
  shared_by_person_id TEXT, source_event_id TEXT, created_at INTEGER NOT NULL,
  CONSTRAINT by_whom FOREIGN KEY (shared_by_person_id) REFERENCES persons (id),
  CONSTRAINT told_in FOREIGN KEY (source_event_id) REFERENCES "events" ("id") ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE agent_sessions (id TEXT PRIMARY KEY, source TEXT NOT NULL, created_at INTEGER);
"""


def cortex_db(path: Path, more: int = 0) -> Path:
    """A cortex.db: five events of four adapters, what hangs on them, an episode; and `more` events of Cursor."""
    events: list[tuple[object, ...]] = [
        (
            "imessage:G-1",
            _AT,
            "imessage",
            '["text"]',
            "Are you coming?",
            "received",
            "imessage:+49301",
            None,
            "imessage",
            "G-1",
            None,
        ),
        (
            "imessage:G-2",
            _AT + 60,
            "imessage",
            '["text","attachment"]',
            "Yes",
            "sent",
            "imessage:+49301",
            "G-1",
            "imessage",
            "G-2",
            '{"service":"iMessage"}',
        ),
        (
            "imessage:G-3",
            _AT + 61,
            "imessage",
            '["reaction"]',
            "❤️",
            "received",
            "imessage:+49301",
            "imessage:G-2",
            "imessage",
            "G-3",
            None,
        ),
        (
            "gmail:M-1",
            _AT + 90,
            "gmail",
            '["text"]',
            "Subject: Hours\n\n9 to 5",
            "received",
            "T-1",
            None,
            "gmail",
            "M-1",
            None,
        ),
        ("skill-7", _AT + 95, "docs", '["document"]', None, "updated", None, None, "skills", "gog@7", "not json"),
        *(
            (
                f"cursor:m-{n}",
                _AT + 100 + n,
                "cursor",
                '["text"]',
                f"message {n}",
                "sent",
                "aix_session:s",
                None,
                "cursor",
                f"m-{n}",
                None,
            )
            for n in range(more)
        ),
    ]
    at = _AT
    return _made(
        path,
        CORTEX,
        {
            "schema_version": [(21, at)],
            "persons": [("p-me", "Ada", "Ada", 1, None, at, at)],
            "contacts": [("c-me", "Ada", "eve", at, at), ("c-bob", "Bob", "eve", at, at)],
            "contact_identifiers": [
                ("i-1", "c-me", "email", "Ada@Example.org", "ada@example.org", at, at),
                ("i-2", "c-me", "phone", "+49 30 111", "+4930111", at, at),
                ("i-3", "c-bob", "phone", "+49 30 1", "+49301", at, at),
                ("i-4", "c-bob", "email", "bob@example.org", "bob@example.org", at, at),
            ],
            "threads": [
                ("imessage:+49301", "imessage", "Bob", 0, "imessage", "+49301", None, at, at),
                ("T-1", "gmail", "Hours", 1, "gmail", "T-1", None, at, at),
            ],
            "events": events,
            "event_participants": [
                ("imessage:G-1", "c-bob", "sender"),
                ("imessage:G-1", "c-me", "recipient"),
                ("imessage:G-2", "c-me", "sender"),
                ("imessage:G-2", "c-bob", "recipient"),
                ("gmail:M-1", "c-bob", "sender"),
                ("gmail:M-1", "c-me", "cc"),
            ],
            "event_state": [("gmail:M-1", "read", 1, 0, "received", at + 91)],
            "event_tags": [("gmail:M-1", "gmail_label:INBOX", "gmail", at + 91)],
            "tags": [("tag-1", "gmail:M-1", "topic", "work", 0.75, "analysis", at + 92)],
            "attachments": [
                (
                    "att-1",
                    "imessage:G-2",
                    "a.png",
                    "image/png",
                    12,
                    "image",
                    "eve://A-1",
                    "local",
                    "sha256:00",
                    "A-1",
                    None,
                    at,
                )
            ],
            "document_heads": [
                (
                    "skill:gog",
                    "docs",
                    "skill-7",
                    "h7",
                    "gog",
                    "Mail on the command line",
                    '{"v":7}',
                    at + 95,
                    1,
                    at + 99,
                )
            ],
            "retrieval_log": [("r-1", "skill:gog", "skill-7", "send a mail", 0.5, at + 99)],
            "sync_watermarks": [("imessage", at + 61, "imessage:G-3"), ("gmail", at + 90, "backfill:2026-02-01")],
            "episode_definitions": [("d-1", "imessage_90min", "imessage", "time_gap", "{}", None, at, at)],
            "episodes": [
                ("e-1", "d-1", "imessage", "imessage:+49301", at, at + 61, 3, "imessage:G-1", "imessage:G-3", at)
            ],
            "episode_events": [("e-1", "imessage:G-1", 1), ("e-1", "imessage:G-2", 2), ("e-1", "imessage:G-3", 3)],
            "unattributed_facts": [("f-1", "phone", "+33155", "p-me", "imessage:G-1", at)],
            "agent_sessions": [("as-1", "cursor", at)],
        },
    )
