"""`lockgate demo`: the whole product on one machine for some seconds, as a transcript whose every line is checked.

Nothing here is part of the product's work, and nothing of the product is replaced: PostgreSQL, `lockgate agent`,
`lockgate collector` and psql are the real programs. `orders` is the worked set of policies/examples/orders.
"""
