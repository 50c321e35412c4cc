from lockgate.understand.redis.plans import Plan
from lockgate.values.statement import Request

def made(plan: Plan, args: tuple[bytes, ...]) -> Request: ...
