from __future__ import annotations

from collections.abc import Mapping

from lockgate.masking.classified import Classified, Held, Place, resolve
from lockgate.values.catalog import Catalog, Column, Relation


def relation(oid: int, qualified: tuple[str, str], *columns: str | None, kind: str = "r") -> Relation:
    """Columns are numbered in order; None is a dropped one."""
    named = tuple(Column(name, number, 25) for number, name in enumerate(columns, 1) if name is not None)
    return Relation(oid, qualified[0], qualified[1], kind, named)


def catalog(*relations: Relation) -> Catalog:
    by_name: dict[str, tuple[Relation, ...]] = {}
    for r in relations:
        by_name[r.name] = (*by_name.get(r.name, ()), r)
    return Catalog("app", {r.oid: r for r in relations}, by_name)


def look(
    *relations: Relation,
    names: tuple[str, ...] = ("public.t.email",),
    parents: Mapping[int, tuple[int, ...]] | None = None,
    generated: Mapping[int, tuple[tuple[int, int], ...]] | None = None,
    before: Classified | None = None,
) -> Classified:
    return resolve(names, catalog(*relations), parents or {}, generated or {}, {} if before is None else before.sticky)


T = ("public", "t")
EMAIL = Held(plain=frozenset({"public.t.email"}))
FROM_EMAIL = Held(derived=frozenset({"public.t.email"}))


def held(found: Classified, *places: Place) -> list[Held]:
    sources = [found.source(*place) for place in places]
    return [Held() if source is None else source.held for source in sources]


def test_a_column_by_name_and_by_number() -> None:
    found = look(relation(1, T, "id", "email"))
    source = found.source(1, 2)
    assert source is not None
    assert (source.name, source.table, source.held) == ("public.t.email", True, EMAIL)
    assert found.held("public.t.email") == EMAIL
    assert found.held("public.t.id") == found.held("nonsense") == found.held("") == Held()
    assert found.missing == ()


def test_what_is_not_in_the_catalog_is_not_told() -> None:
    found = look(relation(1, T, "id", None, "email"))
    assert found.source(2, 1) is None
    assert found.source(1, 2) is None
    assert found.source(1, 4) is None
    assert found.source(1, -7) is None
    ctid = found.source(1, -1)
    assert ctid is not None
    assert ctid.name == "public.t.ctid"


def test_only_what_holds_rows_is_a_table() -> None:
    for kind, table in (("r", True), ("p", True), ("f", True), ("v", False), ("m", False)):
        source = look(relation(1, T, "email", kind=kind)).source(1, 1)
        assert source is not None
        assert source.table is table


def test_a_name_nobody_has_is_said() -> None:
    assert look(relation(1, T, "e_mail")).missing == ("public.t.email",)


def test_renaming_the_column_the_table_or_its_schema_keeps_it_classified() -> None:
    found = look(relation(1, T, "id", "email"))
    for step in (("public", "t"), ("public", "people"), ("attic", "people")):
        found = look(relation(1, step, "id", "mail"), before=found)
        assert held(found, (1, 1), (1, 2)) == [Held(), EMAIL]
        assert found.held(".".join((*step, "mail"))) == EMAIL
        assert found.missing == ()


def test_two_columns_that_change_names_are_both_classified() -> None:
    """One by its number, one by its name: the name is what the operator wrote."""
    found = look(relation(1, T, "note", "email"), before=look(relation(1, T, "email", "note")))
    assert held(found, (1, 1), (1, 2)) == [EMAIL, EMAIL]


def test_a_table_dropped_is_forgotten_and_one_made_anew_is_found() -> None:
    found = look(relation(2, T, "email"), before=look(relation(1, T, "email")))
    assert list(found.sticky) == [(2, 1)]
    assert held(found, (2, 1)) == [EMAIL]


def test_partitions_of_partitions_hold_what_the_parent_does() -> None:
    family = (
        relation(1, T, "id", "email", kind="p"),
        relation(2, ("public", "t_eu"), "email", "id", kind="p"),
        relation(3, ("parts", "t_eu_1"), "x", "y", "email"),
    )
    found = look(*family, parents={2: (1,), 3: (2,)})
    assert held(found, (1, 2), (2, 1), (3, 3)) == [EMAIL] * 3
    assert held(found, (1, 1), (2, 2), (3, 1)) == [Held()] * 3
    assert found.held("parts.t_eu_1.email") == EMAIL


