"""A module for a real Redis server: commands that no table of commands has built in.

    server = Redis()
    server.settings = {"loadmodule": str(build(server.folder))}
    with server: ...                    # LG.GET key, LG.SET key value, LG.MANY key...

What of the server's interface it needs is declared here, since Debian has no redismodule.h: a module finds every
function by name, through the one whose address its context begins with (module.c, `RM_GetApi`).
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

SOURCE: Final = r"""
typedef struct Ctx Ctx;
typedef struct Text Text;
typedef struct Answer Answer;

static Answer *(*call)(Ctx *, const char *name, const char *format, ...);
static int (*answer_with)(Ctx *, Answer *);
static int (*create)(Ctx *, const char *name, int (*run)(Ctx *, Text **, int), const char *flags, int, int, int);
static void (*attributes)(Ctx *, const char *name, int version, int api);

static int get(Ctx *ctx, Text **args, int count) {
    return count < 2 ? 1 : answer_with(ctx, call(ctx, "GET", "s", args[1]));
}

static int set(Ctx *ctx, Text **args, int count) {
    return count < 3 ? 1 : answer_with(ctx, call(ctx, "SET", "!ss", args[1], args[2]));
}

static int many(Ctx *ctx, Text **args, int count) {
    return answer_with(ctx, call(ctx, "MGET", "v", args + 1, (unsigned long)(count - 1)));
}

int RedisModule_OnLoad(Ctx *ctx, Text **args, int count) {
    int (*find)(const char *, void *) = *(void **)ctx;
    (void)args; (void)count;
    if (find("RedisModule_Call", &call) || find("RedisModule_ReplyWithCallReply", &answer_with)
        || find("RedisModule_CreateCommand", &create) || find("RedisModule_SetModuleAttribs", &attributes))
        return 1;
    attributes(ctx, "lockgate-tests", 1, 1);
    return create(ctx, "lg.get", get, "readonly", 1, 1, 1) || create(ctx, "lg.set", set, "write", 1, 1, 1)
        || create(ctx, "lg.many", many, "readonly", 1, -1, 1);
}
"""


def build(folder: Path) -> Path:
    """The module, in `folder`. Raises CalledProcessError when it can't be compiled."""
    source, module = folder / "commands.c", folder / "commands.so"
    source.write_text(SOURCE)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(module), str(source)], check=True)
    module.chmod(0o755)
    return module
