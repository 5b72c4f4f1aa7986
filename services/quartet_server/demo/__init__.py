"""The main job, played through: `python -m quartet_server.demo`, which is what `make demo` runs."""
