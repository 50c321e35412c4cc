from lockgate.wire.redis.replies import ReplyScanner as ReplyScanner
from lockgate.wire.redis.replies import ordinary as ordinary
from lockgate.wire.redis.requests import CommandReader as CommandReader
from lockgate.wire.redis.requests import encode_command as encode_command
