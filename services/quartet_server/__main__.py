"""`python -m quartet_server` is `quartet`."""

from quartet_server.cli import main

main()
