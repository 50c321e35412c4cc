"""Lockgate: separation of duties on the data path, as a host agent."""

__version__ = "0.1.0"
