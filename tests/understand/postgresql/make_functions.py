"""Writes the list of pg_catalog's functions from real servers: `python -m tests.understand.postgresql.make_functions`.

Only functions that are part of the server itself (language internal or sql) are taken: what C and other languages do
in pg_catalog comes from extensions. The list is of every release there is a server of here, so that what one of them
lost and another gained is known on both.
"""

from __future__ import annotations

from pathlib import Path

from tests.support.postgres import Postgres
from tests.support.postgres18 import Postgres18

FILE = Path(__file__).parents[3] / "agent/lockgate/understand/postgresql/functions.txt"

QUERY = """
select distinct case nspname when 'pg_catalog' then '' else nspname || '.' end || proname
from pg_proc p join pg_namespace n on n.oid = pronamespace join pg_language l on l.oid = prolang
where nspname in ('pg_catalog', 'information_schema') and lanname in ('internal', 'sql') and prokind in ('f', 'a', 'w')
  and not 'internal'::regtype = any(proargtypes::oid[]) order by 1
"""

BETWEEN = """
crc32 crc32c date_subtract erf erfc icu_unicode_version lgamma gamma pg_column_toast_chunk_id pg_get_acl system_user
to_bin to_oct to_regtypemod unicode_assigned unicode_version xmltext
"""
"""Names of releases in between, wherever they may be missing from both."""


def main() -> None:
    names: set[str] = set(BETWEEN.split())
    versions = []
    for kind in (Postgres, Postgres18):
        with kind() as server:
            names |= set(server.psql(QUERY).split())
            versions.append(server.psql("show server_version_num").strip())
    header = [
        "# Functions that are part of PostgreSQL itself, one a line; what some of them do is in functions.py.",
        f"# Made by tests/understand/postgresql/make_functions.py on servers {' and '.join(versions)}.",
    ]
    FILE.write_text("\n".join([*header, *sorted(names)]) + "\n")


if __name__ == "__main__":
    main()
