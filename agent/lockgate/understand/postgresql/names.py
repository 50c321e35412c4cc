"""The names of things that statements act on, as `Statement.objects` spells them.

Relations stand bare (`orders`, `public.orders`); everything else has its kind in front (`role:bob`, `setting:role`).
"""

from __future__ import annotations

from collections.abc import Iterator

from lockgate.understand.postgresql.tree import Node, items, strings

_FIELDS = {
    "CreateRoleStmt": ("role", "role"),
    "CreatedbStmt": ("database", "dbname"),
    "DropdbStmt": ("database", "dbname"),
    "AlterDatabaseStmt": ("database", "dbname"),
    "AlterDatabaseSetStmt": ("database", "dbname"),
    "AlterDatabaseRefreshCollStmt": ("database", "dbname"),
    "CreateSchemaStmt": ("schema", "schemaname"),
    "CreateExtensionStmt": ("extension", "extname"),
    "AlterExtensionStmt": ("extension", "extname"),
    "AlterExtensionContentsStmt": ("extension", "extname"),
    "CreateForeignServerStmt": ("server", "servername"),
    "AlterForeignServerStmt": ("server", "servername"),
    "CreateUserMappingStmt": ("server", "servername"),
    "AlterUserMappingStmt": ("server", "servername"),
    "DropUserMappingStmt": ("server", "servername"),
    "ImportForeignSchemaStmt": ("server", "server_name"),
    "CreateForeignTableStmt": ("server", "servername"),
    "CreatePublicationStmt": ("publication", "pubname"),
    "AlterPublicationStmt": ("publication", "pubname"),
    "CreateSubscriptionStmt": ("subscription", "subname"),
    "AlterSubscriptionStmt": ("subscription", "subname"),
    "DropSubscriptionStmt": ("subscription", "subname"),
    "CreateTableSpaceStmt": ("tablespace", "tablespacename"),
    "DropTableSpaceStmt": ("tablespace", "tablespacename"),
    "AlterTableSpaceOptionsStmt": ("tablespace", "tablespacename"),
    "LoadStmt": ("file", "filename"),
    "CopyStmt": ("file", "filename"),
    "ListenStmt": ("channel", "conditionname"),
    "NotifyStmt": ("channel", "conditionname"),
    "VariableShowStmt": ("setting", "name"),
}
"""Statement kind -> (what it names, the field with the name)."""

_OBJECTS = {
    "DropStmt": ("removeType", "objects"),
    "CommentStmt": ("objtype", "object"),
    "SecLabelStmt": ("objtype", "object"),
    "RenameStmt": ("renameType", "object"),
    "AlterOwnerStmt": ("objectType", "object"),
    "AlterObjectSchemaStmt": ("objectType", "object"),
    "AlterObjectDependsStmt": ("objectType", "object"),
    "AlterFunctionStmt": ("objtype", "func"),
    "GrantStmt": ("objtype", "objects"),
    "CreateFunctionStmt": ("OBJECT_FUNCTION", "funcname"),
}

_RELATIONS = frozenset({"TABLE", "VIEW", "MATVIEW", "SEQUENCE", "INDEX", "FOREIGN_TABLE"})
_PARTS_OF_RELATIONS = frozenset({"TRIGGER", "RULE", "POLICY", "TABCONSTRAINT", "COLUMN"})


def named_objects(statement: Node) -> Iterator[str]:
    """The objects a statement names other than by a RangeVar or a RoleSpec (those are found by walking the tree)."""
    if statement.kind == "CopyStmt" and statement.is_program:
        yield "program"  # and not its command line, which may hold a password
    elif statement.kind in _FIELDS:
        prefix, field = _FIELDS[statement.kind]
        name = getattr(statement, field)
        if isinstance(name, str):
            yield f"{prefix}:{name}"
    if statement.kind == "VariableSetStmt":
        yield f"setting:{str(statement.name or 'all').lower()}"
    if statement.kind == "GrantRoleStmt":
        for role in statement.granted_roles or ():
            yield f"role:{role.priv_name}"
    if statement.kind in _OBJECTS:
        yield from _typed_objects(statement, *_OBJECTS[statement.kind])


def role_name(role: Node) -> str:
    """`role:bob`, `role:current_user`, `role:public` of a RoleSpec."""
    if role.rolename:
        return f"role:{role.rolename}"
    return f"role:{str(role.roletype).removeprefix('ROLESPEC_').lower()}"


def _typed_objects(statement: Node, type_field: str, field: str) -> Iterator[str]:
    kind = type_field if type_field.startswith("OBJECT_") else str(statement.raw.get(type_field, ""))
    kind = kind.removeprefix("OBJECT_")
    value = getattr(statement, field)
    names = value if field == "objects" else (value,)
    if field == "funcname":
        names = (strings(value),)
    for item in names or ():
        parts = item if isinstance(item, tuple) and all(isinstance(part, str) for part in item) else _parts(item)
        if kind in _PARTS_OF_RELATIONS:
            parts = parts[:-1]
        if not parts:
            continue
        bare = kind in _RELATIONS or kind in _PARTS_OF_RELATIONS
        yield ".".join(parts) if bare else f"{kind.lower()}:{'.'.join(parts)}"


def _parts(item: Node | None) -> tuple[str, ...]:
    if item is None or item.kind == "RangeVar":
        return ()
    if item.kind == "ObjectWithArgs":
        return strings(item.objname)
    if item.kind == "TypeName":
        return strings(item.names)
    if item.kind == "String":
        return strings((item,))
    return strings(items(item))
