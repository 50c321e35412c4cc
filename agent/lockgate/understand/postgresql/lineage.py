"""Request and catalog -> where the outputs of a statement come from, what it refers to, what it copies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lockgate.understand.postgresql.expressions import TooComplex
from lockgate.understand.postgresql.modifications import Flow, Modifications
from lockgate.understand.postgresql.origins import ANYTHING, NOWHERE, Origin, Rows, Scope, unknown
from lockgate.understand.postgresql.parsing import Unreadable, parse
from lockgate.understand.postgresql.tree import Node, strings, walk
from lockgate.values.catalog import Catalog
from lockgate.values.output import Output
from lockgate.values.statement import Request
from lockgate.values.use import Use

_QUERIES = frozenset({"SelectStmt", "InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"})
_WRAPPERS = frozenset({"PrepareStmt", "DeclareCursorStmt"})
_RUN_CODE = frozenset({"DoStmt", "RefreshMatViewStmt", "CreateExtensionStmt", "AlterExtensionStmt", "ListenStmt"})
"""Commands that run, or let somebody be told by, what they don't spell out."""


def outputs(request: Request, catalog: Catalog, *, statement: int) -> tuple[Output, ...] | None:
    """The columns that a statement returns, in order.

    None when it returns none, and when their number can't be told: only what the server says of each field counts then.
    For PREPARE and DECLARE they are those of the query inside; for EXECUTE and FETCH ask for the request they name.
    """
    rows = _understood(request, catalog, statement).result
    if rows is None or not rows.counted:
        return None
    return tuple(output_of(name, origin) for name, origin in rows.columns) or None


def influences(request: Request, catalog: Catalog, statement: int) -> frozenset[str] | None:
    """Every column (of tables, and of views on the way) that a statement reads, writes or compares with.

    ANYTHING is among them when it calls what may read whatever it likes. None when something it refers to is not in the
    catalog.
    """
    found = _understood(request, catalog, statement)
    return None if found.lost is not None else found.touched


def uses(request: Request, catalog: Catalog, statement: int) -> Mapping[str, frozenset[Use]] | None:
    """What a statement uses columns for, apart from showing them: name (as in `influences`) -> uses.

    The conditions of a view itself are its owner's and don't count, but what is asked of its columns counts for those
    they are made of. ANYTHING is among the names, with every use, when the statement calls what may look at whatever
    it likes; None when something it refers to is not in the catalog.
    """
    found = _understood(request, catalog, statement)
    return None if found.lost is not None else found.uses


def checked(request: Request, catalog: Catalog, statement: int) -> frozenset[str]:
    """Every column of the tables that a statement writes to: the error of a constraint tells the whole row."""
    return _understood(request, catalog, statement).checked


def copies(request: Request, catalog: Catalog, statement: int) -> tuple[Flow, ...] | None:
    """What flows where when the statement runs, its WITH queries included; None when it writes nothing from columns."""
    return _understood(request, catalog, statement).flows or None


@dataclass(frozen=True, slots=True)
class _Understood:
    """What one reading of a statement gave."""

    result: Rows | None = None
    touched: frozenset[str] = frozenset()
    checked: frozenset[str] = frozenset()
    flows: tuple[Flow, ...] = ()
    lost: str | None = None
    uses: Mapping[str, frozenset[Use]] = field(default_factory=dict)


_last: tuple[str, int, Catalog, _Understood] | None = None
"""The last reading: the questions above are asked one after the other, and a long statement takes a second to read."""


def _understood(request: Request, catalog: Catalog, statement: int) -> _Understood:
    global _last
    last = _last  # one look: another thread may replace it
    if last is not None and last[2] is catalog and last[1] == statement and last[0] == request.text:
        return last[3]
    tree = tree_of(request, statement)
    found = _Understood(lost="it can't be read")
    if tree is not None:
        reader = Modifications(catalog)
        reading = Reading(reader)
        rows = reading.rows(tree)
        flows = tuple(
            Flow(target, None if origin.why is not None else origin.all)
            for target, origin in sorted(reading.flows.items())
            if origin != NOWHERE
        )
        used = {name: frozenset(how) for name, how in reader.uses.items()}
        if ANYTHING in reading.touched:
            used[ANYTHING] = frozenset(Use)
        found = _Understood(rows, frozenset(reading.touched), frozenset(reader.checked), flows, reading.lost, used)
    _last = request.text, statement, catalog, found
    return found


def tree_of(request: Request, statement: int) -> Node | None:
    """The tree of a request's `statement`-th statement, None when it can't be read."""
    try:
        trees = parse(request.text, max_bytes=max(4 * len(request.text), 1_000_000))
    except Unreadable:
        return None
    node: Node | None = trees[statement].stmt
    return node


