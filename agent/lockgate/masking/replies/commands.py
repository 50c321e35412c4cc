"""What each command of Redis 7 and 8, and of Valkey 9, shows of a masked value, and where in its reply.

The table says of a command, by the name that `Call` has, which shape its reply has, or refuses it:

- A reply that shows a value is masked, element by element. Numbers that are the value, or scores of a key that is
  masked whole, become 0 whatever the masker is: a client that expects a number gets one.
- What shows a part of a value that has no mask (GETRANGE, BITFIELD), or serialises it (DUMP), is refused.
- What only reads, and answers a question about a value that is not shown, is refused: whether it has a member
  (SISMEMBER, an intersection, a MATCH of SSCAN), where (LPOS, ZRANK), what lies between two bounds (ZRANGEBYSCORE), how
  long a string is (STRLEN). Whether there is a key or a field, how many elements it has, how much memory it takes, of
  which type it is and when it expires may be asked.
- What writes a value is answered with counts, which pass, unless it picks what it writes by a question of those above
  (ZREMRANGEBYLEX, ZADD GT, an intersection that is stored, SORT by the value). So who may write to a masked set and ask
  for its size can find out whether a member he guesses is in it, and of a sorted set, which stands first: what may be
  guessed is not kept secret by masks alone, but by a policy that lets nobody write who isn't to know.
- What writes a part of a string (SETRANGE, SETBIT), or computes with it and fails by what it is (INCRBY, BITOP of
  several), is refused too: with all but one bit written over, any command that fails or not tells that bit. INCR may
  be asked, and so tells whether the value is a number.
- What makes another value of it in place (APPEND, INCR) could make its mask show another part, and is refused where
  what the mask shows hangs on the value (all but `null`, `redact` and `veil`), or is of places in a document.
- What copies a value is refused unless the key it goes to has the same masks, or stricter ones; to another database
  always (MOVE, COPY with DB, SWAPDB), where other masks may be.
- Scripts: one that is reviewed, so that it touches its declared keys only, has its whole reply masked (numbers are 0)
  with the strictest masker of its keys. Another could write down what it reads, elsewhere or in the shape of its reply:
  it is refused to whom anything in the datastore is masked.
- MONITOR, SLOWLOG GET, FUNCTION STATS (what runs at the moment, with its arguments) and the like show what others send,
  PUBLISH too, and are refused likewise: also where nothing but messages of channels is masked.

A command that is not in the table is refused to whom anything is masked, unless it is understood to use keys of which
nothing is, and no others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Final

from lockgate.masking.plan import Unmaskable
from lockgate.masking.replies.documents import below
from lockgate.masking.replies.rules import Rule, Treatment
from lockgate.masking.replies.shapes import (
    Answer,
    ByKey,
    Elements,
    Entries,
    Entry,
    Every,
    Fields,
    InTurn,
    Items,
    Kept,
    Named,
    Names,
    Number,
    Pairs,
    Popped,
    Scored,
    Shape,
    StreamIds,
)  # fmt: skip
from lockgate.masking.replies.texts import TextMasker
from lockgate.masking.replies.view import View
from lockgate.values.selector import Path, Step, parse_path

Handler = Callable[[View], Shape]

KEPT: Final = Kept()
NAMES: Final = Names()


def _harmless(view: View) -> Shape:
    return KEPT


def _names(view: View) -> Shape:
    return NAMES


def _write(view: View) -> Shape:
    return Answer()


# strings


def _value(view: View) -> Shape:
    return Elements(view.rule(1).element)


def _set(view: View) -> Shape:
    options = view.upper(3)
    rule = view.rule(1)
    if any(option.startswith((b"IF", b"COMPARE")) for option in options):
        view.answers(rule)
    return Elements(rule.element) if b"GET" in options else Answer()


def _mget(view: View) -> Shape:
    return InTurn(tuple(Elements(view.rule(place).element) for place in range(1, len(view.args))))


def _asks(view: View) -> Shape:
    """A question about the values of its keys, or a part of one."""
    view.answers(view.every())
    return KEPT


def _asks_of_several(view: View) -> Shape:
    """A question only where there is more than one key."""
    rule = view.every()
    if len(view.call.keys) > 1:
        view.answers(rule)
    return Elements(rule.element)


def _count_of_several(view: View) -> Shape:
    rule = view.every()
    if len(view.call.keys) > 1:
        view.answers(rule)
    return KEPT


def _appended(view: View) -> Shape:
    """A string becomes longer, and its length is answered."""
    rule = view.rule(1)
    view.changes(rule)
    return Number() if rule.element is not None else KEPT


def _counted(view: View) -> Shape:
    """A number is changed by one, and answered."""
    rule = view.rule(1)
    if rule.whole is not None:
        view.changes(rule)
        return Number()
    return KEPT


def _added(view: View) -> Shape:
    """A number is changed by any other, and answered: that this overflows tells that it is larger than a guess."""
    rule = view.rule(1)
    if rule.whole is not None:
        view.answers(rule)
    return KEPT


def _bitop(view: View) -> Shape:
    """How long the longest is is answered; of what is computed with a guess, other commands tell more."""
    rule = view.every(but=(2,))
    if len(view.call.keys) > 2:
        view.answers(rule)
    view.copies(rule, 2, fields=False)
    for computed in (rule, view.rule(2)):
        view.changes(computed)
    return Number() if rule.element is not None else Answer()


def _delex(view: View) -> Shape:
    rule = view.rule(1)
    if len(view.args) > 2:
        view.answers(rule)
    return Answer()


# hashes


def _hget(view: View) -> Shape:
    return Elements(view.rule(1).named(_argument(view, 2)))


def _hmget(view: View) -> Shape:
    return Fields(view.rule(1), view.args[2:])


def _hget_fields(view: View) -> Shape:
    """HGETEX and HGETDEL: `FIELDS count field ...`, wherever it stands."""
    rule = view.rule(1)
    options = view.upper(2)
    if b"FIELDS" not in options:
        raise view.refuse("names no fields")
    at = 2 + options.index(b"FIELDS")
    count = _number(view, at + 1)
    return Fields(rule, view.args[at + 2 : at + 2 + count])


def _hgetall(view: View) -> Shape:
    return Pairs(view.rule(1))


def _hvals(view: View) -> Shape:
    return Elements(view.rule(1).any_field)


def _hkeys(view: View) -> Shape:
    return Elements(view.rule(1).name)


def _hrandfield(view: View) -> Shape:
    rule = view.rule(1)
    return Pairs(rule) if b"WITHVALUES" in view.upper(3) else Elements(rule.name)


def _scan_options(view: View) -> set[bytes]:
    """Of HSCAN, SSCAN and ZSCAN, told from what belongs to them: a pattern may read like an option.

    Raises Unmaskable for one that isn't known.
    """
    found: set[bytes] = set()
    words = iter(view.upper(3))
    for option in words:
        if option in (b"MATCH", b"COUNT"):
            next(words, None)
        elif option not in (b"NOVALUES", b"NOSCORES"):
            raise view.refuse("has an option that isn't known")
        found.add(option)
    return found


def _hscan(view: View) -> Shape:
    rule = view.rule(1)
    options = _scan_options(view)
    if b"MATCH" in options and rule.name is not None:
        view.answers(rule)
    return Items((KEPT, Elements(rule.name) if b"NOVALUES" in options else Pairs(rule)))


def _hstrlen(view: View) -> Shape:
    if view.rule(1).named(_argument(view, 2)) is not None:
        raise view.refuse("answers a question about a masked value")
    return KEPT


def _hincrby(view: View) -> Shape:
    """As `_added`."""
    treatment = view.rule(1).named(_argument(view, 2))
    if treatment is not None and treatment.masker is not None:
        raise view.refuse("answers a question about a masked value")
    return KEPT


# lists and sets


def _popped_elements(view: View) -> Shape:
    """LMPOP and BLMPOP, BLPOP and BRPOP: the key's name, and what was popped from it."""
    return ByKey({key: Elements(rule.element) for key, rule in view.by_key().items()})


