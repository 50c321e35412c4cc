"""`lockgate demo`: the whole product on one machine for some seconds, as a transcript whose every line is checked.

Nothing here is part of the product's work, and nothing of the product is replaced: PostgreSQL and Redis, `lockgate
agent`, `lockgate collector`, psql and redis-cli are the real programs. `orders` is the worked set of
policies/examples/orders, `cache` what the demo has beside it.
"""
