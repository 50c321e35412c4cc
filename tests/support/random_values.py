"""Random SQL expressions, of every feature that can carry a value from a column to a result."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from tests.support.random_schema import Fields

Scope = dict[str, Fields]
Choice = Callable[[], str]


@dataclass
class Values(ABC):
    """Writes expressions over `tables`, of a type each."""

    rng: random.Random
    tables: dict[str, Fields]
    classified: bool = True
    chooses: bool = True
    stored: tuple[str, ...] = ()
    count: int = 0
    newest: bool = True
    ctes: dict[str, Fields] = field(default_factory=dict)
    windows: bool = True
    sets: bool = True

    # names

    def alias(self) -> str:
        self.count += 1
        return f"a{self.count}"

    def may(self, fields: Fields) -> Fields:
        return fields if self.classified else tuple(f for f in fields if f.free)

    def pick(self, *choices: Choice) -> str:
        return self.rng.choice(choices)()

    def chance(self, share: float) -> bool:
        return self.rng.random() < share

    def row(self, scope: Scope) -> str | None:
        """An alias whose whole row may be shown."""
        found = [alias for alias, fields in scope.items() if self.classified or all(f.free for f in fields)]
        return self.rng.choice(found) if found else None

    def column(self, scope: Scope, kind: str) -> str | None:
        found = [(alias, f.name) for alias, fields in scope.items() for f in self.may(fields) if f.type == kind]
        if not found:
            return None
        alias, name = self.rng.choice(found)
        shape = self.rng.random()
        if shape < 0.1:
            return f"({alias}).{name}"
        if shape < 0.15 and not alias.startswith("n"):
            return f"{name}({alias})"  # the functional notation
        single = sum(name == f.name for fields in scope.values() for f in fields) == 1
        return name if single and shape < 0.4 else f"{alias}.{name}"

    # expressions by type

    def text(self, scope: Scope, depth: int) -> str:
        one = self.column(scope, "text")
        if depth <= 0 or self.chance(0.25):
            return one or self.pick(lambda: "'k'", lambda: f"({self.integer(scope, -1)})::text")
        t = partial(self.text, scope, depth - 1)
        i = partial(self.integer, scope, depth - 1)
        b = partial(self.boolean, scope, depth - 1)
        a = partial(self.array, scope, depth - 1)
        j = partial(self.json, scope, depth - 1)
        row = self.row(scope)
        choices: list[Choice] = [
            t, t,
            lambda: f"lower({t()})", lambda: f"upper({t()})", lambda: f"reverse({t()})", lambda: f"md5({t()})",
            lambda: f"({t()} || {t()})", lambda: f"coalesce({t()}, {t()})", lambda: f"nullif({t()}, {t()})",
            lambda: f"case when {b()} then {t()} else {t()} end",
            lambda: f"case {self.boolean(scope, 0)} when {b()} then {t()} end",
            lambda: f"greatest({t()}, {t()})", lambda: f"least({t()}, {t()})",
            lambda: f"({t()})::varchar({self.rng.randint(1, 20)})::text", lambda: f'({t()} collate "C")',
            lambda: f"({t()})::name::text", lambda: f"substr({t()}, {self.rng.randint(1, 4)}, 2)",
            lambda: f"overlay({t()} placing {t()} from 2 for 1)", lambda: f"trim(both 'm' from {t()})",
            lambda: f"encode(convert_to({t()}, 'UTF8'), 'hex')", lambda: f"translate({t()}, 'mk', 'xy')",
            lambda: f"format('%s-%s', {t()}, {t()})", lambda: f"concat_ws(',', {t()}, {i()})",
            lambda: f"split_part({t()}, 'k', 1)", lambda: f"repeat({t()}, 2)", lambda: f"quote_literal({t()})",
            lambda: f"substring({t()} from '[a-z]+')", lambda: f"regexp_replace({t()}, '[0-9]', '')",
            lambda: f"({i()})::text", lambda: f"({b()})::text", lambda: f"({a()})::text", lambda: f"({a()})[1]",
            lambda: f"({a()})[1:{self.rng.randint(1, 2)}]::text", lambda: f"array_to_string({a()}, ',')",
            lambda: f"({j()})::text", lambda: f"({j()} ->> 'k')", lambda: f"({j()} #>> '{{k}}')",
            lambda: f"({j()})['k']::text", lambda: f"jsonb_path_query_first({j()}, '$.k')::text",
            lambda: f"row({t()}, {i()})::text", lambda: f"(row({t()}, {i()})::pair).a",
            lambda: f"({self.pair(scope)}).a", lambda: f"({self.pair(scope)})::text",
            lambda: f"((timestamp '2020-01-01' + ({i()}) * interval '1 day') at time zone 'UTC')::text",
            lambda: f"to_char({i()}, '999')", lambda: f"(({i()})::numeric / 7)::text",
            lambda: f"(select {self.subselect(scope, depth - 1, 'text')} limit 1)",
            lambda: f"(select string_agg(x, ',') from ({self.select(scope, depth - 1, ('text',))[0]}) s(x))",
            lambda: f"(select max(x) from unnest(array[{t()}, {t()}]) x)",
            lambda: f"array(select x from ({self.select(scope, depth - 1, ('text',))[0]}) s(x))::text",
            lambda: f"(values ({t()}))",
            lambda: f"(with w as (select {t()} as x) select x from w)",
        ]  # fmt: skip
        if row is not None:
            choices += [
                lambda: f"{row}::text", lambda: f"row_to_json({row})::text", lambda: f"to_jsonb({row})::text",
                lambda: f"row({row}.*)::text", lambda: f"format('%s', {row})", lambda: f"({row} is null)::text",
                lambda: f"concat({row})", lambda: f"jsonb_pretty(to_jsonb({row}))",
            ]  # fmt: skip
        if self.windows:
            choices += [
                lambda: f"first_value({t()}) over (order by {i()})", lambda: f"lag({t()}) over w",
                lambda: f"max({t()}) over (partition by {i()} rows between 1 preceding and current row)",
                lambda: f"(row_number() over (order by {t()}))::text", lambda: "(rank() over w)::text",
                lambda: f"(count(*) filter (where {b()}) over w)::text", lambda: "(count(*) over ())::text",
            ]  # fmt: skip
        if not self.newest:
            choices += [
                lambda: f"xmlelement(name e, xmlattributes({t()} as at), {t()})::text",
                lambda: f"xmlforest({t()} as f, {i()} as g)::text",
                lambda: f"xmlserialize(content xmlconcat(xmlelement(name a, {t()}), null) as text)",
                lambda: f"xmlpi(name p, {t()})::text", lambda: f"xmlroot(xmlforest({t()} as r), version '1.0')::text",
                lambda: f"(xpath('/r/text()', xmlforest({t()} as r)))[1]::text",
                lambda: f"(xmlexists('/r[text()]' passing xmlforest({t()} as r)))::text",
            ]  # fmt: skip
        else:
            choices += [
                lambda: f"json_object('k': {t()}, 'n': {i()})::text", lambda: f"json_array({t()}, {i()})::text",
                lambda: f"json_array({self.select(scope, depth - 1, ('text',))[0]})::text",
                lambda: f"json_value({j()}, '$.k' default {self.constant()} on empty)",
                lambda: f"json_query({j()}, '$.k' passing {t()} as x with wrapper)::text",
                lambda: f"json_exists({j()}, '$.k ? (@ == $x)' passing {t()} as x)::text",
                lambda: f"json_scalar({t()})::text", lambda: f"json_serialize({j()} returning text)",
                lambda: f"json(({j()})::text)::text",
                lambda: f"casefold({t()})", lambda: f"array_sort({a()})::text", lambda: f"array_reverse({a()})::text",
            ]  # fmt: skip
        return self.pick(*choices)

    def constant(self) -> str:
        return self.rng.choice(["'k'", "'mk'", "''"])

    def integer(self, scope: Scope, depth: int) -> str:
        one = self.column(scope, "int")
        if depth <= 0 or self.chance(0.3):
            return one or str(self.rng.randint(0, 5))
        t = partial(self.text, scope, depth - 1)
        i = partial(self.integer, scope, depth - 1)
        row = self.row(scope)
        choices: list[Choice] = [
            i, lambda: f"length({t()})", lambda: f"ascii({t()})", lambda: f"({i()} + {i()})", lambda: f"(- {i()})",
            lambda: f"position('k' in {t()})", lambda: f"({self.boolean(scope, depth - 1)})::int",
            lambda: f"cardinality({self.array(scope, depth - 1)})", lambda: f"({self.pair(scope)}).b",
            lambda: f"(select count(*)::int from ({self.select(scope, depth - 1, ('text',))[0]}) s)",
            lambda: f"coalesce({i()}, {i()})", lambda: f"hashtext({t()})", lambda: f"num_nulls({t()}, {t()})",
            lambda: f"pg_column_size({t()})", lambda: f"extract(day from date '2020-01-01' + ({i()}) % 99)::int",
        ]  # fmt: skip
        if row is not None:
            choices.append(lambda: f"length({row}::text)")
        return self.pick(*choices)

    @contextmanager
    def choosing(self) -> Iterator[None]:
        """What is written meanwhile decides which rows there are."""
        before = self.classified
        self.classified = before and self.chooses
        yield
        self.classified = before

    @abstractmethod
    def select(self, outer: Scope, depth: int, kinds: tuple[str, ...] = ()) -> tuple[str, Fields]:
        """A query of these types of columns; of any, stars among them, when none are asked for."""

    def subselect(self, scope: Scope, depth: int, kind: str) -> str:
        """What follows SELECT for one column."""
        return self.select(scope, depth, (kind,))[0].removeprefix("select ")

    @contextmanager
    def without(self, *, windows: bool = True, sets: bool = True) -> Iterator[None]:
        before = self.windows, self.sets
        self.windows, self.sets = self.windows and windows, self.sets and sets
        yield
        self.windows, self.sets = before

    def boolean(self, scope: Scope, depth: int) -> str:
        with self.choosing():
            return self._boolean(scope, depth)

    def _boolean(self, scope: Scope, depth: int) -> str:
        t = partial(self.text, scope, depth - 1)
        i = partial(self.integer, scope, depth - 1)
        return self.pick(
            lambda: f"{t()} {self.rng.choice(['=', '<>', '<', '>='])} {t()}",
            lambda: f"{i()} between {i()} and {i()}", lambda: f"{t()} like 'mk%'", lambda: f"{t()} ~ '[0-4]$'",
            lambda: f"({t()} is not null and {i()} > {i()})", lambda: f"not ({t()} in ({t()}, {t()}))",
            lambda: f"{t()} is distinct from {t()}", lambda: f"({t()}, {i()}) < ({t()}, {i()})",
            lambda: f"{t()} = any ({self.array(scope, depth - 1)})",
            lambda: f"{t()} in ({self.select(scope, depth - 1, ('text',))[0]})",
            lambda: f"{i()} > all ({self.select(scope, depth - 1, ('int',))[0]})",
            lambda: f"exists ({self.select(scope, depth - 1, ('text', 'int'))[0]})",
            lambda: f"({t()}, {i()}) in ({self.select(scope, depth - 1, ('text', 'int'))[0]})",
            lambda: f"{t()} similar to '%(1|2|k)%'", lambda: f"starts_with({t()}, 'm')", lambda: "true",
        )  # fmt: skip

    def array(self, scope: Scope, depth: int) -> str:
        one = self.column(scope, "array")
        if depth <= 0:
            return one or "array['k']"
        t = partial(self.text, scope, depth - 1)
        return self.pick(
            lambda: one or f"array[{t()}]", lambda: f"array[{t()}, {t()}]", lambda: f"string_to_array({t()}, 'k')",
            lambda: f"array_append({self.array(scope, depth - 1)}, {t()})",
            lambda: f"array({self.select(scope, depth - 1, ('text',))[0]})",
        )  # fmt: skip

    def json(self, scope: Scope, depth: int) -> str:
        one = self.column(scope, "json")
        row = self.row(scope)
        if depth <= 0:
            return one or "'{}'::jsonb"
        t = partial(self.text, scope, depth - 1)
        choices: list[Choice] = [
            lambda: one or f"to_jsonb({t()})", lambda: f"jsonb_build_object('k', {t()}, {self.constant()}, 1)",
            lambda: f"to_jsonb({self.array(scope, depth - 1)})", lambda: f"jsonb_build_array({t()})",
            lambda: f"({self.json(scope, depth - 1)} || {self.json(scope, depth - 1)})",
        ]  # fmt: skip
        if row is not None:
            choices += [lambda: f"to_jsonb({row})", lambda: f"row_to_json({row})::jsonb"]
        return self.pick(*choices)

    def pair(self, scope: Scope) -> str:
        return self.column(scope, "pair") or f"row({self.text(scope, 0)}, {self.integer(scope, 0)})::pair"

    def value(self, scope: Scope, kind: str, depth: int) -> str:
        match kind:
            case "text":
                return self.text(scope, depth)
            case "int":
                return f"({self.integer(scope, depth)})::int"
            case "array":
                return f"({self.array(scope, depth)})::text[]"
            case "json":
                return self.json(scope, depth)
            case _:
                return self.pair(scope)
