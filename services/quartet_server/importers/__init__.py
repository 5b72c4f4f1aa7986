"""Reads what other programs keep, as events and sessions of Quartet's ledgers."""
