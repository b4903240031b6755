"""Servers that others made, and how each is started."""
