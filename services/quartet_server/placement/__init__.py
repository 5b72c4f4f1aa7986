"""Where zones live: homes, the gates of their databases, their moves."""
