"""Architectures to save and to load: a table in several files, and the classes of its rows."""
