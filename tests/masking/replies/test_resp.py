from __future__ import annotations

from typing import Any

import hiredis
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lockgate.masking.replies import resp
from lockgate.masking.replies.resp import MOST_DEPTH, Malformed, Node, parse
from tests.masking.replies.server import Client, parsed

LINE = st.binary(max_size=12).map(lambda text: text.replace(b"\r", b"").replace(b"\n", b""))


def bulk(text: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(text), text)


LEAVES = st.one_of(
    st.binary(max_size=30).map(bulk),
    st.integers(-(2**63), 2**63 - 1).map(lambda number: b":%d\r\n" % number),
    LINE.map(lambda text: b"+%b\r\n" % text),
    LINE.map(lambda text: b"-ERR %b\r\n" % text),
    st.sampled_from([b"$-1\r\n", b"*-1\r\n", b"_\r\n", b"#t\r\n", b"#f\r\n", b",inf\r\n", b",-inf\r\n", b",1e-3\r\n"]),
    st.floats(allow_nan=False, allow_infinity=False).map(lambda number: b",%b\r\n" % repr(number).encode()),
    st.integers().map(lambda number: b"(%d\r\n" % number),
    st.binary(max_size=9).map(lambda text: b"=%d\r\ntxt:%b\r\n" % (len(text) + 4, text)),
)


def aggregates(inside: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    items = st.lists(inside, max_size=5)
    names = st.binary(max_size=8).map(bulk)
    return st.one_of(
        items.map(lambda parts: b"*%d\r\n" % len(parts) + b"".join(parts)),
        st.lists(names, max_size=4).map(lambda parts: b"~%d\r\n" % len(parts) + b"".join(parts)),
        st.dictionaries(names, inside, max_size=4).map(
            lambda pairs: b"%%%d\r\n" % len(pairs) + b"".join(name + value for name, value in pairs.items())
        ),
    )


REPLIES = st.recursive(LEAVES, aggregates, max_leaves=20)


def value(node: Node, data: bytes) -> Any:
    """What hiredis would make of it."""
    text = node.text(data)
    match node.kind:
        case resp.BLOB | resp.SIMPLE:
            return text
        case resp.VERBATIM:
            return text[4:]
        case resp.INTEGER:
            return int(text)
        case resp.DOUBLE:
            return float(text)
        case resp.BIG_NUMBER:
            return text
        case resp.BOOLEAN:
            return text == b"t"
        case resp.NULL:
            return None
        case resp.ERROR:
            return hiredis.ReplyError
        case resp.MAP:
            items = [value(item, data) for item in node.items]
            return dict(zip(items[::2], items[1::2], strict=True))
        case _:
            return [value(item, data) for item in node.items]


def plain(found: Any) -> Any:
    if isinstance(found, hiredis.ReplyError):
        return hiredis.ReplyError
    if isinstance(found, (list, set, tuple)):
        return [plain(one) for one in found]
    if isinstance(found, dict):
        return {name: plain(one) for name, one in found.items()}
    if isinstance(found, int) and not isinstance(found, bool) and not -(2**63) <= found < 2**63:
        return b"%d" % found
    return found


def normal(found: Any) -> Any:
    """Numbers of any size alike."""
    if isinstance(found, list):
        return [normal(one) for one in found]
    if isinstance(found, dict):
        return {name: normal(one) for name, one in found.items()}
    return str(found)


def leaves(node: Node) -> list[tuple[int, int]]:
    """What stands on the lowest level, in order."""
    if node.kind not in resp.AGGREGATES:
        return [(node.start, node.end)]
    return [span for item in node.items for span in leaves(item)]


@given(REPLIES)
@example(b",0.0\r\n")
def test_what_hiredis_reads_is_read_alike(data: bytes) -> None:
    tree = parse(data)
    assert (tree.root.start, tree.root.end) == (0, len(data))
    ours, theirs = value(tree.root, data), plain(parsed(data))
    if b"~" not in data and b"(" not in data:
        assert normal(ours) == normal(theirs)


@given(REPLIES)
def test_a_tree_covers_every_byte_once(data: bytes) -> None:
    def check(node: Node) -> None:
        at = data.index(b"\r\n", node.start) + 2
        for item in node.items:
            assert item.start == at
            check(item)
            at = item.end
        if node.items:
            assert at == node.end

    check(parse(data).root)


@given(REPLIES)
def test_a_reply_that_is_cut_or_goes_on_is_none(data: bytes) -> None:
    for end in range(len(data)):
        with pytest.raises(Malformed):
            parse(data[:end])
    with pytest.raises(Malformed, match="behind"):
        parse(data + b"+\r\n")


@given(st.binary(max_size=60), st.lists(st.sampled_from(sorted(b"$*:+-_#,(!=%~>|;.?0123\r\n")), max_size=40).map(bytes))
def test_any_bytes_are_a_reply_or_malformed(noise: bytes, likely: bytes) -> None:
    for data in (noise, likely, likely + noise):
        try:
            tree = parse(data)
        except Malformed:
            continue
        else:
            assert tree.root.end == len(data)


def test_what_hiredis_reads_not_at_all() -> None:
    data = b"|1\r\n+ttl\r\n:3600\r\n*?\r\n$?\r\n;4\r\ns3cr\r\n;2\r\net\r\n;0\r\n"
    data += b"%?\r\n+a\r\n:1\r\n.\r\n~?\r\n.\r\n!5\r\nERR x\r\n.\r\n"
    tree = parse(data)
    assert tree.resp3
    assert [(a.kind, [item.text(data) for item in a.items]) for a in tree.attributes] == [(resp.MAP, [b"ttl", b"3600"])]
    string, pairs, members, error = tree.root.items
    assert (string.kind, string.text(data)) == (resp.STREAMED, b"s3cret")
    assert (pairs.kind, len(pairs.items)) == (resp.MAP, 2)
    assert (members.kind, members.items) == (resp.SET, [])
    assert (error.kind, error.text(data)) == (resp.BLOB_ERROR, b"ERR x")
    assert data[tree.root.start : tree.root.end] == data[data.index(b"*?") :]


def test_a_push_and_what_only_resp3_has_is_told() -> None:
    assert parse(b">2\r\n+message\r\n+x\r\n").resp3
    assert not parse(b"*2\r\n$-1\r\n*-1\r\n").resp3
    for data in (b"_\r\n", b"#t\r\n", b",1\r\n", b"(1\r\n", b"%0\r\n", b"~0\r\n", b"=4\r\ntxt:\r\n", b"*?\r\n.\r\n"):
        assert parse(data).resp3


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\r\n",
        b"$3\r\nabcd\r\n",
        b"$03\r\nabc\r\n",
        b"$+3\r\nabc\r\n",
        b"$ 3\r\nabc\r\n",
        b"$1_0\r\nabcdefghij\r\n",
        b"$-2\r\n",
        b"$-1\r\n\r\n",
        b"*-2\r\n",
        b"%-1\r\n",
        b"*1\r\n",
        b"*99999999999999999999\r\n",
        b"$99999999999999999999\r\n",
        b"*1048577\r\n",
        b":\r\n",
        b":+5\r\n",
        b":1.5\r\n",
        b":0x1\r\n",
        b":05\r\n",
        b"#x\r\n",
        b"_x\r\n",
        b",one\r\n",
        b"(1.5\r\n",
        b"+a\nb\r\n",
        b"+a\rb\r\n",
        b"-a\nb\r\n",
        b"=3\r\ntxt\r\n",
        b"=5\r\ntext:\r\n",
        b"$?\r\n",
        b"$?\r\n;3\r\nabc\r\n",
        b"$?\r\n$3\r\nabc\r\n;0\r\n",
        b"*?\r\n:1\r\n",
        b"%?\r\n:1\r\n.\r\n",
        b">?\r\n.\r\n",
        b"|?\r\n.\r\n:1\r\n",
        b"|1\r\n+a\r\n+b\r\n",
        b"*?\r\n|1\r\n+a\r\n+b\r\n.\r\n",
        b".\r\n",
        b";0\r\n",
        b"?\r\n",
        b"x\r\n",
    ],
)
def test_what_is_no_reply(data: bytes) -> None:
    with pytest.raises(Malformed):
        parse(data)


