#!/usr/bin/env bash
# demo.sh BUILDDIR [--short]: logd under a client that nobody here wrote, and what it stored.
#
# 1. Throughput: redis-benchmark, many clients, pipelined.
# 2. The proof: several redis-cli processes push numbered records; what they print is the record of
#    what logd acknowledged. Some of them are killed half-way. Then another redis-cli reads the log:
#    every acknowledged record must be there, where its reply said, once, whole, and in its client's
#    order.
# 3. A benchmark table of the containers, each with its ratio to the limit (not with --short).
# 4. Entities: threads that spawn, despawn and refer to each other by handle; what they count must add up.
#
# Exits with 0 iff nothing was lost, duplicated, torn or out of order, logd ended on SIGTERM
# within a second, with 0, and the entities add up; with 77 when redis-tools is not installed.
#
# SPDX-License-Identifier: MIT OR Apache-2.0
set -u

build=${1:?usage: demo.sh BUILDDIR [--short]}
clients=8
killed=3
records=25000     # by each client
requests=400000   # of each kind, by redis-benchmark
slice=20000       # records read at once
short=
if [ "${2:-}" = --short ]; then
    short=yes
    records=5000
    requests=60000
fi

die() { printf 'demo: %s\n' "$*" >&2; exit 1; }

command -v redis-cli >/dev/null && command -v redis-benchmark >/dev/null || {
    echo "demo: no redis-cli or no redis-benchmark: install redis-tools" >&2
    exit 77
}
[ -x "$build/examples/logd" ] || die "no $build/examples/logd"

scratch=$(mktemp -d) || exit 1
logd=   # its process id while it runs
writers=() # those of the redis-cli processes
sleeper=

