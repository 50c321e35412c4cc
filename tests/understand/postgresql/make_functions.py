"""Writes the list of pg_catalog's functions from a real server: `python -m tests.understand.postgresql.make_functions`.

Only functions that are part of the server itself (language internal or sql) are taken: what C and other languages do
in pg_catalog comes from extensions. Names of newer releases, which this server can't tell, are kept below by hand.
"""

from __future__ import annotations

from pathlib import Path

from tests.support.postgres import Postgres

FILE = Path(__file__).parents[3] / "agent/lockgate/understand/postgresql/functions.txt"

QUERY = """
select distinct case nspname when 'pg_catalog' then '' else nspname || '.' end || proname
from pg_proc p join pg_namespace n on n.oid = pronamespace join pg_language l on l.oid = prolang
where nspname in ('pg_catalog', 'information_schema') and lanname in ('internal', 'sql') and prokind in ('f', 'a', 'w')
  and not 'internal'::regtype = any(proargtypes::oid[]) order by 1
"""

NEWER = """
any_value array_reverse array_sample array_shuffle array_sort casefold crc32 crc32c date_add
date_subtract erf erfc gamma icu_unicode_version lgamma pg_basetype
pg_column_toast_chunk_id pg_get_acl pg_input_error_info pg_input_is_valid pg_split_walfile_name random_normal
system_user to_bin to_oct to_regtypemod unicode_assigned unicode_version uuid_extract_timestamp uuid_extract_version
uuidv4 uuidv7 xmltext has_largeobject_privilege pg_available_wal_summaries pg_get_wait_events
"""


def main() -> None:
    with Postgres() as server:
        names = server.psql(QUERY).split()
        version = server.psql("show server_version_num").strip()
    header = [
        "# Functions that are part of PostgreSQL itself, one a line; what some of them do is in functions.py.",
        f"# Made by tests/understand/postgresql/make_functions.py on server {version}, with names of newer releases.",
    ]
    FILE.write_text("\n".join([*header, *sorted({*names, *NEWER.split()})]) + "\n")


if __name__ == "__main__":
    main()
