"""The ObjectStore pillar: immutable bytes by their digest, each zone for itself. `contract.py` says what a store promises."""
