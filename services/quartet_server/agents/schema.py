"""The tables of the database `agents`."""

from __future__ import annotations

from quartet.agents.v1 import artifacts_pb2, imports_pb2, messages_pb2, queue_pb2, sessions_pb2, turns_pb2

from quartet_server.records.schema import schema

SCHEMA = schema(
    "agents",
    owner="AgentService",
    messages=(
        turns_pb2.Turn,
        turns_pb2.Thread,
        sessions_pb2.Session,
        sessions_pb2.SessionHistory,
        sessions_pb2.SessionAlias,
        messages_pb2.Message,
        messages_pb2.ToolCall,
        turns_pb2.Compaction,
        queue_pb2.QueueItem,
        queue_pb2.QueueSettings,
        messages_pb2.MessageFile,
        messages_pb2.MessageLint,
        messages_pb2.MessageCodeblock,
        artifacts_pb2.Artifact,
        artifacts_pb2.ToolCallArtifact,
        imports_pb2.SessionImport,
        imports_pb2.SessionImportRequest,
        imports_pb2.SessionImportChunkPart,
    ),
)

TURNS = SCHEMA.record(turns_pb2.Turn)
THREADS = SCHEMA.record(turns_pb2.Thread)
SESSIONS = SCHEMA.record(sessions_pb2.Session)
HISTORY = SCHEMA.record(sessions_pb2.SessionHistory)
ALIASES = SCHEMA.record(sessions_pb2.SessionAlias)
MESSAGES = SCHEMA.record(messages_pb2.Message)
TOOL_CALLS = SCHEMA.record(messages_pb2.ToolCall)
COMPACTIONS = SCHEMA.record(turns_pb2.Compaction)
QUEUE_ITEMS = SCHEMA.record(queue_pb2.QueueItem)
QUEUE_SETTINGS = SCHEMA.record(queue_pb2.QueueSettings)
FILES = SCHEMA.record(messages_pb2.MessageFile)
LINTS = SCHEMA.record(messages_pb2.MessageLint)
CODEBLOCKS = SCHEMA.record(messages_pb2.MessageCodeblock)
ARTIFACTS = SCHEMA.record(artifacts_pb2.Artifact)
LINKS = SCHEMA.record(artifacts_pb2.ToolCallArtifact)
IMPORTS = SCHEMA.record(imports_pb2.SessionImport)
IMPORT_REQUESTS = SCHEMA.record(imports_pb2.SessionImportRequest)
CHUNKS = SCHEMA.record(imports_pb2.SessionImportChunkPart)
