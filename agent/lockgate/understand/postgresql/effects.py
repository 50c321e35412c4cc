"""A parse tree -> Statement: what it would do, and to what."""

from __future__ import annotations

from enum import Enum

from lockgate.understand.postgresql.commands import ADMIN, ANYTHING, COMMANDS, DDL, READ, SESSION, WRITE, tag
from lockgate.understand.postgresql.functions import (
    HARMLESS,
    Facts,
    Lookup,
    effects_of_call,
    effects_of_name,
    function_name,
    known,
    spelt,
    unknown_operator,
)
from lockgate.understand.postgresql.names import named_objects, role_name
from lockgate.understand.postgresql.predicates import limited
from lockgate.understand.postgresql.settings import HOW_TEXT_IS_READ, SETTERS, UNNAMED, Change, changes, configured
from lockgate.understand.postgresql.tree import Node, branches, constant, relation_name, strings
from lockgate.values.statement import Effect, Statement

REFUSED = "UNKNOWN"
"""The `kind` of a statement that can't be judged."""

_ROW_EXCLUSIVE = 3
"""Lock modes above it (lockdefs.h) are not taken in a read-only transaction; pg_dump takes ACCESS SHARE, 1."""

_SAMPLING = frozenset({"bernoulli", "system", "system_rows", "system_time"})
"""TABLESAMPLE methods of PostgreSQL and its contrib modules."""

_TRUE = frozenset({"on", "true", "yes", "1"})
_FALSE = frozenset({"off", "false", "no", "0"})

_ADMIN_ALTERATIONS = frozenset({
    "AT_ChangeOwner", "AT_EnableRowSecurity", "AT_DisableRowSecurity", "AT_ForceRowSecurity", "AT_NoForceRowSecurity",
})  # fmt: skip


_READING = frozenset({
    "SelectStmt", "InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt", "CopyStmt", "ExplainStmt", "PrepareStmt",
    "DeclareCursorStmt", "CreateTableAsStmt", "CallStmt",
})  # fmt: skip
"""Statements that compute the views they name, unless they only keep them for later."""


class _When(Enum):
    """What happens to the part of a statement that is being read."""

    RUN = 1
    PLANNED = 2
    """EXPLAIN: nothing runs, but the planner calls functions that claim to be immutable."""
    STORED = 3


def refused(reason: str) -> Statement:
    return Statement(kind=REFUSED, effects=frozenset({Effect.UNKNOWN}), refusal=reason)


def read_statement(statement: Node, shadowed: frozenset[str] = frozenset(), lookup: Lookup | None = None) -> Statement:
    """Judge one statement (the `stmt` of a RawStmt). `shadowed`: names of functions outside pg_catalog.

    `lookup` says what these and others do; without it nobody knows.

    An EXECUTE counts as unknown and a write by itself: `uses` names what it runs, for who knows the session's names.
    It is left out where that wouldn't be the whole story (parameters that call functions, EXPLAIN ANALYZE EXECUTE).
    """
    if statement.kind not in COMMANDS:
        return refused(f"statements of kind {statement.kind} are not supported")
    reader = _Reader(shadowed, lookup)
    reader.read(statement)
    return Statement(
        kind=tag(statement),
        effects=frozenset(reader.effects | ANYTHING if reader.executes else reader.effects),
        objects=tuple(reader.objects),
        columns=tuple(reader.columns),
        functions=tuple(reader.functions),
        has_where=reader.limited and limited(_query(statement)),
        makes=_makes(statement),
        uses=None if reader.executes and reader.effects else _uses(statement),
        refusal=reader.refusal,
        inside=tuple(reader.inside),
        settings=tuple(reader.settings),
        definer_functions=tuple(reader.definers),
    )


def _makes(statement: Node) -> tuple[str, str] | None:
    match statement.kind:
        case "PrepareStmt":
            return "prepared", statement.name
        case "DeclareCursorStmt":
            return "cursor", statement.portalname
        case _:
            return None


def _uses(statement: Node) -> tuple[str, str] | None:
    match statement.kind:
        case "ExecuteStmt":
            return "prepared", statement.name
        case "FetchStmt":
            return "cursor", statement.portalname
        case _:
            return None


