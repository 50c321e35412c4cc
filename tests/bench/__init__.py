"""The agent measured against its peers, in front of one scratch PostgreSQL: `python -m tests.bench`."""