cleanup() {
    local pid
    for pid in ${writers[@]+"${writers[@]}"} $sleeper $logd; do
        [ -n "$pid" ] || continue
        kill -KILL "$pid" 2>/dev/null
        wait "$pid" 2>/dev/null
    done
    rm -rf "$scratch"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

# --- helpers -------------------------------------------------------------------------------------

# One line that is overwritten, on a terminal; nothing elsewhere.
progress() { [ -t 1 ] && printf '\r\033[K%s' "$*"; }

# A line that stays.
say() {
    progress ''
    printf '%s\n' "$*"
}

now_ms() { echo $((${EPOCHREALTIME/[.,]/} / 1000)); }

# Runs a command until it succeeds: for 20 s at most.
await() {
    local deadline=$(($(now_ms) + 20000))
    until "$@"; do
        [ "$(now_ms)" -lt "$deadline" ] || return 1
        sleep 0.02
    done
}

ask() { timeout 20 redis-cli -p "$port" "$@"; }

# A figure of INFO.
info() { ask INFO | tr -d '\r' | awk -F: -v name="$1" '$1 == name { print $2 }'; }

# How many lines of a file are complete.
lines() { wc -l <"$1"; }

# --- the server ----------------------------------------------------------------------------------

start_logd() {
    "$build/examples/logd" --port 0 --port-file "$scratch/port" >"$scratch/logd.out" 2>&1 &
    logd=$!
    await test -s "$scratch/port" || die "logd did not start: $(cat "$scratch/logd.out")"
    port=$(cat "$scratch/port")
    [ "$(ask PING)" = PONG ] || die "logd does not answer"
    say "logd listens on 127.0.0.1:$port, with $(info workers) workers"
}

has_ended() { ! kill -0 "$1" 2>/dev/null; }

# Ends it in order; it has a second.
stop_logd() {
    local pid=$logd started took status
    started=$(now_ms)
    kill -TERM "$pid"
    await has_ended "$pid" || kill -KILL "$pid"
    took=$(($(now_ms) - started))
    wait "$pid" 2>/dev/null
    status=$?
    logd=
    say "logd ended on SIGTERM after $took ms, with exit status $status"
    [ "$status" -eq 0 ] && [ "$took" -le 1000 ] || failed=yes
}

# --- throughput ----------------------------------------------------------------------------------

# redis-benchmark's rate for one command: the last of the lines that it overwrites.
rate() {
    timeout 60 redis-benchmark -p "$port" -n "$requests" -c 50 -P 16 -r "$requests" -q "$@" 2>&1 |
        tr '\r' '\n' | awk '/requests per second/ { line = $0 }
            END {
                if (!match(line, /[0-9.]+ requests per second/))
                    exit 1
                printf "%d", substr(line, RSTART) + 0
            }' || die "redis-benchmark $1 failed"
}

show_throughput() {
    local pushes reads
    progress "redis-benchmark ..."
    pushes=$(rate RPUSH benchmark record:__rand_int__) || exit 1
    reads=$(rate LINDEX benchmark __rand_int__) || exit 1
    say "throughput: 50 clients, pipelines of 16, $requests requests each"
    say "$(printf '    RPUSH  %9d requests per second' "$pushes")"
    say "$(printf '    LINDEX %9d requests per second' "$reads")"
    [ "$(ask LLEN benchmark)" = "$requests" ] || die "LLEN is not what redis-benchmark pushed"
}

# --- the proof -----------------------------------------------------------------------------------

# Commands for client k: n of them, or without end.
generate() { awk -v k="$1" -v n="$2" 'BEGIN { while (i != n) print "RPUSH log c" k ":" ++i }'; }

# Those that will be killed get commands without end: however late the kill, it comes in the middle.
start_writers() {
    local k n
    for k in $(seq "$clients"); do
        n=$records
        [ "$k" -gt "$killed" ] || n=-1
        generate "$k" "$n" | redis-cli -p "$port" >"$scratch/acks.$k" 2>"$scratch/errors.$k" &
        writers+=($!)
    done
}

# The first ones are killed as soon as they have got as far as half of what the others push.
# Succeeds when all of them are dead.
kill_some_writers() {
    local k pid left=0
    progress "$(cat "$scratch"/acks.* | wc -l) acknowledged ..."
    for k in $(seq "$killed"); do
        pid=${writers[k - 1]}
        [ -n "$pid" ] || continue
        if [ "$(lines "$scratch/acks.$k")" -lt $((records / 2)) ]; then
            left=1
            continue
        fi
        kill -KILL "$pid" || die "client $k has ended by itself: $(cat "$scratch/errors.$k")"
        wait "$pid" 2>/dev/null
        writers[k - 1]=
    done
    return "$left"
}

are_done() {
    local k
    progress "$(cat "$scratch"/acks.* | wc -l) acknowledged ..."
    for k in $(seq $((killed + 1)) "$clients"); do
        [ "$(lines "$scratch/acks.$k")" -ge "$records" ] || return 1
    done
}

finish_writers() {
    await are_done || die "the clients do not get through: $(cat "$scratch"/errors.*)"
    wait "${writers[@]:killed}" 2>/dev/null
    writers=()
}

# From the outside: the whole log, a slice at a time.
read_log() {
    local first=0 len
    len=$(ask LLEN log)
    while [ "$first" -lt "$len" ]; do
        progress "read back $first of $len ..."
        ask LRANGE log "$first" $((first + slice - 1)) || die "LRANGE failed"
        first=$((first + slice))
    done >"$scratch/stored"
}

# Only complete lines count as acknowledgements: a client may have been killed while it wrote one.
keep_complete_lines() {
    local k
    for k in $(seq "$clients"); do
        head -n "$(lines "$scratch/acks.$k")" "$scratch/acks.$k" >"$scratch/complete.$k"
    done
}

# The n-th line that client k printed is the reply to its n-th command: the length of the log after
# it, so the number of the line in `stored` that must be "ck:n".
compare() {
    awk -v clients="$clients" '
        FILENAME ~ /stored$/ {
            stored[++count] = $0
            if ($0 !~ /^c[0-9]+:[0-9]+$/) { torn++; next }
            split(substr($0, 2), part, ":")
            if (part[1] < 1 || part[1] > clients) { torn++; next }
            if ($0 in seen) { duplicated++; next }
            seen[$0] = 1
            if (part[2] != last[part[1]] + 1) misplaced++
            last[part[1]] = part[2]
            next
        }
        FNR == 1 { client = FILENAME; sub(/.*\./, "", client) }
        {
            acknowledged++
            if ($0 !~ /^[0-9]+$/ || stored[$0 + 0] != "c" client ":" FNR) lost++
        }
        END {
            printf "acknowledged %d, stored %d, lost %d\n", acknowledged, count, lost
            printf "duplicated %d, torn %d, out of order %d\n", duplicated, torn, misplaced
            exit acknowledged == 0 || lost + duplicated + torn + misplaced > 0
        }' "$scratch/stored" "$scratch"/complete.*
}

prove() {
    say "proof: $clients redis-cli push $records numbered records each; $killed are killed half-way"
    start_writers
    await kill_some_writers || die "the clients do not get half-way: $(cat "$scratch"/errors.*)"
    finish_writers
    read_log
    keep_complete_lines
    compare >"$scratch/verdict" || failed=yes
    local line
    while read -r line; do
        say "    $line"
    done <"$scratch/verdict"
}

# --- handles -------------------------------------------------------------------------------------

# A client is ended by another one, by its handle; then the handle is stale.
show_handles() {
    local id once twice
    mkfifo "$scratch/fifo"
    redis-cli -p "$port" <"$scratch/fifo" >"$scratch/id" 2>/dev/null &
    sleeper=$!
    exec 9>"$scratch/fifo"
    echo "CLIENT ID" >&9
    await test -s "$scratch/id" || die "no client id"
    id=$(cat "$scratch/id")
    once=$(ask CLIENT KILL ID "$id")
    twice=$(ask CLIENT KILL ID "$id")
    exec 9>&-
    wait "$sleeper" 2>/dev/null
    sleeper=
    say "client $id killed by its handle: $once; by the same handle again: $twice"
    [ "$once$twice" = 10 ] || failed=yes
    say "$(ask INFO stats | tr -d '\r' | awk -F: '
        { figure[$1] = $2 }
        END {
            printf "connections opened %d, closed %d (%d by CLIENT KILL), stale handles refused %d",
                figure["connections_opened"], figure["connections_closed"],
                figure["closed_by_kill"], figure["stale_handles_refused"]
        }')"
}

# --- waiting -------------------------------------------------------------------------------------

one_is_blocked() { [ "$(info blocked_clients)" = 1 ]; }

# BTAIL waits for the record that comes next, and gets it.
show_waiting() {
    local index
    index=$(ask LLEN log)
    ask BTAIL log "$index" 10 >"$scratch/tail" &
    sleeper=$!
    await one_is_blocked || die "BTAIL does not wait"
    ask RPUSH log "the next record" >/dev/null
    wait "$sleeper"
    sleeper=
    say "BTAIL log $index waited for: $(cat "$scratch/tail")"
    [ "$(cat "$scratch/tail")" = "the next record" ] || failed=yes
}

# --- the containers ------------------------------------------------------------------------------

# Loses nothing, so a machine too slow for it does not fail the demo.
show_benchmark() {
    local status
    [ -x "$build/bench/vbuf_bench" ] || { say "no vbuf_bench: no benchmark table"; return; }
    say ""
    say 'the containers; "/ raw" is the ratio to the limit'
    timeout 35 "$build/bench/vbuf_bench" --quick --threads 1,2
    status=$?
    say ""
    [ "$status" -ne 124 ] || say "vbuf_bench takes too long on this machine: no benchmark table"
    [ "$status" -eq 0 ] || [ "$status" -eq 124 ] || failed=yes
}

# --- entities ------------------------------------------------------------------------------------

show_entities() {
    local line
    [ -x "$build/examples/entities" ] || die "no $build/examples/entities"
    say ""
    progress "entities ..."
    timeout 60 "$build/examples/entities" >"$scratch/entities" 2>&1 || failed=yes
    while read -r line; do
        say "$line"
    done <"$scratch/entities"
    say ""
}

# --- all of it -----------------------------------------------------------------------------------

failed=
port=
start_logd
show_throughput
prove
show_handles
show_waiting
stop_logd

[ -n "$short" ] || show_benchmark
show_entities
[ -z "$failed" ] || die "FAILED: $(head -n 1 "$scratch/verdict")"
say "demo: $(head -n 1 "$scratch/verdict")"
