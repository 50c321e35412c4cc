"""Declared addresses become targets; names are followed, and what they were is remembered for a while."""

from __future__ import annotations

import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.kernel.addresses import ANSWERS_MAX, GRACE_SECONDS, AddressBook, Declared, literal, resolve_host
from lockgate.kernel.layout import Target


class Names:
    """A resolver and a clock that a test sets by hand."""

    def __init__(self, **answers: list[str]) -> None:
        self.answers = answers
        self.now = 1000.0

    def resolve(self, name: str) -> list[str]:
        if name not in self.answers:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return self.answers[name]

    def book(self, *declared: Declared) -> AddressBook:
        return AddressBook(declared, self.resolve, lambda: self.now)


def store(*addresses: str, datastore: int = 0) -> Declared:
    return Declared(datastore, 15432, addresses)


def networks(book: AddressBook) -> list[str]:
    return [str(target.network or "*") for target in book.targets]


def test_every_form_of_address_becomes_a_target() -> None:
    book = Names(db=["192.0.2.1", "2001:db8::1"]).book(
        store("10.0.0.1:5432", "10.0.0.0/8:5433", "*:5434", "[fd00::1]:5435", "[fd00::/8]:5436", "db:5437", datastore=3)
    )
    assert book.refresh()
    assert [(str(t.network or "*"), t.port) for t in book.targets] == [
        ("10.0.0.1/32", 5432),
        ("10.0.0.0/8", 5433),
        ("*", 5434),
        ("fd00::1/128", 5435),
        ("fd00::/8", 5436),
        ("192.0.2.1/32", 5437),
        ("2001:db8::1/128", 5437),
    ]
    assert {(t.datastore, t.listener_port) for t in book.targets} == {(3, 15432)}
    assert book.problems == ()


def test_a_refresh_that_finds_the_same_says_so() -> None:
    book = Names(db=["192.0.2.1"]).book(store("db:5432"))
    assert book.refresh()
    assert not book.refresh()


def test_a_name_that_stops_resolving_keeps_its_addresses_and_is_reported() -> None:
    names = Names(db=["192.0.2.1"])
    book = names.book(store("db:5432"))
    book.refresh()
    del names.answers["db"]
    names.now += 10 * GRACE_SECONDS
    assert not book.refresh()
    assert networks(book) == ["192.0.2.1/32"]
    assert "db can't be resolved" in book.problems[0]
    assert "1 addresses known before are kept" in book.problems[0]


def test_an_empty_answer_is_no_reason_to_forget() -> None:
    names = Names(db=["192.0.2.1"])
    book = names.book(store("db:5432"))
    book.refresh()
    names.answers["db"] = []
    names.now += 2 * GRACE_SECONDS
    assert not book.refresh()
    assert book.problems == ("db resolves to no address",)


def test_an_address_that_a_name_lost_stays_for_the_grace_time_and_no_longer() -> None:
    names = Names(db=["192.0.2.1"])
    book = names.book(store("db:5432"))
    book.refresh()
    names.answers["db"] = ["192.0.2.2"]
    names.now += GRACE_SECONDS - 1
    assert book.refresh()
    assert networks(book) == ["192.0.2.1/32", "192.0.2.2/32"]
    names.now += 2
    assert book.refresh()
    assert networks(book) == ["192.0.2.2/32"]


def test_a_name_unknown_at_the_start_is_reported_and_taken_when_it_appears() -> None:
    names = Names()
    book = names.book(store("db:5432", "10.0.0.1:5432"))
    assert book.refresh()
    assert networks(book) == ["10.0.0.1/32"]
    assert "nothing is intercepted for it yet" in book.problems[0]
    names.answers["db"] = ["192.0.2.1"]
    assert book.refresh()
    assert book.problems == ()


def test_an_address_of_two_datastores_is_the_first_one_s_and_reported() -> None:
    book = Names(a=["192.0.2.1"], b=["192.0.2.1"]).book(
        store("a:5432", datastore=1), store("b:5432", "b:5433", datastore=2)
    )
    book.refresh()
    assert [(t.port, t.datastore) for t in book.targets] == [(5432, 1), (5433, 2)]
    assert "already belongs to datastore 1" in book.problems[0]


