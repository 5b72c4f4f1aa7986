"""Quartet's server: services over the storage pillars."""
