# What the scripts of the deb and the rpm share: packing puts this text in place of their line `#include common.sh`.
set -eu

LIB=/usr/lib/lockgate
UNITS="lockgate-agent.service lockgate-gate.service lockgate-collector.service"

say() { echo "lockgate: $*" >&2; }
booted() { [ -d /run/systemd/system ]; }

# Which tree is used. One rename, so that there is never none.
use() { ln -sfn "$1" "$LIB/active.new" && mv -fT "$LIB/active.new" "$LIB/active"; }

# Before files are replaced: what runs goes on with its own, under hard links, until the new ones are accepted. What an
# earlier upgrade brought and nobody accepted is not what runs.
keep_old() {
    [ -d "$LIB/runtime" ] || return 0
    if [ "$(readlink "$LIB/active")" = previous ] && [ -d "$LIB/previous" ]; then return 0; fi
    rm -rf "$LIB/previous" "$LIB/previous.new"
    cp -al "$LIB/runtime" "$LIB/previous.new" && mv -T "$LIB/previous.new" "$LIB/previous"
    use previous
}

# After an upgrade that was broken off: the files are the ones that run again, unless there was one before it that
# nobody accepted.
back_to_old() {
    [ "$LIB/runtime/bin/python3" -ef "$LIB/previous/bin/python3" ] || return 0
    use runtime
    rm -rf "$LIB/previous"
}

# Before the files go: the hooks with them, so that connections go straight through as if there had never been any.
leave() {
    if booted; then
        systemctl disable --now lockgate-agent.service lockgate-collector.service || true
        systemctl disable lockgate-gate.service || true
    fi
    /usr/bin/lockgate ca remove >/dev/null 2>&1 || true
    /usr/bin/lockgate release || say "the hooks are not taken out: a reboot does it"
}

gone() {
    rm -rf "$LIB/active" "$LIB/active.new" "$LIB/previous" "$LIB/previous.new"
    rmdir "$LIB" 2>/dev/null || true
    # hooks that could not be taken out are pinned in a mount in there: a reboot's to end, and no reason to fail
    rm -rf --one-file-system /run/lockgate 2>/dev/null || true
    if booted; then systemctl daemon-reload; fi
}
