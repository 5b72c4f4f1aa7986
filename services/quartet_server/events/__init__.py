"""The event ledger: what came in, went out or was seen, once and unchanged, and what is derived from it."""
