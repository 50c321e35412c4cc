"""Where the value of an expression comes from: PostgreSQL's name resolution (parse_relation.c), over origins.

Sound before precise: where a name could mean several columns it counts as all of them, and what isn't recognised is
unknown, never free of sources.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from lockgate.understand.postgresql import relations
from lockgate.understand.postgresql.functions import (
    HARMLESS,
    built_in,
    effects_of_call,
    function_name,
    spelt,
    tells_only_arguments,
    tells_others_data,
    unknown_operator,
)
from lockgate.understand.postgresql.inference import Comparison, comparisons, operator_use, unchanged
from lockgate.understand.postgresql.origins import (
    ANYTHING,
    NOWHERE,
    SYSTEM_COLUMNS,
    Entry,
    Origin,
    Rows,
    Scope,
    choice,
    union,
    unknown,
)
from lockgate.understand.postgresql.tables import SETS
from lockgate.understand.postgresql.totality import may_fail
from lockgate.understand.postgresql.tree import Node, children, constant, strings, walk
from lockgate.values.catalog import Catalog
from lockgate.values.use import Use

BUDGET = 20_000
"""Names, tables and queries looked at for one statement, views included: a second or so."""


class TooComplex(Exception):
    """The lineage of a statement takes more than BUDGET or DEPTH."""


_NOT_FOR_EXISTS = frozenset({"targetList", "distinctClause", "sortClause"})
_BOOLEAN_SUBLINKS = frozenset({"EXISTS_SUBLINK", "ANY_SUBLINK", "ALL_SUBLINK"})


class Expressions(ABC):
    """Reads expressions against one catalog. `touched` collects every column that was referred to on the way; `uses`
    what columns were used for, apart from being shown; `lost` says what could not be found, None while everything was.
    `open_views` are the views being read now: what those look at is their owner's choice, and only counts as touched.
    """

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.touched: set[str] = set()
        self._asked: set[str] = set()
        self.uses: dict[str, set[Use]] = {}
        self.lost: str | None = None
        self.open_views: set[int] = set()
        self._steps = 0

    @abstractmethod
    def query(self, node: Node, parent: Scope | None) -> Rows:
        """The rows of a SELECT, VALUES or data-modifying statement with RETURNING. Raises TooComplex."""

    @abstractmethod
    def sink(self, call: Node, origin: Origin) -> None:
        """A call whose arguments, of this origin, may go elsewhere than into its result."""

    @abstractmethod
    def met(self, condition: Node, origin: Origin) -> None:
        """A condition without AND, OR, NOT at its top was read; `origin` is that of all in it."""

    # values

    def value(self, node: Node | None, scope: Scope) -> Origin:
        """The origin of an expression's value. That it can't be had may tell something, too."""
        origin = self._value(node, scope)
        if node is not None and node.kind != "ColumnRef" and origin.all:
            texts = relations.hold_texts(self.catalog, origin.all)
            self.used(origin, *((Use.PREDICATE,) if may_fail(node, self.catalog.functions, texts=texts) else ()))
        return origin

    def _value(self, node: Node | None, scope: Scope) -> Origin:
        if node is None or node.kind == "A_Const":
            return NOWHERE
        if node.kind == "ColumnRef":
            origin = self._reference(node, scope)
            self._touch(origin)
            return origin
        column = None
        if node.kind == "A_Indirection":
            column = self._field(node, scope)
        elif node.kind == "FuncCall":
            column = self._projected(node, scope)
        return column if column is not None else union([NOWHERE, *self._parts(node, scope)])

    def refer(self, node: Node | tuple[Node, ...] | None, scope: Scope, *uses: Use) -> Origin:
        """The origin of all expressions in a clause together, which are used so."""
        if node is None:
            return NOWHERE
        found = []
        for part in node if isinstance(node, tuple) else (node,):
            origin = self.value(part, scope)
            self.used(origin, *uses)
            found.append(origin)
        return union([NOWHERE, *found])

    def used(self, origin: Origin, *uses: Use) -> None:
        """Note what the columns of an origin are used for. What a view does with its tables is its owner's choice."""
        if uses and not self.open_views:
            for name in origin.all:
                self.uses.setdefault(name, set()).update(uses)

    def _parts(self, root: Node, scope: Scope) -> list[Origin]:
        found: list[Origin] = []
        stack = [root]
        while stack:
            node = stack.pop()
            match node.kind:
                case "ColumnRef":
                    origin = self._reference(node, scope)
                    self._touch(origin)
                    found.append(origin)
                    continue
                case "SubLink":
                    found.append(self._sublink(node, scope))
                    continue
                case "SelectStmt":
                    found.append(self.query(node, scope).whole)
                    continue
                case "A_Indirection":
                    part = self._field(node, scope)
                    if part is not None:
                        found.append(part)
                        continue
                case "TypeName":
                    continue  # geometry(Point): the modifier looks like a column
                case "CaseExpr":
                    found += self._case(node, scope)
                    continue
                case "FuncCall":
                    projected = self._projected(node, scope)
                    if projected is not None:
                        found.append(projected)
                        continue
            why = self.other_data(node)
            if why is not None:
                found.append(unknown(why))
                if node.kind != "FuncCall" or function_name(node) != "current_setting":
                    self._touch_anything()
                if spelt(node) is not None:
                    self.sink(node, union([NOWHERE, *(self._value(part, scope) for part in children(node))]))
            if node.kind == "FuncCall":
                found += self._call(node, scope)
            else:
                stack += children(node)
        return found

    def _call(self, call: Node, scope: Scope) -> list[Origin]:
        # whether they fail is asked of all of the expression around
        arguments = union([NOWHERE, *(self._value(argument, scope) for argument in call.args or ())])
        if call.agg_distinct:
            self.used(arguments, Use.GROUP)
        if function_name(call) in SETS:
            self.used(arguments, Use.PREDICATE)  # how many rows there are
        if effects_of_call(call, self.catalog.functions) != HARMLESS:
            self.sink(call, arguments)
        found = [arguments, self.refer(call.agg_order, scope, Use.ORDER)]
        if call.agg_filter is not None:
            found.append(self.condition(call.agg_filter, scope))
        if call.over is not None:
            found.append(self.window(call.over, scope))
        return found

    def window(self, window: Node, scope: Scope) -> Origin:
        """A window definition, with the one that it names or starts from."""
        found = [
            self.refer(window.partitionClause, scope, Use.GROUP),
            self.refer(window.orderClause, scope, Use.ORDER),
            self.refer(window.startOffset, scope, Use.PREDICATE),
            self.refer(window.endOffset, scope, Use.PREDICATE),
        ]
        # a definition can only start from one that stands before it
        known = scope.windows
        name = window.refname or window.name
        for place, other in enumerate(known):
            if other.raw is window.raw:
                known = known[:place]
        for place, other in enumerate(known):
            if other.name == name:
                inner = Scope(scope.parent, scope.entries, scope.ctes, known[:place])
                found.append(self.window(other, inner))
        return union(found)

    def _case(self, case: Node, scope: Scope) -> list[Origin]:
        found = [self._value(case.defresult, scope)]
        for when in case.args:
            if case.arg is None:
                found.append(self.condition(when.expr, scope))
            else:
                found.append(self._compared(Comparison(Use.EQUAL, case.arg, (when.expr,)), scope))
            found.append(self._value(when.result, scope))
        return found

    # conditions

    def condition(self, node: Node | None, scope: Scope) -> Origin:
        """A predicate: WHERE, HAVING, ON, FILTER, CASE WHEN."""
        found = [NOWHERE]
        stack = [] if node is None else [node]
        while stack:
            part = stack.pop()
            if part.kind == "BoolExpr":
                stack += part.args or ()
                continue
            origin = self._condition(part, scope)
            self.met(part, origin)
            found.append(origin)
        return union(found)

    def _condition(self, node: Node, scope: Scope) -> Origin:
        pairs = comparisons(node)
        if pairs:
            why = self.other_data(node)
            if why is not None:
                self._touch_anything()
            return union([unknown(why) if why else NOWHERE, *(self._compared(pair, scope) for pair in pairs)])
        origin = self._value(node, scope)
        if node.kind == "ColumnRef" and origin.plain is not None:
            self.used(origin, Use.EQUAL)
        elif node.kind != "SubLink" or node.subLinkType not in _BOOLEAN_SUBLINKS:
            self.used(origin, Use.PREDICATE)
        return origin

    def _compared(self, pair: Comparison, scope: Scope) -> Origin:
        return self._sides(pair.use, [self._value(unchanged(node), scope) for node in (pair.left, *pair.right)])

    def _sides(self, use: Use, sides: list[Origin]) -> Origin:
        """The first side is compared with each of the others."""
        for place, origin in enumerate(sides):
            if not origin.all:
                continue  # a list may have 20,000 constants
            others = [other for other in (sides[1:] if place == 0 else sides[:1]) if other.all or other.why]
            uses = {use}
            if others:
                uses = {Use.JOIN} if use is Use.EQUAL and all(other.plain for other in others) else {use, Use.JOIN}
            if origin.plain is None:
                uses.add(Use.PREDICATE)
            self.used(origin, *uses)
        return union([NOWHERE, *sides])

    def other_data(self, node: Node) -> str | None:
        """Why a call or an operator may give other data than its arguments, None where it does not."""
        if node.kind == "A_Expr":
            operator = unknown_operator(strings(node.name), self.catalog.functions)
            return None if operator is None else f"{operator} is not known to be free of other data"
        if node.kind != "FuncCall":
            called = spelt(node)
            own = called in self.catalog.functions
            return f"function {called}() is not known to be free of other data" if own else None
        name = function_name(node)
        free = tells_only_arguments(node, self.catalog.functions)
        if name == "current_setting":
            # parameters with a dot in their name hold whatever someone put there
            setting = constant(node.args[0]) if node.args else None
            free = free and setting is not None and "." not in setting
        return None if free else f"function {name}() is not known to be free of other data"

    def _sublink(self, node: Node, scope: Scope) -> Origin:
        tests = _columns(node.testexpr)
        compared = [self._value(unchanged(test), scope) for test in tests]
        own = union([NOWHERE, *compared])
        operator = unknown_operator(strings(node.operName), self.catalog.functions) if node.operName else None
        if operator is not None:
            self._touch_anything()
            own = unknown(f"{operator} is not known to be free of other data")
        if node.subLinkType not in _BOOLEAN_SUBLINKS:
            return union([own, self.query(node.subselect, scope).whole])
        # true or false: whatever the sub-query looks at is in the answer
        before, lost, self._asked, self.lost = self._asked, self.lost, set(), None
        select = node.subselect
        if node.subLinkType == "EXISTS_SUBLINK" and select.larg is None and not _returns_sets(select):
            # what it selects is never looked at
            select = Node("SelectStmt", {k: v for k, v in select.raw.items() if k not in _NOT_FOR_EXISTS})
        rows = self.query(select, scope)
        if tests:
            use = Use.EQUAL if not node.operName else operator_use(strings(node.operName)) or Use.PREDICATE
            if len(rows.columns) == len(tests):
                for side, (_, origin) in zip(compared, rows.columns, strict=True):
                    self._sides(use, [side, origin])
            else:
                self._sides(use, [rows.whole, *compared])
        inside, missing = frozenset(self._asked), self.lost
        self._asked |= before
        self.lost = lost or missing
        if ANYTHING in inside:
            missing = missing or "a function inside is not known to be free of other data"
        return union([own, rows.whole, Origin(inside - {ANYTHING}, why=missing)])

    def _field(self, node: Node, scope: Scope) -> Origin | None:
        """`(t).column`: a column of a row; None for other indirections (then all of it counts)."""
        for name in strings(node.indirection):
            own = name in self.catalog.functions or any(r.unary for r in self.catalog.routines.get(name, ()))
            if own or tells_others_data(name):
                self._touch_anything()
                return unknown(f"function {name}() is not known to be free of other data")
        part, arg = node.indirection[0], node.arg
        if part.kind == "String" and len(node.indirection) == 1 and arg.kind == "ColumnRef":
            names = strings(arg.fields)
            if len(names) == len(arg.fields) and self._column(names, scope)[0] is None:
                rows = self._named(names, scope)
                column = rows.column(part.sval) if rows is not None else None
                if column is not None:
                    self._touch(column)
                    return column
        return None

    def _projected(self, call: Node, scope: Scope) -> Origin | None:
        """`column(t)`, where there is no function of that name (ParseFuncOrColumn): a column of a row; else None.

        `system_user`, which is a function since PostgreSQL 16, is a column before that.
        """
        arguments: tuple[Node, ...] = call.args or ()
        if not arguments and call.funcformat == "COERCE_SQL_SYNTAX":
            column, _ = self._column((function_name(call),), scope)
            if column is not None:
                self._touch(column)
            return column
        if len(call.funcname) != 1 or len(arguments) != 1 or arguments[0].kind != "ColumnRef":
            return None
        name, names = function_name(call), strings(arguments[0].fields)
        if built_in(name) or name in self.catalog.functions or name in self.catalog.routines:
            return None
        if len(names) != len(arguments[0].fields) or self._column(names, scope)[0] is not None:
            return None
        rows = self._named(names, scope)
        column = rows.column(name) if rows is not None else None
        if column is not None:
            self._touch(column)
        return column

    # names

    def _reference(self, node: Node, scope: Scope) -> Origin:
        self._step()
        names = strings(node.fields)
        if node.fields[-1].kind == "A_Star":
            rows = self._named(names, scope) if names else None
            return rows.whole if rows is not None else unknown("what * stands for is not known")
        origin, certain = self._column(names, scope)
        rows = None if certain else self._named(names, scope)
        if rows is not None:
            return rows.whole if origin is None else union([origin, rows.whole])
        if origin is not None:
            return origin
        self.lost = f"column {'.'.join(names)} is not in the catalog"
        return unknown(self.lost)

    def _column(self, names: tuple[str, ...], scope: Scope | None) -> tuple[Origin | None, bool]:
        """The column that a dotted name means, None when it is none; and whether it can't be anything else."""
        name, qualifier = names[-1], names[:-1]
        found: list[Origin] = []
        while scope is not None:
            certain = False
            open_ends: list[Origin] = []
            for entry in scope.entries:
                if not _is(entry, qualifier) if qualifier else entry.hidden:
                    continue
                rows = entry.rows
                if any(other == name for other, _ in rows.columns):
                    found.append(rows.column(name) or NOWHERE)
                    certain = certain or name not in entry.doubtful
                elif rows.why is not None or rows.anything is not None:
                    open_ends.append(rows.column(name) or NOWHERE)
                elif entry.stored and name in SYSTEM_COLUMNS:
                    found.append(NOWHERE)
                    certain = True
                elif qualifier:
                    # no column: t.f is the call f(t)
                    why = f"column {'.'.join(names)} is not known"
                    found.append(union([rows.whole, unknown(why)]))
                    self.lost = self.lost or why
                    certain = True
            if certain:
                return choice(found), True
            found += open_ends
            if qualifier and open_ends:
                break
            scope = scope.parent
        return (choice(found), False) if found else (None, False)

    def _named(self, names: tuple[str, ...], scope: Scope | None) -> Rows | None:
        """The rows of the nearest FROM item of this name."""
        while scope is not None:
            found = [entry.rows for entry in scope.entries if _is(entry, names)]
            if found:
                return found[0] if len(found) == 1 else Rows(why=f"{'.'.join(names)} could be several tables")
            scope = scope.parent
        return None

    def _touch(self, origin: Origin) -> None:
        self.touched |= origin.all
        if not self.open_views:
            self._asked |= origin.all

    def _touch_anything(self) -> None:
        self.touched.add(ANYTHING)
        if not self.open_views:
            self._asked.add(ANYTHING)

    def _step(self) -> None:
        self._steps += 1
        if self._steps > BUDGET:
            raise TooComplex


def _is(entry: Entry, names: tuple[str, ...]) -> bool:
    if len(names) == 1:
        return entry.alias == names[0]
    # schema.table, database.schema.table: only a table that has no alias
    return entry.schema is not None and entry.alias == names[-1] and entry.schema in ("", names[-2])


def _columns(test: Node | None) -> tuple[Node, ...]:
    """The operands on the left of a sub-query: several for a row."""
    if test is None:
        return ()
    return (test.args or ()) if test.kind == "RowExpr" else (test,)


def _returns_sets(select: Node) -> bool:
    """Whether what a query selects may change how many rows it has."""
    return any(node.kind == "FuncCall" and function_name(node) in SETS for node in walk(select.targetList))
