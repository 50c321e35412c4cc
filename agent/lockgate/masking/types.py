"""OIDs of PostgreSQL's own types (pg_type.dat of PostgreSQL 18); none has ever changed."""

from __future__ import annotations

from typing import Final

BOOL, BYTEA, CHAR, NAME, INT8, INT2, INT4, REGPROC, TEXT, OID = 16, 17, 18, 19, 20, 21, 23, 24, 25, 26
JSON, XML, FLOAT4, FLOAT8, UNKNOWN, BPCHAR, VARCHAR = 114, 142, 700, 701, 705, 1042, 1043
DATE, TIME, TIMESTAMP, TIMESTAMPTZ, INTERVAL, TIMETZ = 1082, 1083, 1114, 1184, 1186, 1266
NUMERIC, UUID, TSVECTOR, JSONB, RECORD = 1700, 2950, 3614, 3802, 2249

TEXT_TYPES: Final = frozenset({NAME, TEXT, UNKNOWN, BPCHAR, VARCHAR})
"""Any characters are a valid value of these."""

TEXT_ARRAYS: Final = frozenset({143, 199, 1002, 1003, 1009, 1014, 1015, 1263, 2287, 3643, 3807})
"""Arrays of xml, json, "char", name, text, character(n), varchar, cstring, record, tsvector and jsonb."""

FIRST_OF_USERS: Final = 16384
"""Types from here on are a database's own (FirstNormalObjectId in transam.h): enums, composites, extensions'."""
