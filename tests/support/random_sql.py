"""Random SQL, of every feature that can carry a value from a column to a result.

What is written is mostly valid and always well typed; the rest the server refuses. `Writer(classified=False)` refers to
nothing classified, by no name and by no star; `Writer(chooses=False)` doesn't choose, order or group by it.
"""

from __future__ import annotations

from functools import partial

from tests.support.random_schema import Field, Fields
from tests.support.random_values import Choice, Scope, Values


class Writer(Values):
    """Writes random statements over `tables`; those in `stored` can be written to."""

    # FROM

    def source(self, scope: Scope, depth: int) -> tuple[str, str, Fields]:
        """(text, alias, fields)"""
        alias = self.alias()
        pick = self.rng.random()
        if self.ctes and pick < 0.2:
            name = self.rng.choice(list(self.ctes))
            return f"{name} {alias}", alias, self.ctes[name]
        if depth > 0 and pick < 0.35:
            lateral = self.chance(0.4)
            text, fields = self.select(scope if lateral else {}, depth - 1)
            if self.chance(0.3):
                fields = tuple(Field(self.alias(), f.type, f.free) for f in fields)
                return f"{'lateral ' if lateral else ''}({text}) {alias}({self.names(fields)})", alias, fields
            return f"{'lateral ' if lateral else ''}({text}) {alias}", alias, fields
        if depth > 0 and pick < 0.5 and self.sets:
            return self.rows_of(scope, depth, alias)
        names = [n for n, fields in self.tables.items() if self.classified or self.may(fields)]
        name = self.rng.choice(names)
        fields = self.tables[name]
        sample = " tablesample bernoulli (100)" if name.startswith("t") and self.chance(0.05) else ""
        qualified = f"public.{name}" if self.chance(0.2) else name
        if self.chance(0.15):
            renamed = tuple(Field(self.alias(), f.type, f.free) for f in fields[:3]) + fields[3:]
            return f"{qualified} {alias}({self.names(renamed[:3])}){sample}", alias, renamed
        return f"{qualified} {alias}{sample}", alias, fields

    def rows_of(self, scope: Scope, depth: int, alias: str) -> tuple[str, str, Fields]:
        """Functions, VALUES, JSON_TABLE, XMLTABLE: every column is as classified as what goes in."""
        free = not self.classified
        with self.without(windows=False, sets=False):
            t, i, j = self.text(scope, 1), self.integer(scope, 0), self.json(scope, 1)
        one: Fields = (Field("x", "text", free),)
        two: Fields = (Field("x", "text", free), Field("n", "int", free))
        pick = self.rng.randrange(9)
        match pick:
            case 0:
                return f"string_to_table({t}, 'k') {alias}(x)", alias, one
            case 1:
                ordinality = (Field("x", "text", free), Field("n", "int", True))
                return f"unnest(array[({t})::text, 'k']) with ordinality {alias}(x, n)", alias, ordinality
            case 2:
                return (
                    f"rows from (unnest(array[({t})::text]), generate_series(1, ({i}) % 3)) {alias}(x, n)",
                    alias,
                    two,
                )
            case 3:
                return f"(values ({t}, {i}), ('k', 1)) {alias}(x, n)", alias, two
            case 4:
                return f"jsonb_each_text({j}) {alias}(y, x)", alias, one
            case 5:
                return f"unnest(array[{t}, 'k'], array[{i}]) {alias}(x, n)", alias, two
            case 6 if not self.newest:
                passing = f"xmlelement(name r, xmlelement(name x, {t}))"
                return f"xmltable('/r' passing {passing} columns x text path 'x') {alias}", alias, one
            case 7:
                return f"jsonb_to_record({j}) as {alias}(k text, x text)", alias, one
            case 6:
                columns = "x text path '$.k', nested path '$.k' columns (n int path '$.n')"
                return f"json_table({j}, '$' columns ({columns})) {alias}", alias, two
            case _:
                return f"regexp_matches({t}, '([a-z]+)', 'g') {alias}(m), lateral (select m[1]) n{alias}(x)", \
                    f"n{alias}", one  # fmt: skip

    def names(self, fields: Fields) -> str:
        return ", ".join(f.name for f in fields)

    # queries

    def select(self, outer: Scope, depth: int, kinds: tuple[str, ...] = ()) -> tuple[str, Fields]:
        """A query of these types of columns; of any, stars among them, when none are asked for."""
        if kinds and self.chance(0.1):
            left, fields = self.one_select(outer, depth - 1, kinds)
            right, _ = self.one_select(outer, depth - 1, kinds)
            words = ["union all", "union all", "union", "intersect", "except all"]
            word = self.rng.choice(words if self.chooses else words[:1])
            order = self.rng.choice(["", "", " order by 1", " limit 3"])
            free = not self.classified
            return f"select * from (({left}) {word} ({right}){order}) {self.alias()}", \
                tuple(Field(f.name, f.type, free) for f in fields)  # fmt: skip
        if self.chance(0.15):
            return self.aggregate(outer, depth - 1, kinds)
        return self.one_select(outer, depth, kinds)

    def from_clause(self, outer: Scope, depth: int) -> tuple[str, Scope]:
        inner: Scope = {}
        text = ""
        for place in range(self.rng.choice([1, 1, 1, 2, 2, 3])):
            item, alias, fields = self.source({**outer, **inner} if place == 0 or self.chance(0.7) else outer, depth)
            if place == 0:
                text = item
            else:
                scope = {**inner, alias: fields}
                joins = [", {}", " cross join {}", " left join {} on {b}"]
                if any(f.name == "id" for f in fields) and sum(f.name == "id" for g in inner.values() for f in g) == 1:
                    joins += [" join {} using (id)", " full join {} using (id) as u{alias}"]
                join = self.rng.choice([*joins, " natural left join {}"] if self.classified else joins)
                with self.without(windows=False, sets=False):
                    condition = self.boolean(scope, 0) if "{b}" in join else ""
                text += join.format(item, b=condition, alias=alias)
            inner[alias] = fields
        return text, inner

    def one_select(self, outer: Scope, depth: int, kinds: tuple[str, ...]) -> tuple[str, Fields]:
        with self.without():
            self.windows = True
            text, inner = self.from_clause(outer, depth)
            scope = {**outer, **inner}
            targets: list[str] = []
            fields: list[Field] = []
            for kind in kinds or [""] * self.rng.choice([1, 2, 3]):
                row = self.row(inner)
                if not kind and row is not None and self.chance(0.2):
                    targets.append(self.rng.choice([f"{row}.*", f"({row}).*"]))
                    fields += inner[row]
                elif not kind and self.chance(0.1) and all(self.may(f) == f for f in inner.values()):
                    targets.append("*")
                    fields += [f for one in inner.values() for f in one]
                else:
                    name = self.alias()
                    chosen = kind or self.rng.choice(["text", "text", "text", "int", "array", "json", "pair"])
                    targets.append(f"{self.value(scope, chosen, depth)} as {name}")
                    fields.append(Field(name, chosen, not self.classified))
            with self.without(windows=False):
                where = f" where {self.boolean(scope, depth)}" if self.chance(0.25) else ""
            ids = [f"{alias}.id" for alias, fields in inner.items() if any(f.name == "id" for f in fields)]
            with self.choosing():
                order = self.column(scope, "int") if self.chance(0.2) else self.rng.choice(ids) if ids else None
            tail = f" window w as (order by {order or 1})"
            distinct = ""
            if self.chance(0.1) and self.chooses:
                distinct = "distinct "
            elif self.chance(0.2):
                with self.choosing(), self.without(windows=False, sets=False):
                    orders = [f" order by {self.text(scope, 1)}", f" order by {self.integer(scope, 1)}"]
                    limit = f" limit (select {self.integer({}, 1)})"
                if self.chooses:
                    orders += [" order by 1", f" order by {fields[-1].name}"]
                tail += self.rng.choice(orders) + self.rng.choice(["", " limit 2", " offset 1", limit])
        # the fields' names may be those of several columns: then they are ambiguous, and the server says so
        return f"select {distinct}{', '.join(targets)} from {text}{where}{tail}", tuple(fields)

    def aggregate(self, outer: Scope, depth: int, kinds: tuple[str, ...]) -> tuple[str, Fields]:
        with self.without(windows=False, sets=False):
            text, inner = self.from_clause(outer, depth)
            t = partial(self.text, inner, 1)
            i = partial(self.integer, inner, 0)
            b = partial(self.boolean, inner, 0)
            texts: list[Choice] = [
                lambda: "count(*)::text", lambda: f"count(distinct {t()})::text", lambda: f"max({t()})",
                lambda: f"string_agg({t()}, ',' order by {i()})", lambda: f"string_agg({t()}, {t()})",
                lambda: f"(array_agg({i()} order by {t()}))::text",
                lambda: f"(array_agg({t()}) filter (where {b()}))[1]",
                lambda: f"percentile_disc(0.5) within group (order by {t()})", lambda: f"bool_or({b()})::text",
                lambda: f"mode() within group (order by {t()})", lambda: f"jsonb_agg({t()})::text",
                lambda: f"jsonb_object_agg({i()}, {t()})::text",
                lambda: f"rank({t()}) within group (order by {t()})::text", lambda: f"min({t()}) || max({t()})",
                lambda: f"sum({i()})::text", lambda: f"(count(*) filter (where {b()}))::text",
                lambda: f"(max({t()}) = min({t()}))::text",
            ]  # fmt: skip
            if self.newest:
                texts += [
                    lambda: f"json_objectagg({i()} : {t()})::text", lambda: f"any_value({t()})",
                    lambda: f"json_arrayagg({t()} order by {i()})::text",
                ]  # fmt: skip
            else:
                texts.append(lambda: f"xmlagg(xmlelement(name x, {t()}))::text")
            targets, fields = [], []
            for kind in kinds or ["text"] * self.rng.choice([1, 2]):
                one = self.pick(*texts)
                name = self.alias()
                shown = {"text": one, "int": f"length({one})", "array": f"array[{one}]", "json": f"to_jsonb({one})"}
                targets.append(f"{shown.get(kind, f'row({one}, 1)::pair')} as {name}")
                fields.append(Field(name, kind, not self.classified))
            with self.choosing():
                key = self.column(inner, "text") or "('k')::text"
                other = self.column(inner, "int") or "(1 + 0)"
            group = self.rng.choice(["", "", f" group by {key}", f" group by grouping sets (({key}), ({other}), ())",
                                     f" group by rollup ({key}, {other})"])  # fmt: skip
            if "(" in group and not kinds and self.chance(0.5):
                targets.append(f"grouping({key}) as grouped")
                fields.append(Field("grouped", "int", True))
            having = f" having max({t()}) is not null" if self.chance(0.15) else ""
        return f"select {', '.join(targets)} from {text}{group}{having}", tuple(fields)

    # statements

    def statement(self) -> str:
        ctes = []
        recursive = self.chance(0.3)
        for _ in range(self.rng.choice([0, 0, 0, 1, 2])):
            name = self.rng.choice(["t0", "t2", self.alias(), self.alias()])
            while name in self.ctes:
                name = self.alias()
            free = not self.classified
            if recursive and self.chance(0.6):
                first = self.select({}, 1, ("text", "text"))[0]
                second = f"select m, n || {self.rng.choice(['m', 'n'])} from {name} where length(n) < 60"
                extra = self.rng.choice(["", "", f" search {self.rng.choice(['depth', 'breadth'])} first by n set o",
                                         " cycle n set o using p"])  # fmt: skip
                ctes.append(f"{name}(n, m) as (({first}) {self.rng.choice(['union', 'union all'])} {second}){extra}")
                self.ctes[name] = (Field("n", "text", free), Field("m", "text", free))
                if "search" in extra:
                    self.ctes[name] += (Field("o", "row", free),)
            elif self.stored and self.chance(0.3):
                text, fields = self.modification()
                ctes.append(f"{name} as ({text})")
                self.ctes[name] = fields
            else:
                text, fields = self.select({}, 1, () if self.chance(0.5) else ("text", "int"))
                materialized = self.rng.choice(["", "", "materialized ", "not materialized "])
                ctes.append(f"{name} as {materialized}({text})")
                self.ctes[name] = fields
        start = f"with {'recursive ' if recursive else ''}{', '.join(ctes)} " if ctes else ""
        if self.stored and self.chance(0.15):
            return start + self.modification()[0]
        return start + self.select({}, 3)[0]

    def modification(self) -> tuple[str, Fields]:
        table = self.rng.choice(self.stored)
        fields = self.tables[table]
        written = self.rng.choice([f for f in fields if f.type == "text" and f.name != "g_low"])
        kept = self.alias()
        scope: Scope = {table: fields}
        item, other, theirs = self.source({}, 1)
        returning = self.rng.choice(["*", "text", "old", "star"])
        with self.without(windows=False, sets=False):
            value = self.value({other: theirs}, "text", 1)
            shown = self.value(scope, "text", 1)
            where = self.boolean({**scope, other: theirs}, 0)
        free = not self.classified
        result: Fields = (Field(kept, "text", free), Field("id", "int", True))
        tail = f"{shown} as {kept}, {table}.id"
        if returning in ("*", "star") and self.classified:
            tail, result = ("*", fields) if returning == "*" else (f"{table}.*", fields)
        elif returning == "old" and self.newest and (self.classified or written.free):
            tail = f"old.{written.name} || new.{written.name} as {kept}, new.id"
        match self.rng.randrange(4):
            case 0:
                text = f"insert into {table} (id, {written.name}) select 10, {value} from {item} limit 1"
                conflict = f" on conflict (id) do update set {written.name} = excluded.{written.name}"
                return f"{text}{self.rng.choice(['', '' if table == 't1' else conflict])} returning {tail}", result
            case 1:
                result = result + theirs if tail == "*" else result
                many = f"({written.name}) = row({value})"
                one = f"{written.name} = {value}"
                change = f"{self.rng.choice([one, many])} from {item} where {where}"
                return f"update {table} set {change} returning {tail}", result
            case 2:
                result = result + theirs if tail == "*" else result
                return f"delete from {table} using {item} where {where} returning {tail}", result
            case _:
                if not self.newest:
                    return f"delete from {table} returning {tail}", result
                result = theirs + result if tail == "*" else result
                merge = (
                    f"merge into {table} using {item} on {where} when matched then update set {written.name} = {value}"
                )
                return f"{merge} returning {tail}", result