def _moved(view: View) -> Shape:
    rule = view.rule(1)
    view.copies(rule, 2, fields=False)
    return Elements(rule.element)


def _smove(view: View) -> Shape:
    view.copies(view.rule(1), 2, fields=False)
    return Answer()


def _scanned(view: View) -> Shape:
    """SSCAN."""
    rule = view.rule(1)
    if b"MATCH" in _scan_options(view):
        view.answers(rule)
    return Items((KEPT, Elements(rule.element)))


def _store_first(view: View) -> Shape:
    """What is computed of several keys goes to the first, and how many elements that has is answered."""
    rule = view.every(but=(1,))
    if len(view.call.keys) > 2:
        view.answers(rule)
    view.copies(rule, 1, fields=False)
    return Answer()


def _pfmerge(view: View) -> Shape:
    view.copies(view.every(but=(1,)), 1, fields=False)
    return Answer()


# sorted sets


def _zadd(view: View) -> Shape:
    rule = view.rule(1)
    options = view.upper(2)[:6]
    if b"GT" in options or b"LT" in options:
        view.answers(rule)
    if b"INCR" in options:
        return Number() if rule.whole is not None else KEPT
    return Answer()


def _zincrby(view: View) -> Shape:
    return Number() if view.rule(1).whole is not None else KEPT


