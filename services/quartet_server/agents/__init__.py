"""The agents ledger: sessions, the tree of turns, messages, tool calls, artifacts, queues, imports."""
