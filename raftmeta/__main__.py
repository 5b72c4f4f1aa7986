"""`python -m raftmeta`."""

from raftmeta.cli import main

if __name__ == "__main__":
    main()
