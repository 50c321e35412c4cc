"""How a statement lets a column shape its result without showing it."""

from __future__ import annotations

from enum import StrEnum


class Use(StrEnum):
    """The names policies use. What a column is used for tells something of its values, masked or not."""

    EQUAL = "equal"
    """Compared for equality with what is not a column: a look-up."""
    RANGE = "range"
    """Compared by order (`<`, BETWEEN): a value can be found by halving."""
    ORDER = "order"
    """Sorted by: ORDER BY, of aggregates and windows too, DISTINCT ON, SEARCH."""
    PATTERN = "pattern"
    """Matched with LIKE, a regular expression, a text search."""
    GROUP = "group"
    """Rows with the same value are taken together: GROUP BY, DISTINCT, PARTITION BY, set operations, CYCLE."""
    JOIN = "join"
    """Compared with another column: a join condition, USING, NATURAL."""
    PREDICATE = "predicate"
    """Anything else that decides which rows there are: a function of it in a condition, LIMIT, a set of rows. Or
    whether there are any: an expression that may fail for some values and not for others."""
