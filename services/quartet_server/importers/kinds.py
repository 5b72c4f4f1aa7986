"""The formats that can be imported, by name."""

from __future__ import annotations

from quartet_server.importers.aix import AIX
from quartet_server.importers.aix_events import AIX_EVENTS
from quartet_server.importers.claude_code import CLAUDE_CODE
from quartet_server.importers.codex import CODEX
from quartet_server.importers.cortex import CORTEX
from quartet_server.importers.gmail import GMAIL
from quartet_server.importers.imessage import IMESSAGE
from quartet_server.importers.mbox import MBOX
from quartet_server.importers.nexus import NEXUS
from quartet_server.importers.slack import SLACK

KINDS = {kind.name: kind for kind in (AIX_EVENTS, AIX, IMESSAGE, MBOX, GMAIL, NEXUS, CLAUDE_CODE, CODEX, SLACK, CORTEX)}