def _zrange(view: View) -> Shape:
    rule = view.rule(1)
    options = view.upper(4)
    if b"BYSCORE" in options or b"BYLEX" in options:
        view.answers(rule)
    return _members(rule, scores=b"WITHSCORES" in options)


def _zrevrange(view: View) -> Shape:
    return _members(view.rule(1), scores=b"WITHSCORES" in view.upper(4))


def _zrandmember(view: View) -> Shape:
    return _members(view.rule(1), scores=b"WITHSCORES" in view.upper(3))


def _zpop(view: View) -> Shape:
    return Scored(view.rule(1))


def _zscan(view: View) -> Shape:
    rule = view.rule(1)
    options = _scan_options(view)
    if b"MATCH" in options:
        view.answers(rule)
    return Items((KEPT, _members(rule, scores=b"NOSCORES" not in options)))


def _zcombined(view: View) -> Shape:
    """ZINTER, ZUNION and ZDIFF."""
    rule = view.every()
    if len(view.call.keys) > 1:
        view.answers(rule)
    return _members(rule, scores=b"WITHSCORES" in view.upper(2))


def _zmpop(view: View) -> Shape:
    return ByKey({key: Scored(rule) for key, rule in view.by_key().items()})


def _bzpop(view: View) -> Shape:
    return Popped(view.by_key())


def _geo(view: View) -> Shape:
    """GEORADIUS and its like, with STORE too: what is near to a place is a question about the members."""
    view.answers(view.every())
    return KEPT


def _geosearchstore(view: View) -> Shape:
    rule = view.rule(2)
    view.answers(rule)
    view.copies(rule, 1, fields=False)
    return Answer()


def _zrangestore(view: View) -> Shape:
    rule = view.rule(2)
    options = view.upper(5)
    if b"BYSCORE" in options or b"BYLEX" in options:
        view.answers(rule)
    view.copies(rule, 1, fields=False)
    return Answer()


def _members(rule: Rule, *, scores: bool) -> Shape:
    return Scored(rule) if scores else Elements(rule.element)


# streams


def _xrange(view: View) -> Shape:
    return Entries(view.rule(1))


def _xread(view: View) -> Shape:
    return ByKey({key: Entries(rule) for key, rule in view.by_key().items()}, many=True)


