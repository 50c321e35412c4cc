"""Reading the catalog of a real server in tests."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

from lockgate.config import Credential
from lockgate.proxy.postgresql.catalog_reader import CatalogReader, Reading
from lockgate.values.catalog import Catalog, Relation
from lockgate.values.identity import Endpoint

T = TypeVar("T")


def run(coroutine: Coroutine[object, object, T]) -> T:
    return asyncio.run(coroutine)


def read(endpoint: Endpoint, database: str) -> Reading:
    return run(CatalogReader(Credential(user="open")).read(endpoint, database))


def named(found: Catalog, name: str) -> Relation:
    (relation,) = found.by_name[name]
    return relation
