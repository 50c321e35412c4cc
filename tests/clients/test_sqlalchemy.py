"""SQLAlchemy: core and ORM, over psycopg and over asyncpg; it makes its tables, looks at them and works with them."""

from __future__ import annotations

import pytest

from tests.clients.side_by_side import intercepted, python, same
from tests.support.stack import Stack

MODEL = """
import datetime, decimal, enum
from sqlalchemy import *
from sqlalchemy.orm import *

class Base(DeclarativeBase): pass
class Shade(enum.Enum):
    dark = 1
    light = 2
class Author(Base):
    __tablename__ = "author"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(40), index=True)
    born: Mapped[datetime.date | None]
    books: Mapped[list["Book"]] = relationship(back_populates="author", cascade="all, delete-orphan")
class Book(Base):
    __tablename__ = "book"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(unique=True)
    price: Mapped[decimal.Decimal] = mapped_column(Numeric(8, 2))
    shade: Mapped[Shade]
    facts: Mapped[dict] = mapped_column(JSON)
    author_id: Mapped[int] = mapped_column(ForeignKey("author.id"))
    author: Mapped[Author] = relationship(back_populates="books")

def work(session):
    session.add_all([Author(name=f"a{i}", born=datetime.date(1950 + i, 1, 1), books=[
        Book(title=f"t{i}-{j}", price=decimal.Decimal(j) / 4, shade=Shade.dark, facts={"n": j}) for j in range(5)])
        for i in range(4)])
    session.commit()
    print(session.scalars(select(Author).options(selectinload(Author.books)).order_by(Author.id)).first().books[2].facts)
    print(session.execute(select(Author.name, func.count(), func.sum(Book.price)).join(Book).group_by(Author.name)
                          .order_by(Author.name)).all())
    print(session.execute(text("SELECT title FROM book WHERE title LIKE :t ORDER BY 1"), {"t": "t1%"}).scalars().all())
    book = session.scalars(select(Book).where(Book.title == "t2-3").with_for_update()).one()
    book.price = 99
    session.flush()
    with session.begin_nested() as inner:
        session.execute(update(Book).where(Book.author_id == book.author_id).values(shade=Shade.light))
        inner.rollback()
    session.commit()
    try:
        session.add(Book(title="t2-3", price=1, shade=Shade.dark, facts={}, author_id=1))
        session.commit()
    except Exception as error:
        print(type(error).__name__, error.orig.sqlstate)
        session.rollback()
    session.delete(session.get(Author, 2))
    session.commit()
    print(session.scalar(select(func.count()).select_from(Book)), session.scalar(select(func.max(Book.price))))
    for part in session.scalars(select(Book).order_by(Book.id).execution_options(yield_per=4)).partitions():
        print([b.title for b in part])

def look(connection):
    found = inspect(connection)
    for table in sorted(found.get_table_names()):
        if table in ("author", "book"):
            print(table, [(c["name"], str(c["type"]), c["nullable"]) for c in found.get_columns(table)],
                  found.get_pk_constraint(table)["constrained_columns"], found.get_indexes(table),
                  [f["referred_table"] for f in found.get_foreign_keys(table)], found.get_unique_constraints(table))
    print(sorted(found.get_view_names()), found.get_enums())
"""

SYNC = (
    MODEL
    + """
engine = create_engine(f"postgresql+psycopg://app@{HOST}:{PORT}/postgres")
Base.metadata.drop_all(engine)
Base.metadata.create_all(engine)
with Session(engine) as session:
    work(session)
with engine.connect() as connection:
    look(connection)
Base.metadata.drop_all(engine)
engine.dispose()
"""
)

ASYNC = (
    MODEL
    + """
import asyncio
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
async def main():
    engine = create_async_engine(f"postgresql+asyncpg://app@{HOST}:{PORT}/postgres")
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.drop_all)
        await connection.run_sync(Base.metadata.create_all)
    async with AsyncSession(engine) as session:
        await session.run_sync(work)
    async with engine.begin() as connection:
        await connection.run_sync(look)
        await connection.run_sync(Base.metadata.drop_all)
    await engine.dispose()
asyncio.run(main())
"""
)


@pytest.mark.parametrize("program", [SYNC, ASYNC], ids=["psycopg", "asyncpg"])
def test_the_whole_of_it(stack: Stack, program: str) -> None:
    out = same(stack, python(program, stack.server.port))
    assert "{'n': 2}" in out
    assert "IntegrityError 23505" in out
    assert "['t0-0', 't0-1', 't0-2', 't0-3']" in out


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
def test_reflected_tables_come_masked(stack: Stack, driver: str) -> None:
    program = f"""
    import asyncio
    from sqlalchemy import MetaData, Table, select
    from sqlalchemy.ext.asyncio import create_async_engine
    async def main():
        engine = create_async_engine(f"postgresql+{driver}://app@{{HOST}}:{{PORT}}/postgres")
        async with engine.connect() as connection:
            customers = await connection.run_sync(lambda c: Table("customers", MetaData(), autoload_with=c))
            rows = await connection.execute(select(customers.c.id, customers.c.email, customers.c.born)
                                            .where(customers.c.email == "user7@example.org"))
            print(rows.all())
        await engine.dispose()
    asyncio.run(main())
    """
    run = intercepted(stack, python(program, stack.server.port), person="ann")
    assert run.stdout == "[(7, 'u***@e***.org', None)]\n", run.stderr