def output_of(name: str, origin: Origin) -> Output:
    """A column of a result, from what lineage found out about it."""
    if origin.why is not None:
        return Output(name, None, why=origin.why)
    if origin.plain is not None:
        return Output(name, frozenset({origin.plain}), plain=True)
    return Output(name, origin.all)


class Reading:
    """One statement read to its end: what it `touched`, its `flows`, what was `lost`; or not, when `too_complex`."""

    def __init__(self, reader: Modifications) -> None:
        self._reader = reader
        self.flows: dict[str, Origin] = {}
        self.touched: set[str] = set()
        self.lost: str | None = None
        self.too_complex = False

    def rows(self, statement: Node) -> Rows | None:
        try:
            rows = self._rows(statement)
            self.lost = self._reader.lost
        except TooComplex:
            self.too_complex = True
            self.lost = "the statement is too complex to tell where its columns come from"
            rows = Rows(why=self.lost)
            self._reader.flows["*"] = unknown(self.lost)
        self.flows, self.touched = self._reader.flows, self._reader.touched
        return rows

    def _rows(self, statement: Node) -> Rows | None:
        reader = self._reader
        while statement.kind in _WRAPPERS:
            statement = statement.query
        if statement.kind == "SelectStmt":
            rows = reader.query(statement, None)
            into = _into(statement)
            if into is None:
                return rows
            reader.make(into.rel, strings(into.colNames), rows)
            return None
        if statement.kind in _QUERIES:
            rows = reader.query(statement, None)
            return rows if statement.returningClause is not None else None
        match statement.kind:
            case "CreateTableAsStmt":
                query = statement.query
                rows = reader.query(query, None) if query.kind in _QUERIES else Rows(why="EXECUTE is not known here")
                reader.make(statement.into.rel, strings(statement.into.colNames), rows)
                return None
            case "ViewStmt":
                reader.make(statement.view, strings(statement.aliases), reader.query(statement.query, None))
                return None
            case "ExplainStmt":
                return self._explain(statement)
            case "VariableShowStmt":
                if "." in statement.name or statement.name == "all":
                    return Rows(why="a parameter with a dot in its name holds anything")
                return Rows(((statement.name, NOWHERE),))
            case "CopyStmt":
                self._copy(statement)
                return None
            case "CallStmt":
                reader.refer(statement.funccall, Scope())
                return Rows(why="what a procedure returns is not known")
            case "ExecuteStmt" | "FetchStmt":
                return Rows(why=f"what {statement.name or statement.portalname} returns is not known here")
            case _:
                self._other(statement)
                return None

    def _explain(self, statement: Node) -> Rows:
        """A plan shows constants that the planner worked out, by calling functions too."""
        inner = self._rows(statement.query)
        why = inner.why if inner is not None and statement.query.kind == "ExecuteStmt" else None
        for node in walk(statement.query):
            why = why or self._reader.other_data(node)
        return Rows((("QUERY PLAN", unknown(why) if why else NOWHERE),))

    def _copy(self, statement: Node) -> None:
        if statement.query is not None:
            self._reader.query(statement.query, None)
            return
        entry = self._reader.table(statement.relation, None)
        scope = Scope(None, [entry])
        names = strings(statement.attlist)
        for origin in [entry.rows.column(name) for name in names] or [entry.rows.whole]:
            if origin is not None:
                self._reader.touched |= origin.all
        self._reader.condition(statement.whereClause, scope)

    def _other(self, statement: Node) -> None:
        """A command: the columns that its expressions name are those of the relation it is about.

        Its error may tell of all of a row: of what is no key, or doesn't fit the new type. That of an index tells what
        is in it.
        """
        relation = statement.relation or statement.table
        if statement.kind in _RUN_CODE:
            self._reader.touched.add(ANYTHING)
        if statement.kind == "CreateStmt" or not isinstance(relation, Node) or relation.kind != "RangeVar":
            return
        entry = self._reader.table(relation, None)
        keys = {element.name for element in statement.indexParams or ()}
        for name, origin in entry.rows.columns:
            if statement.kind != "IndexStmt" or name in keys:
                self._reader.touched |= origin.all
        scope = Scope(None, [entry])
        for node in walk(statement):
            if node.kind == "ColumnRef":
                self._reader.refer(node, scope, Use.PREDICATE)
            elif self._reader.other_data(node) is not None:
                self._reader.touched.add(ANYTHING)


def _into(select: Node) -> Node | None:
    """The INTO clause of a SELECT: in a set operation it belongs to the first arm."""
    node: Node | None = select
    while node is not None:
        clause: Node | None = node.intoClause
        if clause is not None:
            return clause
        node = node.larg
    return None
