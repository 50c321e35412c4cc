"""A call of every command that a module brings, and what it is called on: no server documents their arguments."""

from __future__ import annotations

from typing import Final

SEARCH: Final = """
FT.CREATE idx2 ON HASH PREFIX 1 memo: SCHEMA title TEXT
FT._CREATEIFNX idx2 ON HASH PREFIX 1 memo: SCHEMA title TEXT
FT.ALTER idx SCHEMA ADD more TEXT
FT._ALTERIFNX idx SCHEMA ADD more TEXT
FT.SEARCH idx alpha
FT.SEARCH idx alpha RETURN 1 title
FT.AGGREGATE idx * LOAD 1 @title
FT.AGGREGATE idx * LOAD 1 @title WITHCURSOR COUNT 1
FT.PROFILE idx SEARCH QUERY alpha
FT.EXPLAIN idx al*
FT.EXPLAINCLI idx al*
FT.TAGVALS idx tag
FT.SPELLCHECK idx alpa
FT.INFO idx
FT._LIST
FT.CONFIG GET TIMEOUT
FT.CONFIG SET TIMEOUT 500
FT.DEBUG DUMP_TERMS idx
FT.ALIASADD other idx
FT._ALIASADDIFNX other idx
FT.ALIASUPDATE also idx
FT.ALIASDEL also
FT._ALIASDELIFX also
FT.DICTADD words alpha
FT.DICTDEL words alpha
FT.DICTDUMP words
FT.SYNUPDATE idx group alpha beta
FT.SYNDUMP idx
FT.SUGADD sug alphabet 1
FT.SUGGET sug al WITHPAYLOADS
FT.SUGDEL sug alpha
FT.SUGLEN sug
FT.ADD idx doc:3 1.0 FIELDS title gamma
FT.SAFEADD idx doc:3 1.0 FIELDS title gamma
FT.DEL idx doc:1 DD
FT.GET idx doc:1
FT.MGET idx doc:1 doc:2
FT.DROPINDEX idx DD
FT._DROPINDEXIFX idx DD
FT.DROP idx
FT._DROPIFX idx
FT.CURSOR GC idx 0
"""
DOCUMENTS: Final = """
JSON.GET j
JSON.GET j $.a $.n
JSON.MGET j k $.a
JSON.SET j $.a "b"
JSON.MSET j $.a "b" k $.a "c"
JSON.MERGE j $ {"m":1}
JSON.DEL j $.a
JSON.FORGET j $.a
JSON.TYPE j $.a
JSON.RESP j
JSON.CLEAR j $.l
JSON.TOGGLE j $.t
JSON.DEBUG MEMORY j
JSON.NUMINCRBY j $.n 1
JSON.NUMMULTBY j $.n 2
JSON.NUMPOWBY j $.n 2
JSON.STRAPPEND j $.a "b"
JSON.STRLEN j $.a
JSON.ARRAPPEND j $.l 4
JSON.ARRINDEX j $.l 2
JSON.ARRINSERT j $.l 0 9
JSON.ARRLEN j $.l
JSON.ARRPOP j $.l
JSON.ARRTRIM j $.l 0 0
JSON.OBJKEYS j $
JSON.OBJLEN j $
"""
SERIES: Final = """
TS.CREATE t3 LABELS kind warm
TS.ALTER t LABELS kind warm
TS.ADD t 5 9
TS.MADD t 5 9 t2 6 9
TS.INCRBY t 1 TIMESTAMP 5
TS.DECRBY t 1 TIMESTAMP 5
TS.DEL t 0 9
TS.GET t
TS.INFO t
TS.RANGE t - +
TS.REVRANGE t - +
TS.MGET FILTER kind=warm
TS.MRANGE - + WITHLABELS FILTER kind=warm
TS.MREVRANGE - + FILTER kind=warm
TS.QUERYINDEX kind=warm
TS.CREATERULE t t2 AGGREGATION avg 1000
TS.DELETERULE r1 r2
"""
PROBABLE: Final = """
BF.RESERVE b2 0.01 100
BF.ADD b alpha
BF.MADD b alpha beta
BF.INSERT b ITEMS gamma
BF.EXISTS b alpha
BF.MEXISTS b alpha beta
BF.INFO b
BF.CARD b
BF.DEBUG b
BF.SCANDUMP b 0
CF.RESERVE c2 100
CF.ADD c beta
CF.ADDNX c beta
CF.INSERT c ITEMS gamma
CF.INSERTNX c ITEMS gamma
CF.EXISTS c alpha
CF.MEXISTS c alpha beta
CF.COUNT c alpha
CF.DEL c alpha
CF.INFO c
CF.DEBUG c
CF.COMPACT c
CF.SCANDUMP c 0
CMS.INITBYDIM m3 10 2
CMS.INITBYPROB m3 0.1 0.1
CMS.INCRBY m alpha 1
CMS.QUERY m alpha
CMS.INFO m
CMS.MERGE m 1 m2
TOPK.RESERVE k3 2
TOPK.ADD top beta
TOPK.INCRBY top beta 2
TOPK.QUERY top alpha
TOPK.COUNT top alpha
TOPK.LIST top
TOPK.INFO top
TDIGEST.CREATE d3
TDIGEST.ADD d 4
TDIGEST.MERGE d 1 d2
TDIGEST.RESET d
TDIGEST.MIN d
TDIGEST.MAX d
TDIGEST.QUANTILE d 0.5
TDIGEST.CDF d 2
TDIGEST.RANK d 2
TDIGEST.REVRANK d 2
TDIGEST.BYRANK d 0
TDIGEST.BYREVRANK d 0
TDIGEST.TRIMMED_MEAN d 0.1 0.9
TDIGEST.INFO d
"""
VECTORS: Final = """
VADD v VALUES 2 0.5 0.5 c SETATTR {"y":1}
VREM v a
VCARD v
VDIM v
VEMB v a
VEMB v a RAW
VGETATTR v a
VSETATTR v a {"y":2}
VINFO v
VISMEMBER v a
VLINKS v a
VRANDMEMBER v 9
VSIM v ELE a WITHSCORES
VSIM v VALUES 2 1 0
"""
UNCALLED: Final = {"FT.SYNADD": "it only says that it is no more", "BF.LOADCHUNK": "of another's", "CF.LOADCHUNK": "it"}
"""What answers with an error, whatever it is called with, or wants what another command gave."""

