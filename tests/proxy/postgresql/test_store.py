"""One datastore as its classification has it now."""

from __future__ import annotations

from pathlib import Path

from tests.proxy.house import CLASSIFICATION, House, errors_of, play


def test_a_newer_catalog_is_worth_reading_once_for_each_request_of_a_database(tmp_path: Path) -> None:
    async def use() -> None:
        async with House(tmp_path) as house:
            store = house.opened
            assert [store.first_try("shop", "s"), store.first_try("shop", "s")] == [True, False]
            assert store.first_try("other", "s")
            assert store.first_try("sho", "ps")
            assert store.first_try("shop", "\udcff")
            # nothing of a long text is kept
            assert store.first_try("shop", "x" * 10_000_000)
            assert all(len(key) == 16 for key in store._tried._young)

    play(use())


def test_what_is_classified_while_it_runs_is_masked_from_then_on(tmp_path: Path) -> None:
    async def use() -> None:
        async with House(tmp_path) as house:
            store = house.opened
            client = await house.begun()
            await client.ask("SELECT upper(email) FROM customers")
            assert "masks" not in house.records(type="statement", phase="begin")[-1]
            assert (store.catalogs, house.reader.readings) == (None, 0)
            house.classification["orders"] = dict(CLASSIFICATION)
            house.policies.reload()
            store.reclassify(CLASSIFICATION)
            await client.ask("SELECT upper(email) FROM customers")
            assert house.records(type="statement", phase="begin")[-1]["masks"] == [["public.customers.email", "redact"]]
            assert house.reader.readings == 1
            # and what more is, whatever snapshot is at hand
            more: dict[str, tuple[str, ...]] = {**CLASSIFICATION, "public.customers.note": ("pii",)}
            house.classification["orders"] = more
            house.policies.reload()
            store.reclassify(more)
            await client.ask("SELECT upper(note) FROM customers")
            assert house.records(type="statement", phase="begin")[-1]["masks"] == [["public.customers.note", "redact"]]
            store.reclassify({})
            assert errors_of(await client.ask("SELECT 1")) == []

    play(use())