def _xclaim(view: View) -> Shape:
    rule = view.rule(1)
    return StreamIds() if b"JUSTID" in view.upper(5) else Entries(rule)


def _xautoclaim(view: View) -> Shape:
    rule = view.rule(1)
    return Items((StreamIds(), StreamIds() if b"JUSTID" in view.upper(6) else Entries(rule), StreamIds()))


def _xinfo_stream(view: View) -> Shape:
    rule = view.rule(2)
    entry = Entry(rule)
    ids = dict.fromkeys((b"last-generated-id", b"max-deleted-entry-id", b"recorded-first-entry-id"), StreamIds())
    return Named({**ids, b"groups": KEPT, b"first-entry": entry, b"last-entry": entry, b"entries": Entries(rule)})


# copies, sorts and scripts


def _copy(view: View) -> Shape:
    if view.call.name == "COPY" and b"DB" in view.upper(3):
        return _leaves_database(view)
    view.copies(view.rule(1), 2, fields=True)
    return Answer()


def _leaves_database(view: View) -> Shape:
    """MOVE, and COPY with DB: what is masked in one database need not be in another."""
    rule = view.every() if view.call.name == "MOVE" else view.rule(1)
    if rule:
        raise view.refuse("takes a masked key to another database")
    if view.call.name == "COPY":
        view.rule(2)
    return Answer()


def _swapdb(view: View) -> Shape:
    if view.elsewhere:
        raise view.refuse("takes all keys to another database, and some are masked")
    return Answer()


def _leaves(view: View) -> Shape:
    """The value leaves as Redis serialises it, or for another server."""
    if view.every():
        raise view.refuse("shows a masked value in a form that can't be masked")
    return KEPT


def _sort(view: View) -> Shape:
    rule = view.rule(1)
    store = None
    sorts = True
    options = view.upper(2)
    at = 0
    while at < len(options):
        if options[at] == b"LIMIT":
            at += 2
        elif options[at] in (b"BY", b"GET") and at + 1 < len(options):
            at += 1
            by, pattern = options[at - 1] == b"BY", view.args[2 + at]
            sorts = sorts and not (by and b"*" not in pattern)
            _sort_pattern(view, rule, pattern, by=by)
        elif options[at] == b"STORE" and at + 1 < len(options):
            at += 1
            store = 2 + at
        at += 1
    if sorts:
        # that it fails tells that one is no number, and what stands first that it is the least
        view.answers(rule)
    if store is None:
        return Elements(rule.element)
    view.copies(rule, store, fields=False)
    return Answer()


def _sort_pattern(view: View, rule: Rule, pattern: bytes, *, by: bool) -> None:
    """Keys that an element is put into the name of. Without a place for it there are none."""
    if b"*" not in pattern:
        return
    if rule.element is not None:
        raise view.refuse("makes names of keys from a masked value")
    front = pattern.partition(b"*")[0]
    for masked in view.elsewhere:
        literal = _literal(masked)
        if literal.startswith(front) or front.startswith(literal):
            raise view.refuse(f"{'sorts by' if by else 'gets'} keys that may be masked")


def _literal(glob: bytes) -> bytes:
    """What every key that a glob matches begins with."""
    for place, byte in enumerate(glob):
        if byte in b"*?[\\":
            return glob[:place]
    return glob


def _script(view: View) -> Shape:
    if view.call.anywhere and (view.elsewhere or view.rules):
        raise view.refuse("is a script that nobody has reviewed: it could tell or copy what is masked")
    rule = view.every()
    if not rule:
        return KEPT
    if not view.call.name.endswith("_RO"):
        for use in view.call.keys:
            # it may write to any of them what it has read of another
            view.copies(rule, use.place, fields=True)
    masker = rule.strictest
    assert masker is not None
    return Every(masker)


def _spies(view: View) -> Shape:
    """It shows what others send, or what is stored, of any key."""
    raise view.refuse("shows values of keys that it doesn't name, which may be masked")


