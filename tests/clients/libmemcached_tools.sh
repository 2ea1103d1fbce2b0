#!/usr/bin/env bash
# libmemcached's command line tools (memccp, memccat, memcrm, memcslap, ...) and
# every check of memccapable, ascii and binary, against a running server.
# Run by scripts/clients through with-server; the lines printed are those of harness.py.
set -uo pipefail

client=libmemcached-tools
server=$MEMC_HOST:$MEMC_PORT
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1

for tool in memccp memccapable; do
    command -v "$tool" >/dev/null || { echo "$tool is not installed" >&2; exit 1; }
done

# Two of its checks, "ascii delete" and "ascii delete noreply", fail on memcached
# 1.6.45 too (they expect an error for "delete a b c d e"), so they are ignored here.
capable=(version quit verbosity set "set noreply" get gets mget flush "flush noreply" add "add noreply"
    replace "replace noreply" cas "cas noreply" incr "incr noreply" decr "decr noreply" append
    "append noreply" prepend "prepend noreply" stat)

capable_binary=(noop quit quitq set setq flush flushq add addq replace replaceq delete deleteq get getq getk getkq
    incr incrq decr decrq version append appendq prepend prependq stat)

same() { [ "$1" = "$2" ] || { echo "got '${1:0:80}', wanted '${2:0:80}'"; return 1; }; }
gone() { ! memccat --servers="$server" "$1" >/dev/null 2>&1 || { echo "$1 is still there"; return 1; }; }
ready() { timeout 8 bash -c "until $1; do sleep 0.05; done"; }

tool_ping() { memcping --servers="$server"; }
tool_set() {
    printf 'hello' >one && printf 'world' >two &&
        memccp --servers="$server" --set one two && same "$(memccat --servers="$server" one)" hello
}
tool_add() {
    printf 'a' >added && memccp --servers="$server" --add added && printf 'b' >added &&
        ! memccp --servers="$server" --add added 2>/dev/null && same "$(memccat --servers="$server" added)" a
}
tool_replace() {
    printf 'r' >fresh && ! memccp --servers="$server" --replace fresh 2>/dev/null &&
        memccp --servers="$server" --set fresh && printf 's' >fresh &&
        memccp --servers="$server" --replace fresh && same "$(memccat --servers="$server" fresh)" s
}
tool_multi() {
    memccp --servers="$server" --set one two && same "$(memccat --servers="$server" one two | tr -d '\n')" helloworld
}
tool_flags() {
    memccp --servers="$server" --set --flags=77 one && memccat --servers="$server" --flags one | grep -q 77
}
tool_large() {
    head -c 1000000 /dev/urandom >big && memccp --servers="$server" --set big &&
        memccat --servers="$server" --file=back big && cmp big back
}
tool_exist() {
    memccp --servers="$server" --set one && memcexist --servers="$server" one &&
        ! memcexist --servers="$server" nothing 2>/dev/null
}
tool_touch() {
    memccp --servers="$server" --set one && memctouch --servers="$server" --expire=1 one &&
        ready "! memcexist --servers=$server one 2>/dev/null" && ! memctouch --servers="$server" --expire=9 one 2>/dev/null
}
tool_expiry() {
    memccp --servers="$server" --set --expire=2 one && memcexist --servers="$server" one &&
        ready "! memcexist --servers=$server one 2>/dev/null"
}
tool_delete() { memccp --servers="$server" --set one && memcrm --servers="$server" one && gone one; }
tool_dump() {
    # only items in the COLD queue are dumped; the maintainer moves them there
    memccp --servers="$server" --set one two && ready "memcdump --servers=$server | grep -qx one"
}
tool_stats() { memcstat --servers="$server" | grep -Eq '^[[:space:]]*curr_items: [0-9]+'; }
tool_slap() {
    memcslap --servers="$server" --concurrency=4 --execute-number=500 --test=set >/dev/null &&
        memcslap --servers="$server" --concurrency=4 --execute-number=500 --initial-load=500 --test=mget >/dev/null
}
tool_aslap() {
    local out
    out=$(memcaslap --servers="$server" --threads=1 --concurrency=8 --execute_number=20000 --verify=1.0) || return 1
    grep -q 'get_misses: 0' <<<"$out" && grep -q 'verify_failed: 0' <<<"$out"
}
tool_slap_binary() {
    memcslap --servers="$server" --binary --concurrency=4 --execute-number=500 --test=set >/dev/null &&
        memcslap --servers="$server" --binary --concurrency=4 --execute-number=500 --initial-load=500 --test=get >/dev/null
}
tool_aslap_binary() {
    local out
    out=$(memcaslap --servers="$server" --binary --threads=1 --concurrency=8 --execute_number=20000 --verify=1.0) || return 1
    grep -q 'get_misses: 0' <<<"$out" && grep -q 'verify_failed: 0' <<<"$out"
}
tool_flush() { memccp --servers="$server" --set one && memcflush --servers="$server" && gone one; }

features=(ping set multi add replace touch delete expiry flags large stats exist dump slap aslap slap-binary aslap-binary flush)

printf 'plan %s' "$client"
for feature in "${features[@]}"; do printf ' %s' "$feature"; done
for check in "${capable[@]}"; do printf ' memccapable-%s' "${check// /-}"; done
for check in "${capable_binary[@]}"; do printf ' memccapable-binary-%s' "$check"; done
echo

failed=0
verdict() { # STATUS NAME REASON
    if [ "$1" -eq 0 ]; then
        echo "ok $client $2"
    else
        failed=1
        echo "not ok $client $2: $(tr -s '[:space:]' ' ' <<<"${3:-no reason given}")"
    fi
}
for feature in "${features[@]}"; do
    reason=$("tool_${feature//-/_}" 2>&1 </dev/null)
    verdict $? "$feature" "$reason"
done
report=$(timeout 60 memccapable -h "$MEMC_HOST" -p "$MEMC_PORT" -a -v 2>"$work/complaints" </dev/null)
for check in "${capable[@]}"; do
    grep -Eq "ascii $check +\[pass\]" <<<"$report"
    verdict $? "memccapable-${check// /-}" "not [pass] in: $(grep "ascii $check " <<<"$report")"
done
report=$(timeout 60 memccapable -h "$MEMC_HOST" -p "$MEMC_PORT" -b -v 2>"$work/complaints" </dev/null)
for check in "${capable_binary[@]}"; do
    grep -Eq "binary $check +\[pass\]" <<<"$report"
    verdict $? "memccapable-binary-$check" "not [pass] in: $(grep "binary $check " <<<"$report")"
done
exit "$failed"