def _query(statement: Node) -> Node:
    """The query that a statement explains, prepares, declares or copies; else the statement."""
    while statement.kind in ("ExplainStmt", "PrepareStmt", "DeclareCursorStmt", "CreateTableAsStmt", "CopyStmt"):
        inner = statement.query
        if inner is None:
            break
        statement = inner
    return statement


def _enabled(options: tuple[Node, ...] | None, name: str) -> bool:
    """Whether an option is given and not plainly switched off each time (PostgreSQL takes the last one)."""
    for option in options or ():
        if option.defname == name:
            value = option.arg
            word = "on" if value is None else value.sval if value.kind == "String" else str(value.ival or 0)
            if str(word).lower() not in _FALSE:
                return True
    return False


class _Reader:
    """Collects what one statement does; CTE names are followed by scope, so that none hides a table elsewhere."""

    def __init__(self, shadowed: frozenset[str], lookup: Lookup | None) -> None:
        self.shadowed = shadowed
        self.lookup = lookup
        self.effects: set[Effect] = set()
        self.objects: dict[str, None] = {}
        self.columns: dict[str, None] = {}
        self.functions: dict[str, None] = {}
        self.inside: dict[str, None] = {}
        self.settings: dict[str, None] = {}
        self.definers: dict[str, None] = {}
        self.executes = False
        self.limited = True
        self.refusal: str | None = None
        self._values: set[int] = set()
        self._pinned: dict[int, str] = {}

    def read(self, statement: Node) -> None:
        own = tag(statement)
        reading = statement.kind in _READING
        stack: list[tuple[Node, frozenset[str], _When]] = [(statement, frozenset(), _When.RUN)]
        while stack:
            node, ctes, when = stack.pop()
            kind = node.kind
            if kind in COMMANDS:
                self._command(node, when)
                when = self._inside(node, when)
            elif kind == "RangeVar":
                if node.schemaname or node.relname not in ctes:
                    self.objects[relation_name(node)] = None
                    if reading and self.lookup is not None:
                        self._own(relation_name(node), self.lookup.view(node.schemaname, node.relname), when)
            else:
                self._other(node, when)
            below = self._scoped(node, ctes, when)
            below.reverse()
            stack += below
        self.inside.pop(own, None)

    def _scoped(self, node: Node, ctes: frozenset[str], when: _When) -> list[tuple[Node, frozenset[str], _When]]:
        """The children of a node, each with the CTE names that it can see."""
        raw = node.raw
        if node.kind in ("LockingClause", "TypeName"):  # FOR UPDATE OF names aliases, geometry(Point) no column
            return []
        if node.kind == "CreateStmt" and raw.get("partbound"):
            # the bounds of a partition are evaluated when it is made
            return [(c, ctes, _When.RUN if c.kind == "PartitionBoundSpec" else when) for c in branches(node)]
        with_clause = node.withClause if "withClause" in raw else None
        if with_clause is None:
            if node.kind in ("InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"):
                target = raw.get("relation")
                return [(c, frozenset() if c.raw is target else ctes, when) for c in branches(node)]
            return [(c, ctes, when) for c in branches(node)]
        found = []
        names = frozenset(cte.ctename for cte in with_clause.ctes)
        visible = ctes | names if with_clause.recursive else ctes
        for cte in with_clause.ctes:
            found.append((cte, visible, when))
            visible = visible | {cte.ctename}
        target = raw.get("relation")
        for child in branches(node):
            if child.raw is raw["withClause"]:
                continue
            found.append((child, frozenset() if child.raw is target else ctes | names, when))
        return found

    def _inside(self, node: Node, when: _When) -> _When:
        if when is not _When.RUN:
            return when
        if COMMANDS[node.kind].stored:
            return _When.STORED
        if node.kind == "ExplainStmt" and not _enabled(node.options, "analyze"):
            return _When.PLANNED
        return when

    def _command(self, node: Node, when: _When) -> None:
        self.objects.update(dict.fromkeys(named_objects(node)))
        if node.kind == "InsertStmt":
            self._assigned(node.cols)
        elif node.kind == "UpdateStmt":
            self._assigned(node.targetList)
        elif node.kind == "CopyStmt":
            self.columns.update(dict.fromkeys(strings(node.attlist)))
        if node.kind in SETTERS:
            for change in changes(node):
                self._changed(change, when)
        if when is not _When.RUN:
            return
        if node.kind != "SelectStmt" or node.intoClause:
            self.inside[tag(node)] = None
        if node.kind == "ExecuteStmt":
            self.executes = True
            return
        if id(node.raw) not in self._values:
            self.effects |= COMMANDS[node.kind].effects
        match node.kind:
            case "SelectStmt":
                if node.intoClause:
                    self.effects |= DDL | WRITE
                self._pin(node)
                if node.lockingClause:
                    # PostgreSQL refuses it in a read-only transaction, and asks for more than SELECT
                    self.effects |= WRITE
            case "InsertStmt":
                source = node.selectStmt
                if source is not None and source.valuesLists:
                    self._values.add(id(source.raw))
                if node.returningClause:
                    self.effects |= READ
                if node.onConflictClause and node.onConflictClause.targetList:
                    self.inside["UPDATE"] = None
            case "MergeStmt":
                for clause in node.mergeWhenClauses or ():
                    if clause.commandType != "CMD_NOTHING":
                        self.inside[str(clause.commandType).removeprefix("CMD_")] = None
                self.limited = self.limited and limited(node)
            case "UpdateStmt" | "DeleteStmt":
                self.limited = self.limited and limited(node)
                if node.fromClause or node.usingClause or node.returningClause:
                    self.effects |= READ
                if node.kind == "UpdateStmt" and self._goes_to_settings(node.relation):
                    # a rule of that view calls set_config
                    self.effects |= SESSION | ANYTHING
                    self.objects[f"setting:{UNNAMED}"] = None
                    self.settings[UNNAMED] = None
            case "CopyStmt":
                if node.relation is not None:
                    self.effects |= WRITE if node.is_from else READ
                if node.is_program or node.filename is not None:
                    self.effects |= ADMIN
            case "LockStmt":
                self.effects |= WRITE if (node.mode or 0) > _ROW_EXCLUSIVE else READ
            case "RefreshMatViewStmt":
                if self.lookup is not None:
                    target = node.relation
                    facts = self.lookup.view(target.schemaname, target.relname, refresh=True)
                    self._own(relation_name(target), facts, when)
            case "CreateFunctionStmt":
                language = next((o.arg.sval or "" for o in node.options or () if o.defname == "language"), "")
                if language.lower() in ("c", "internal") or language.lower().endswith("u"):
                    self.effects |= ADMIN  # code that runs outside the database's own rules
            case "DefineStmt":
                if node.variant == "OBJECT_OPERATOR":
                    self.effects |= ADMIN  # it can change what + means in every statement
            case "AlterTableStmt":
                if any(cmd.subtype in _ADMIN_ALTERATIONS for cmd in node.cmds or ()):
                    self.effects |= ADMIN

    def _other(self, node: Node, when: _When) -> None:
        match node.kind:
            case "ColumnRef":
                last = node.fields[-1]
                self.columns["*" if last.kind == "A_Star" else last.sval] = None
                if self.lookup is not None and len(node.fields) > 1 and last.kind == "String":
                    self._own(last.sval, self.lookup.attribute(last.sval, row=True), when)
            case "A_Indirection":
                for part in node.indirection or ():
                    if part.kind in ("String", "A_Star"):
                        self.columns["*" if part.kind == "A_Star" else part.sval] = None
                    if part.kind == "String":
                        # ('/etc/passwd'::text).pg_read_file is a call
                        self._does(part.sval, effects_of_name(part.sval), when)
                        if self.lookup is not None:
                            self._own(part.sval, self.lookup.attribute(part.sval, row=False), when)
            case "FuncCall":
                self._call(node, when)
            case "A_Expr":
                self._operator(strings(node.name), when)
            case "SubLink":
                if node.operName:
                    self._operator(strings(node.operName), when)
            case "SortBy":
                if node.useOp:
                    self._operator(strings(node.useOp), when)
            case "RangeTableSample":
                if strings(node.method)[-1] not in _SAMPLING:
                    self.functions[".".join(strings(node.method))] = None
                    self.effects |= ANYTHING
            case "TypeName":
                names = strings(node.names)
                if self.lookup is not None and names and names[:-1] != ("pg_catalog",):
                    self._own(names[-1], self.lookup.type(names[-1]), when)
            case "RoleSpec":
                self.objects[role_name(node)] = None
            case "ColumnDef" if node.colname:  # ALTER COLUMN ... TYPE has one without
                self.columns[node.colname] = None
            case "IndexElem" | "AlterTableCmd" if node.name:
                self.columns[node.name] = None
            case "AccessPriv":
                self.columns.update(dict.fromkeys(strings(node.cols)))
            case "JoinExpr":
                self.columns.update(dict.fromkeys(strings(node.usingClause)))
            case "OnConflictClause" | "MergeWhenClause":
                self._assigned(node.targetList)
            case "VacuumRelation":
                self.columns.update(dict.fromkeys(strings(node.va_cols)))
            case _:
                self._spelt(node, when)

    def _goes_to_settings(self, target: Node) -> bool:
        if target.relname == "pg_settings":
            return True
        beneath = None if self.lookup is None else self.lookup.beneath(target.schemaname, target.relname)
        return bool(beneath and not beneath.isdisjoint({"pg_settings", "pg_catalog.pg_settings"}))

    def _assigned(self, targets: tuple[Node, ...] | None) -> None:
        self.columns.update((target.name, None) for target in targets or () if target.name)

    def _call(self, call: Node, when: _When) -> None:
        name = function_name(call)
        facts = None
        own = strings(call.funcname)[-2:-1] != ("pg_catalog",)
        if self.lookup is not None and own and not known(call, self.shadowed):
            facts = self.lookup.call(name)
        if facts is None:
            self._does(name, effects_of_call(call, self.shadowed), when)
        else:
            # a name that PostgreSQL has as well may be either
            self._does(name, effects_of_name(name), when)
            self._own(name, facts, when)
        if name == "set_config":
            change = configured(call.args or (), self._pinned.get(id(call.raw)))
            self.objects[f"setting:{change.name}"] = None
            self._changed(change, when)

    def _spelt(self, node: Node, when: _When) -> None:
        """What is a call to older servers only."""
        name = spelt(node)
        if name is None or name not in self.shadowed:
            return
        facts = None if self.lookup is None else self.lookup.call(name)
        if facts is None:
            self._does(name, ANYTHING, when)
        else:
            self._own(name, facts, when)

    def _own(self, name: str, facts: Facts | None, when: _When) -> None:
        """A call of one of the database's own functions."""
        if facts is None:
            return
        self.functions[name] = None
        self.objects.update(dict.fromkeys(facts.objects))
        if facts.definer:
            self.definers[name] = None
        self._does(name, facts.effects, when)

    def _does(self, function: str, effects: frozenset[Effect], when: _When) -> None:
        """What a call adds to its statement."""
        if effects == HARMLESS:
            return
        self.functions[function] = None
        if when is _When.RUN or (when is _When.PLANNED and Effect.UNKNOWN in effects):
            self.effects |= effects

    def _pin(self, select: Node) -> None:
        """pg_dump asks `SELECT set_config(name, ...) FROM pg_settings WHERE name = 'x'`: that argument is 'x'."""
        where = select.whereClause
        if where is None or where.kind != "A_Expr" or where.variant != "AEXPR_OP" or strings(where.name) != ("=",):
            return
        column, value = where.lexpr, constant(where.rexpr)
        if value is None or column is None or column.kind != "ColumnRef":
            return
        for target in select.targetList or ():
            call = target.val
            argument = call.args[0] if call.kind == "FuncCall" and call.args else None
            if (
                argument is not None
                and argument.raw.get("fields")
                and strings(argument.fields) == strings(column.fields)
            ):
                self._pinned[id(call.raw)] = value

    def _operator(self, names: tuple[str, ...], when: _When) -> None:
        unknown = unknown_operator(names, self.shadowed)
        if unknown is None:
            return
        facts = None if self.lookup is None else self.lookup.call(".".join(names[-2:]))
        if facts is not None:
            self._own(unknown, facts, when)
        else:
            self.functions[unknown] = None
            if when is not _When.STORED:
                self.effects |= ANYTHING

    def _changed(self, change: Change, when: _When) -> None:
        self.settings[change.name] = None
        if change.role is not None:
            self.objects[f"role:{change.role}"] = None
        if change.name == UNNAMED:
            self.effects |= ANYTHING
        if change.admin and when is not _When.PLANNED:
            self.effects |= ADMIN
        if change.name == HOW_TEXT_IS_READ and change.given and (change.value or "").lower() not in _TRUE:
            # the server would read '\' differently from the grammar here: every later statement could lie
            self.refusal = f"{HOW_TEXT_IS_READ} must stay on: statements are read that way"