# vector sets


def _vrandmember(view: View) -> Shape:
    return Elements(view.rule(1).element)


# RedisJSON


def _json_get(view: View) -> Shape:
    rule = view.rule(1)
    if rule.element is None or rule.whole is not None:
        return Elements(rule.element)
    asked: list[bytes] = []
    at = 2
    while at < len(view.args):
        option = view.args[at].upper()
        if option in (b"INDENT", b"NEWLINE", b"SPACE"):
            at += 1
        elif option == b"FORMAT":
            raise view.refuse("is asked for a format that isn't known")
        elif option != b"NOESCAPE":
            asked.append(view.args[at])
        at += 1
    return Elements(_documents(view, rule, asked or [b"."]))


def _json(view: View) -> Shape:
    """No value is answered, but a path could choose by one: `$[?(@.email=="guess")]`."""
    for use in view.call.keys:
        if view.rule(use.place) and any(b"?" in path for path in view.args[use.place + 1 : use.place + 2]):
            raise view.refuse("answers a question about a masked value")
    return KEPT


def _json_moves(view: View) -> Shape:
    """Elements of arrays move: what is masked by its index is then at another."""
    _json(view)
    if any(step.index is not None for path, _ in view.rule(1).places for step in path):
        raise view.refuse("moves elements of an array, of which one is masked by its place")
    return KEPT


def _json_mget(view: View) -> Shape:
    last = len(view.args) - 1
    return InTurn(tuple(_json_mget_one(view, view.rule(place)) for place in range(1, last)))


def _json_mget_one(view: View, rule: Rule) -> Shape:
    if rule.element is None or rule.whole is not None:
        return Elements(rule.element)
    return Elements(_documents(view, rule, [view.args[-1]]))


def _documents(view: View, rule: Rule, asked: list[bytes]) -> Treatment:
    """The masked places of a document in the one that has what stands at the asked paths.

    One path that begins with `$` gives an array of all that is there, one of old (`.user`) the thing itself, and
    several give an object of these by path: each in an array when any of them begins with `$`.
    """
    places: list[tuple[Path, TextMasker]] = []
    for text in asked:
        modern = text.startswith(b"$")
        path = _asked_path(view, text)
        fronts: list[Path] = [(Step(),)] if modern else [()]
        if len(asked) > 1:
            name = Step(name=text.decode())
            fronts = [(name,), (name, Step())]
        for masked, masker in rule.places:
            places += ((front + rest, masker) for front in fronts for rest in below(masked, path))
    return Treatment(None, tuple(places))


def _asked_path(view: View, text: bytes) -> Path:
    try:
        path = text.decode()
        if path == ".":
            path = "$"
        elif not path.startswith("$"):
            path = "$" + path if path.startswith((".", "[")) else "$." + path
        steps = parse_path(path)
    except (UnicodeDecodeError, ValueError):
        raise view.refuse("asks for a path of which it can't be told whether it is masked") from None
    # the module reads away spaces inside a name's quotes: `$[' user']` is `$.user`
    if any(step.deep or (step.name is not None and step.name != step.name.strip()) for step in steps):
        raise view.refuse("asks for a path of which it can't be told whether it is masked")
    return steps


def _number(view: View, place: int) -> int:
    try:
        return int(_argument(view, place))
    except ValueError:
        raise view.refuse("has something else where it has a number") from None


def _argument(view: View, place: int) -> bytes:
    if place >= len(view.args):
        raise view.refuse("has too few arguments")
    return view.args[place]


def _each(handler: Handler, names: str) -> Iterable[tuple[str, Handler]]:
    return ((name, handler) for name in names.split())


def _each_of(handler: Handler, command: str, names: str) -> Iterable[tuple[str, Handler]]:
    return ((f"{command} {name}", handler) for name in names.split())