def test_a_detached_partition_stays_classified() -> None:
    family = relation(1, T, "email"), relation(2, ("public", "t_eu"), "email")
    found = look(*family, before=look(*family, parents={2: (1,)}))
    assert held(found, (2, 1)) == [EMAIL]


def test_a_parent_shows_what_its_child_holds_but_a_sibling_does_not() -> None:
    family = (
        relation(1, ("public", "all"), "email"),
        relation(2, T, "email"),
        relation(3, ("public", "open"), "email"),
    )
    found = look(*family, parents={2: (1,), 3: (1,)})
    assert held(found, (1, 1), (2, 1), (3, 1)) == [EMAIL, EMAIL, Held()]
    # and the parent no more, once the child has gone its own way
    assert held(look(*family, parents={3: (1,)}, before=found), (1, 1), (2, 1)) == [Held(), EMAIL]


def test_a_circle_in_inheritance_ends() -> None:
    family = relation(1, T, "email"), relation(2, ("public", "u"), "email")
    assert held(look(*family, parents={1: (2,), 2: (1,)}), (1, 1), (2, 1)) == [EMAIL, EMAIL]


def test_a_generated_column_depends_on_its_source() -> None:
    table = relation(1, T, "id", "email", "folded")
    found = look(table, generated={1: ((3, 2),)})
    assert held(found, (1, 3)) == [FROM_EMAIL]
    assert held(look(table, before=found), (1, 3)) == [FROM_EMAIL], "its values stay when its expression is dropped"
    assert held(look(table, generated={1: ((3, 1),)}), (1, 3)) == [Held()]


def test_a_generated_column_of_a_partition_is_seen_through_the_parent() -> None:
    family = relation(1, ("public", "all"), "email", "folded"), relation(2, T, "email", "folded")
    found = look(*family, parents={2: (1,)}, generated={2: ((2, 1),)})
    assert held(found, (1, 2), (2, 2)) == [FROM_EMAIL, FROM_EMAIL]


def test_quoted_names() -> None:
    found = look(relation(1, ("Sales", "Order Lines"), "E-Mail"), names=("Sales.Order Lines.E-Mail",))
    assert found.held("Sales.Order Lines.E-Mail").plain == {"Sales.Order Lines.E-Mail"}
    assert found.held("sales.order lines.e-mail") == Held()


def test_a_name_that_dots_make_ambiguous_means_every_column_it_can() -> None:
    found = look(
        relation(1, ("a.b", "c"), "d"), relation(2, ("a", "b.c"), "d"), relation(3, ("a", "b"), "c.d", "d"),
        names=("a.b.c.d",),
    )  # fmt: skip
    assert found.held("a.b.c.d").plain == {"a.b.c.d"}
    assert [bool(h.plain) for h in held(found, (1, 1), (2, 1), (3, 1), (3, 2))] == [True, True, True, False]


def test_what_the_system_keeps_of_other_tables_counts_as_all_that_is_classified() -> None:
    found = look(
        relation(1, T, "email"),
        relation(2, ("pg_catalog", "pg_stats"), "attname", "most_common_vals", kind="v"),
        relation(3, ("public", "pg_stats"), "most_common_vals"),
        relation(4, ("tools", "pg_stat_statements"), "query", "calls", kind="v"),
    )
    assert held(found, (2, 1), (2, 2), (3, 1), (4, 1), (4, 2)) == [Held(), FROM_EMAIL, Held(), FROM_EMAIL, Held()]
    assert found.held("pg_catalog.pg_stats.most_common_vals") == FROM_EMAIL


def test_what_is_compared_with_a_column_is_secret_whatever_it_is_called_now() -> None:
    before = look(relation(1, T, "email", "folded", "note"), generated={1: ((2, 1),)})
    after = look(
        relation(1, T, "mail", "folded", "note"), relation(2, ("pg_catalog", "pg_stats"), "most_common_vals"),
        generated={1: ((2, 1),)}, before=before,
    )  # fmt: skip
    assert before.secrets() == {"public.t.email", "public.t.folded"}
    assert after.secrets() == {"public.t.mail", "public.t.folded"}