STACK_SETUP: Final = """
FT.CREATE idx ON HASH PREFIX 1 doc: SCHEMA title TEXT n NUMERIC tag TAG
FT.ALIASADD also idx
FT.DICTADD words alpha
HSET doc:1 title alpha n 1 tag x
HSET doc:2 title beta n 2 tag y
FT.SUGADD sug alpha 1
JSON.SET j $ {"a":"alpha","n":3,"l":[1,2],"t":true}
JSON.SET k $ {"a":"beta"}
TS.CREATE t LABELS kind warm
TS.ADD t 1 7
TS.CREATE t2 LABELS kind warm
TS.CREATE r1
TS.CREATE r2
TS.CREATERULE r1 r2 AGGREGATION avg 1000
TS.ADD r1 1 7
BF.ADD b alpha
CF.ADD c alpha
CMS.INITBYDIM m 10 2
CMS.INITBYDIM m2 10 2
CMS.INCRBY m alpha 1
CMS.INCRBY m2 alpha 3
TOPK.RESERVE top 2
TOPK.ADD top alpha
TDIGEST.CREATE d
TDIGEST.CREATE d2
TDIGEST.ADD d 1 2
TDIGEST.ADD d2 3 9
SET other alpha
"""
STACK_KEYS: Final = (
    "doc:1", "doc:2", "doc:3", "sug", "j", "k", "t", "t2", "t3", "r1", "r2", "b", "b2", "c", "c2", "m", "m2", "m3",
    "top", "k3", "d", "d2", "d3", "other",
)  # fmt: skip

VECTOR_SETUP: Final = """
VADD v VALUES 2 1 0 a SETATTR {"y":1}
VADD v VALUES 2 0 1 b
VADD v2 VALUES 2 0 1 a
SET other alpha
"""
VECTOR_KEYS: Final = ("v", "v2", "other")


def lines(*texts: str) -> list[str]:
    return [line for text in texts for line in text.strip().splitlines()]


STACK_CALLS: Final = lines(SEARCH, DOCUMENTS, SERIES, PROBABLE)
VECTOR_CALLS: Final = lines(VECTORS)
CALLED: Final = {call.split(" ")[0] for call in (*STACK_CALLS, *VECTOR_CALLS)} | set(UNCALLED)
"""Names of commands."""
