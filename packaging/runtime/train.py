"""What CPython is trained on (profile-guided optimisation): the kinds of work that an agent does.

Nothing by chance: one thread, no clock, no hash that differs between runs, the same instructions every time, so that
the same compiler makes the same bytes of it. (CPython's own training is its test suite: neither short nor repeatable.)
"""

import asyncio
import collections
import dataclasses
import decimal
import enum
import functools
import hashlib
import itertools
import json
import pathlib
import re
import struct


class Kind(enum.Enum):
    """As a protocol has: a value in, a member out."""

    QUERY = ord("Q")
    PARSE = ord("P")
    BIND = ord("B")
    SYNC = ord("S")


@dataclasses.dataclass(frozen=True, slots=True)
class Message:
    """A frozen value, compared and hashed."""

    kind: Kind
    body: bytes
    number: int = 0


class Session:
    """A sans-IO state machine: bytes in, messages out."""

    def __init__(self):
        self.buffer = bytearray()
        self.seen = collections.Counter()
        self.state = self.start

    def feed(self, data):
        """Messages completed by `data`."""
        self.buffer += data
        while len(self.buffer) >= 5:
            code, length = struct.unpack_from("!BI", self.buffer)
            if len(self.buffer) < length + 1:
                return
            with memoryview(self.buffer) as view:
                body = bytes(view[5 : length + 1])
            del self.buffer[: length + 1]
            try:
                yield self.state(Message(Kind(code), body, len(self.seen)))
            except ValueError as error:
                yield str(error)

    def start(self, message):
        """The first state."""
        self.seen[message.kind] += 1
        self.state = self.busy if message.kind is Kind.PARSE else self.start
        return message

    def busy(self, message):
        """The other."""
        self.seen[message.kind, "busy"] += 1
        if message.kind is Kind.SYNC:
            self.state = self.start
        elif not message.body:
            raise ValueError(f"empty {message.kind.name.lower()}")
        return dataclasses.replace(message, number=-1)


WORD = re.compile(r"\s*(?:(?P<name>[A-Za-z_]\w*)|(?P<number>\d+)|(?P<text>'(?:[^']|'')*')|(?P<other>.))")


def tokens(statement):
    """(kind, text) of each token, by one regular expression."""
    return [(match.lastgroup, match[match.lastgroup]) for match in WORD.finditer(statement)]


def tree(depth, statement):
    """A nested document, like a parser's."""
    if depth == 0:
        return {"ColumnRef": {"fields": [{"String": {"sval": name}} for kind, name in tokens(statement) if kind]}}
    return {"SelectStmt": {"targetList": [tree(depth - 1, statement)] * 2, "limitOption": None, "location": depth}}


def walk(node, path=()):
    """Every leaf of a document, by recursion and generators."""
    match node:
        case {"String": {"sval": str(name)}}:
            yield path, name
        case dict():
            for key, value in node.items():
                yield from walk(value, (*path, key))
        case list():
            for value in node:
                yield from walk(value, path)
        case None | int():
            return


@functools.lru_cache(maxsize=64)
def fingerprint(statement):
    """A digest of what a statement looks like."""
    shape = " ".join(text.lower() if kind == "name" else "?" for kind, text in tokens(statement))
    return hashlib.blake2b(shape.encode(), digest_size=8).hexdigest()


def messages(count):
    """Bytes of a client that asks and asks."""
    kinds = itertools.cycle(Kind)
    for number in range(count):
        body = b"SELECT * FROM orders WHERE id = %d\0" % number if number % 7 else b""
        yield struct.pack("!BI", next(kinds).value, len(body) + 4) + body


def protocol():
    """Parsing, byte by byte and in one piece."""
    data = b"".join(messages(400))
    whole = list(Session().feed(data))
    session = Session()
    pieces = [message for byte in data for message in session.feed(bytes([byte]))]
    assert whole == pieces
    return collections.Counter(type(message).__name__ for message in whole)


def understanding():
    """Documents walked, sorted, merged, written and read again."""
    found = collections.defaultdict(set)
    for number in range(12):
        statement = f"SELECT o.id, c.email, 'it''s {number}' FROM sales o JOIN customers c ON o.customer = c.id LIMIT 9"
        document = json.loads(json.dumps(tree(5, statement), sort_keys=True))
        for path, name in walk(document):
            found[name].add(path)
        fingerprint(statement)
    return sorted((name, len(paths)) for name, paths in found.items())


def rows():
    """Cells: text to numbers and dates and back."""
    total = decimal.Decimal(0)
    for number in range(4000):
        line = f"{number}\t{number * 1.25:.2f}\t2026-11-{number % 28 + 1:02}\tname-{number}@example.org"
        identifier, price, day, address = line.split("\t")
        total += decimal.Decimal(price)
        masked = address[0] + "***@" + address.partition("@")[2]
        assert int(identifier) == number
        assert masked.endswith("example.org")
        assert day.replace("-", "").isdigit()
    return str(total)


class Wire(asyncio.Protocol):
    """Counts what it is given."""

    def __init__(self):
        self.total = 0

    def data_received(self, data):
        """Bytes of a peer."""
        self.total += len(data)


async def conversation():
    """Tasks, queues, events and futures on a loop."""
    queue, wire, done = asyncio.Queue(16), Wire(), asyncio.Event()

    async def serve():
        while (item := await queue.get()) is not None:
            wire.data_received(item)
            await asyncio.sleep(0)
        done.set()

    async def ask(count):
        async with asyncio.timeout(None):
            for message in messages(count):
                await queue.put(message)

    async with asyncio.TaskGroup() as group:
        group.create_task(serve())
        await asyncio.gather(*(ask(200) for _ in range(8)))
        await queue.put(None)
        await done.wait()
    return wire.total


def main():
    """All of it, many times over, and counted from here: what the build ran before is forgotten."""
    for path in pathlib.Path().rglob("*.gcda"):
        path.unlink()
    for _ in range(25):
        protocol()
        understanding()
        rows()
        asyncio.run(conversation())


main()
