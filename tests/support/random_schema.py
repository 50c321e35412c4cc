"""Random schemas whose classified values differ from one filling to another."""

from __future__ import annotations

import random
from dataclasses import dataclass

ROWS = 4


@dataclass(frozen=True)
class Field:
    """A column: `type` is text, int, array, json or pair. `free` when it holds nothing classified."""

    name: str
    type: str
    free: bool


Fields = tuple[Field, ...]
Scope = dict[str, Fields]


@dataclass(frozen=True)
class Schema:
    """`ddl` makes it; `tables` are what can be read, `stored` what can be written, with fields."""

    ddl: str
    tables: dict[str, Fields]
    stored: tuple[str, ...]
    classified: tuple[str, ...]

    def fill(self, world: int) -> str:
        """The rows: classified values differ from one world to the other, in every way that an expression shows."""
        lines = []
        for name in self.stored:
            fields = [f for f in self.tables[name] if not f.name.startswith("g_")]
            for row in range(1, ROWS + 1):
                values = ", ".join(_value(name, f, row, world) for f in fields)
                lines.append(f"insert into {name} ({', '.join(f.name for f in fields)}) values ({values});")
        return "\n".join([*lines, *(f"refresh materialized view {n};" for n in self.tables if n.startswith("m_"))])


def _value(table: str, f: Field, row: int, world: int) -> str:
    if f.name == "id":
        return str(row)
    mark = f"u_{table}_{f.name}_{row}"
    if not f.free:
        mark = (f"mk{table}{f.name}Ax{row}", f"Zz{9 - row}mk{table}{f.name}BBB{row * 7}")[world]
    number = row if f.free else (row * 3, 50 - row * row)[world]
    match f.type:
        case "text":
            return f"'{mark}'"
        case "int":
            return str(number)
        case "array":
            return f"array['{mark}', 'x{number}']"
        case "json":
            return f"""'{{"k": "{mark}", "n": {number}}}'"""
        case _:
            return f"row('{mark}', {number})"


def random_schema(seed: int) -> Schema:
    """Three tables, one of them partitioned or inherited from, with views over views and a materialised one."""
    rng = random.Random(seed)
    prefix = "" if seed % 3 == 0 else "c_"  # without: columns are called like tables and aliases
    ddl = ["create type pair as (a text, b int);", "create domain mail as text check (value <> '');"]
    tables: dict[str, Fields] = {}
    stored: list[str] = []
    classified: list[str] = []
    for number in range(3):
        name = f"t{number}"
        types = ["text", "text", "int", "array", "json", "pair"]
        fields = [Field("id", "int", True)]
        for place, kind in enumerate(types):
            # names are shared between tables, so that USING and NATURAL have something to merge
            free = rng.random() < 0.6
            fields.append(Field(f"{prefix}{kind[0]}{place}", kind, free))
        columns = [f"{f.name} {_sql_type(f, rng)}" for f in fields]
        texts = [f for f in fields if f.type == "text"]
        source = rng.choice(texts)
        generated = Field("g_low", "text", source.free)
        suffix = ""
        if number == 1:
            suffix = " partition by range (id)"
        else:
            columns.append(f"g_low text generated always as (lower({source.name})) stored")
            fields.append(generated)
        key = "primary key (id)"
        ddl.append(f"create table {name} ({', '.join([*columns, key])}){suffix};")
        if number == 1:
            ddl.append("create table t1_low partition of t1 for values from (0) to (3);")
            ddl.append("create table t1_high partition of t1 for values from (3) to (100);")
            tables["t1_low"] = tuple(fields)
        tables[name] = tuple(fields)
        stored.append(name)
        classified += [f"public.{name}.{f.name}" for f in fields if not f.free and f.name != "g_low"]
    for number in range(4):
        name = f"{'m' if number == 3 else 'v'}_{number}"
        text, shown = _view(rng, dict(tables))
        kind = "materialized view" if name.startswith("m_") else "view"
        barrier = " with (security_barrier)" if number == 1 else ""
        ddl.append(f"create {kind} {name}{barrier} as {text};")
        tables[name] = shown
    return Schema("\n".join(ddl), tables, tuple(stored), tuple(classified))


def _sql_type(f: Field, rng: random.Random) -> str:
    if f.name == "id":
        return "int"
    return {
        "text": rng.choice(["text", "varchar(60)", "mail"]),
        "int": rng.choice(["int", "bigint"]),
        "array": "text[]",
        "json": rng.choice(["jsonb", "jsonb"]),
        "pair": "pair",
    }[f.type]


def _view(rng: random.Random, tables: dict[str, Fields]) -> tuple[str, Fields]:
    """Columns under their names, and expressions; what is free of the classified stays known."""
    name = rng.choice(list(tables))
    fields: list[Field] = []
    targets = []
    for f in rng.sample(tables[name], min(4, len(tables[name]))):
        targets.append(f"{name}.{f.name}")
        fields.append(f)
    for place, f in enumerate(tables[name]):
        if f.type == "text":
            made = f"e_{len(tables)}_{place}"
            targets.append(f"{rng.choice(['lower', 'reverse', 'md5'])}({name}.{f.name}) as {made}")
            fields.append(Field(made, "text", f.free))
    return f"select {', '.join(targets)} from {name}", tuple(fields)
