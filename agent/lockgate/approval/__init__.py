"""Holds: the agent's half of the approval protocol, and the rules both halves keep."""