def test_a_name_with_endless_answers_is_bounded() -> None:
    names = Names(db=[])
    book = names.book(store("db:5432"))
    for turn in range(ANSWERS_MAX + 10):
        names.answers["db"] = [f"10.0.{turn // 256}.{turn % 256}"]
        names.now += 1
        book.refresh()
    assert len(book.targets) == ANSWERS_MAX
    assert networks(book)[-1] == f"10.0.0.{ANSWERS_MAX + 9}/32"
    assert "the 64 seen last" in book.problems[0]


def test_one_name_on_two_ports_is_asked_once() -> None:
    asked: list[str] = []

    def resolver(name: str) -> list[str]:
        asked.append(name)
        return ["192.0.2.1"]

    book = AddressBook([store("db:5432", "db:5433")], resolver)
    book.refresh()
    assert asked == ["db"]
    assert len(book.targets) == 2


def test_what_is_not_an_address_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="is not a port"):
        AddressBook([store("db:0")])


def test_the_host_s_own_resolver_is_asked() -> None:
    assert "127.0.0.1" in resolve_host("localhost")
    book = AddressBook([store("nothing.invalid:5432")])
    assert not book.refresh()
    assert "nothing.invalid can't be resolved" in book.problems[0]


def test_a_mapped_address_is_the_address_it_stands_for() -> None:
    assert literal("::ffff:10.0.0.1") == ipaddress.ip_network("10.0.0.1/32")
    assert literal("db.example") is None


@given(st.lists(st.lists(st.ip_addresses().map(str), max_size=4), min_size=1, max_size=6))
def test_whatever_a_resolver_answers_the_current_answer_is_always_intercepted(turns: list[list[str]]) -> None:
    names = Names()
    book = names.book(store("db:5432"))
    last: list[str] = []
    for answers in turns:
        names.answers["db"] = answers
        names.now += GRACE_SECONDS * 0.7
        book.refresh()
        last = answers or last
    assert {Target(literal(answer), 5432, 0, 15432) for answer in last} <= set(book.targets)


def test_an_address_is_called_by_the_names_that_stand_for_it() -> None:
    answers = {"db": ["10.0.0.5", "fd00::5"], "replica": ["10.0.0.5", "10.0.0.6"]}
    book = AddressBook(
        [Declared(0, 1, ("10.0.0.0/8:5432", "replica:5432", "db:5432", "db:6432")), Declared(1, 2, ("db:7432",))],
        lambda name: answers[name],
    )
    book.refresh()
    assert book.names(0, "10.0.0.5", 5432) == ("replica", "db")
    assert book.names(0, "10.0.0.6", 5432) == ("replica",)
    assert book.names(0, "fd00::5", 6432) == ("db",)
    assert book.names(0, "10.0.0.7", 5432) == ()
    assert book.names(1, "10.0.0.5", 7432) == ("db",)
    assert book.names(1, "10.0.0.5", 5432) == ()


def test_whose_names_stand_for_no_address_is_known() -> None:
    names = Names(one=["192.0.2.1"])
    book = names.book(store("one:5432", "10.0.0.1:5432"), store("two:5432", "10.0.0.2:5432", datastore=1))
    book.refresh()
    assert book.unknown == {1}
    names.answers = {"two": ["192.0.2.2"]}
    book.refresh()
    assert book.unknown == frozenset(), "what was known before counts"


def test_where_a_connection_goes_is_told_as_the_kernel_tells_it() -> None:
    book = Names(db=["192.0.2.1"]).book(
        store("10.0.0.0/8:6379", "db:6379", datastore=0),
        store("10.1.0.0/16:6379", "[fd00::/8]:6379", datastore=1),
        store("*:7000", datastore=2),
    )
    book.refresh()
    assert book.leads("10.2.0.1", 6379) == 0
    assert book.leads("10.1.0.1", 6379) == 1, "the narrowest"
    assert book.leads("::ffff:10.1.0.1", 6379) == 1
    assert book.leads("fd00::7", 6379) == 1
    assert book.leads("192.0.2.1", 6379) == 0
    assert book.leads("DB", 6379) == 0
    assert book.leads("2001:db8::1", 7000) == 2
    for host, port in (("10.2.0.1", 6380), ("192.0.2.2", 6379), ("other", 6379), ("10.0.0.0/8", 6379), ("", 6379)):
        assert book.leads(host, port) is None