def test_depth_is_bounded() -> None:
    assert parse(b"*1\r\n" * MOST_DEPTH + b":1\r\n").root.kind == resp.ARRAY
    for opening in (b"*1\r\n", b"*?\r\n", b"|1\r\n:1\r\n", b"|1\r\n", b"|0\r\n", b"%1\r\n:1\r\n"):
        with pytest.raises(Malformed, match=r"nested|cut|unknown"):
            parse(opening * (MOST_DEPTH + 1) + b":1\r\n")


@pytest.mark.parametrize(
    ("opening", "value", "closing"),
    [
        (b"*%d\r\n", b":1\r\n", b""),
        (b"*?\r\n", b":1\r\n", b".\r\n"),
        (b"*1\r\n*%d\r\n", b"$0\r\n\r\n", b""),
        (b"$?\r\n", b";1\r\nx\r\n", b";0\r\n"),
    ],
)
def test_size_is_bounded(monkeypatch: pytest.MonkeyPatch, opening: bytes, value: bytes, closing: bytes) -> None:
    """Whatever a reply is made of, so many values are read and not one more."""
    monkeypatch.setattr(resp, "MOST_NODES", 1000)

    def of(count: int) -> bytes:
        return (opening % count if b"%" in opening else opening) + value * count + closing

    most = 1000 - opening.count(b"\n")
    assert parse(of(most)).root.start == 0
    with pytest.raises(Malformed, match="of more than 1000 values"):
        parse(of(most + 1))


def test_what_is_announced_beyond_the_bound_is_not_waited_for() -> None:
    for data in (b"*%d\r\n" % resp.MOST_NODES, b"*2\r\n" + b"*600000\r\n" * 2, b"%%%d\r\n" % (resp.MOST_NODES // 2)):
        with pytest.raises(Malformed):
            parse(data)


@pytest.mark.parametrize(
    "kind",
    ["string", "integer", "double", "bignum", "null", "array", "set", "map", "attrib", "verbatim", "true", "false"],
)
def test_what_a_server_sends_of_each_type(client: Client, kind: str) -> None:
    reply = client.ask("DEBUG", "PROTOCOL", kind)
    tree = parse(reply)
    assert tree.root.end == len(reply)
    if kind == "attrib" and client.resp3:
        assert len(tree.attributes) == 1
