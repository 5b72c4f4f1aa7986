"""Real servers and clients for tests: each is started on ephemeral loopback ports and ended by pid."""