COMMANDS: Final[Mapping[str, Handler]] = MappingProxyType(dict((
    # about keys, and nothing of their values
    *_each(_harmless, "DEL UNLINK EXISTS TOUCH TYPE TTL PTTL EXPIRE PEXPIRE EXPIREAT PEXPIREAT EXPIRETIME PEXPIRETIME"
           " PERSIST WATCH RESTORE RESTORE-ASKING"),
    ("MOVE", _leaves_database),
    *_each_of(_harmless, "OBJECT", "ENCODING FREQ IDLETIME REFCOUNT HELP"),
    *_each_of(_harmless, "MEMORY", "USAGE DOCTOR HELP MALLOC-STATS PURGE STATS"),
    *_each(_copy, "RENAME RENAMENX COPY"),
    *_each(_leaves, "DUMP MIGRATE"),
    *_each(_sort, "SORT SORT_RO"),
    # strings
    *_each(_value, "GET GETSET GETDEL GETEX"),
    ("SET", _set),
    ("MGET", _mget),
    *_each(_write, "SETNX SETEX PSETEX MSET MSETNX MSETEX"),
    *_each(_asks, "GETRANGE SUBSTR LCS STRLEN BITCOUNT BITPOS GETBIT BITFIELD BITFIELD_RO DIGEST"
           " SETRANGE SETBIT"),
    ("APPEND", _appended),
    *_each(_counted, "INCR DECR"),
    *_each(_added, "INCRBY INCRBYFLOAT DECRBY"),
    ("BITOP", _bitop),
    ("DELEX", _delex),
    ("DELIFEQ", _asks),
    # hashes
    ("HGET", _hget),
    ("HMGET", _hmget),
    *_each(_hget_fields, "HGETEX HGETDEL"),
    ("HGETALL", _hgetall),
    ("HVALS", _hvals),
    ("HKEYS", _hkeys),
    ("HRANDFIELD", _hrandfield),
    ("HSCAN", _hscan),
    ("HSTRLEN", _hstrlen),
    *_each(_hincrby, "HINCRBY HINCRBYFLOAT"),
    *_each(_write, "HSET HMSET HSETNX HSETEX HDEL HLEN HEXISTS"),
    *_each(_harmless, "HEXPIRE HPEXPIRE HEXPIREAT HPEXPIREAT HEXPIRETIME HPEXPIRETIME HTTL HPTTL HPERSIST"),
    # lists
    *_each(_value, "LRANGE LINDEX LPOP RPOP"),
    *_each(_popped_elements, "LMPOP BLMPOP BLPOP BRPOP"),
    *_each(_moved, "LMOVE BLMOVE RPOPLPUSH BRPOPLPUSH"),
    ("LPOS", _asks),
    *_each(_write, "LPUSH RPUSH LPUSHX RPUSHX LLEN LSET LREM LTRIM LINSERT"),
    # sets
    *_each(_value, "SMEMBERS SRANDMEMBER SPOP"),
    ("SSCAN", _scanned),
    *_each(_asks_of_several, "SINTER SUNION SDIFF"),
    *_each(_count_of_several, "SINTERCARD ZINTERCARD PFCOUNT"),
    *_each(_asks, "SISMEMBER SMISMEMBER"),
    *_each(_store_first, "SINTERSTORE SUNIONSTORE SDIFFSTORE"),
    ("SMOVE", _smove),
    *_each(_write, "SADD SREM SCARD"),
    # sorted sets
    ("ZADD", _zadd),
    ("ZINCRBY", _zincrby),
    ("ZRANGE", _zrange),
    ("ZREVRANGE", _zrevrange),
    ("ZRANDMEMBER", _zrandmember),
    *_each(_zpop, "ZPOPMIN ZPOPMAX"),
    *_each(_bzpop, "BZPOPMIN BZPOPMAX"),
    *_each(_zmpop, "ZMPOP BZMPOP"),
    ("ZSCAN", _zscan),
    *_each(_zcombined, "ZINTER ZUNION ZDIFF"),
    *_each(_store_first, "ZUNIONSTORE ZINTERSTORE ZDIFFSTORE"),
    ("ZRANGESTORE", _zrangestore),
    *_each(_asks, "ZSCORE ZMSCORE ZRANK ZREVRANK ZCOUNT ZLEXCOUNT ZRANGEBYSCORE ZREVRANGEBYSCORE ZRANGEBYLEX"
           " ZREVRANGEBYLEX ZREMRANGEBYSCORE ZREMRANGEBYLEX"),
    *_each(_write, "ZREM ZCARD ZREMRANGEBYRANK"),
    # places
    *_each(_asks, "GEOPOS GEODIST GEOHASH GEOSEARCH"),
    *_each(_geo, "GEORADIUS GEORADIUS_RO GEORADIUSBYMEMBER GEORADIUSBYMEMBER_RO"),
    ("GEOSEARCHSTORE", _geosearchstore),
    ("GEOADD", _write),
    # streams
    *_each(_xrange, "XRANGE XREVRANGE"),
    *_each(_xread, "XREAD XREADGROUP"),
    ("XCLAIM", _xclaim),
    ("XAUTOCLAIM", _xautoclaim),
    ("XINFO STREAM", _xinfo_stream),
    *_each_of(_harmless, "XINFO", "GROUPS CONSUMERS HELP"),
    *_each_of(_harmless, "XGROUP", "CREATE CREATECONSUMER DELCONSUMER DESTROY HELP SETID"),
    *_each(_harmless, "XADD XDEL XTRIM XLEN XACK XACKDEL XDELEX XCFGSET XSETID XPENDING"),
    # HyperLogLogs
    *_each(_write, "PFADD"),
    ("PFMERGE", _pfmerge),
    *_each(_spies, "PFDEBUG"),
    ("PFSELFTEST", _harmless),
    # scripts
    *_each(_script, "EVAL EVAL_RO EVALSHA EVALSHA_RO FCALL FCALL_RO"),
    *_each_of(_harmless, "SCRIPT", "EXISTS FLUSH HELP KILL LOAD SHOW"),
    *_each_of(_harmless, "FUNCTION", "DELETE DUMP FLUSH HELP KILL LIST LOAD RESTORE"),
    ("FUNCTION STATS", _spies),
    # vector sets
    ("VRANDMEMBER", _vrandmember),
    *_each(_write, "VADD VREM VCARD VDIM VSETATTR"),
    *_each(_asks, "VSIM VEMB VLINKS VISMEMBER VGETATTR VINFO VRANGE"),
    # RedisJSON
    ("JSON.GET", _json_get),
    ("JSON.MGET", _json_mget),
    *_each(_asks, "JSON.STRLEN JSON.ARRINDEX JSON.RESP JSON.OBJKEYS JSON.ARRPOP JSON.NUMINCRBY JSON.NUMMULTBY"
           " JSON.NUMPOWBY JSON.STRAPPEND JSON.TOGGLE JSON.DEBUG"),
    *_each(_json, "JSON.SET JSON.MSET JSON.MERGE JSON.CLEAR JSON.TYPE JSON.ARRAPPEND JSON.ARRLEN JSON.OBJLEN"),
    *_each(_json_moves, "JSON.DEL JSON.FORGET JSON.ARRINSERT JSON.ARRTRIM"),
    # names of keys and channels
    *_each(_names, "SCAN CLUSTERSCAN KEYS RANDOMKEY PUBLISH SPUBLISH SUBSCRIBE PSUBSCRIBE SSUBSCRIBE UNSUBSCRIBE"
           " PUNSUBSCRIBE SUNSUBSCRIBE"),
    *_each_of(_names, "PUBSUB", "CHANNELS NUMPAT NUMSUB SHARDCHANNELS SHARDNUMSUB HELP"),
    # the server, the session, transactions
    *_each(_harmless, "PING ECHO AUTH HELLO SELECT QUIT RESET TIME INFO DBSIZE LASTSAVE ROLE WAIT WAITAOF LOLWUT MULTI"
           " DISCARD UNWATCH READONLY READWRITE ASKING SAVE BGSAVE BGREWRITEAOF SHUTDOWN REPLICAOF SLAVEOF FAILOVER"
           " FLUSHALL FLUSHDB"),
    ("SWAPDB", _swapdb),
    *_each_of(_harmless, "ACL", "CAT DELUSER DRYRUN GENPASS GETUSER HELP LIST LOAD LOG SAVE SETUSER USERS WHOAMI"),
    *_each_of(_harmless, "CLIENT", "CACHING CAPA GETNAME GETREDIR HELP ID IMPORT-SOURCE INFO KILL LIST NO-EVICT"
              " NO-TOUCH PAUSE REPLY SETINFO SETNAME TRACKING TRACKINGINFO UNBLOCK UNPAUSE"),
    *_each_of(_harmless, "CLUSTER", "ADDSLOTS ADDSLOTSRANGE BUMPEPOCH COUNT-FAILURE-REPORTS COUNTKEYSINSLOT DELSLOTS"
              " DELSLOTSRANGE FAILOVER FLUSHSLOTS FORGET HELP INFO KEYSLOT LINKS MEET MYID MYSHARDID NODES REPLICAS"
              " REPLICATE RESET SAVECONFIG SET-CONFIG-EPOCH SETSLOT SHARDS SLAVES SLOTS SLOT-STATS FLUSHSLOT"
              " CANCELSLOTMIGRATIONS GETSLOTMIGRATIONS"),
    ("CLUSTER GETKEYSINSLOT", _names),
    ("COMMAND", _harmless),
    *_each_of(_harmless, "COMMAND", "COUNT DOCS HELP INFO LIST"),
    *_each_of(_names, "COMMAND", "GETKEYS GETKEYSANDFLAGS"),
    *_each_of(_harmless, "CONFIG", "GET HELP RESETSTAT REWRITE SET"),
    *_each_of(_harmless, "LATENCY", "DOCTOR GRAPH HELP HISTOGRAM HISTORY LATEST RESET"),
    *_each_of(_harmless, "MODULE", "HELP LIST LOAD LOADEX UNLOAD"),
    *_each_of(_harmless, "SLOWLOG", "HELP LEN RESET"),
    *_each_of(_harmless, "COMMANDLOG", "HELP LEN RESET"),
    # of all keys: refused to whom anything is masked
    *_each(_spies, "MONITOR SYNC PSYNC REPLCONF DEBUG"),
    ("SLOWLOG GET", _spies),
    ("COMMANDLOG GET", _spies),
    *_each_of(_spies, "CLUSTER", "MIGRATESLOTS SYNCSLOTS"),
    ("SCRIPT DEBUG", _spies),
)))  # fmt: skip
"""Every command there is a shape of, by `Call.name`. EXEC has none: it is planned as what it runs (`plan_exec`)."""


def shape_of(view: View) -> Shape:
    """That of a command's reply. Raises Unmaskable."""
    handler = COMMANDS.get(view.call.name)
    if handler is None:
        if view.call.keys and not view.rules and not view.call.anywhere:
            return KEPT
        raise view.refuse("is not known to show only what can be masked")
    shape = handler(view)
    if handler not in (_harmless, _names, _write) and not view.seen.issuperset(view.rules):
        raise Unmaskable(f"{view.call.name} uses a masked key in a way that isn't known")
    return shape


def conceals(name: str) -> bool:
    """Whether a command shows values in a form that nobody can look through: quoted, compressed, or elsewhere."""
    return COMMANDS.get(name) in (_spies, _leaves)


def shows_names(name: str) -> bool:
    """Whether a command shows names of keys and channels, and nothing else."""
    return COMMANDS.get(name) is _names
