#!/bin/sh
# run.sh: what the tests are worth: each patch here weakens one thing, and its catcher must see it.
#
# A patch begins with a line that says what it weakens, and one `caught-by: CATCHER`:
#
#     explorer.SCENARIO  a scenario of the schedule explorer (tests/model)
#     tsan.NAME          tests/tsan/NAME.c under ThreadSanitizer (clang)
#     litmus.NAME        the same program without a sanitizer
#     unit.NAME          tests/unit/NAME.c
#     stress.CASE        a case of the stress program, for a few seconds
#     tsan-stress.CASE   the same under ThreadSanitizer
#     strace-stress.CASE the same where the system has no process-wide barrier
#     model.NAME VARIANT the model with the same thing weakened (tests/model/spin/run.sh)
#     none               nothing yet: a survivor
#
# or `equivalent: WHY`, where nothing could: the code is as right with it. Such a patch must apply, and pass the
# explorer. A catcher has caught a patch when it fails, crashes, or does not end in time; it gets a few tries, as
# what it looks for is rare. Where the named one fails, the others are asked: all scenarios of
# the explorer, the litmus tests under ThreadSanitizer, stress. An unchanged tree must pass every catcher:
# `run.sh unchanged`.
#
# SPDX-License-Identifier: MIT OR Apache-2.0
set -u

usage() {
    cat <<'END'
usage: run.sh [NAME...]   try these patches, or all; prints a line each: what killed it
       run.sh unchanged   try every catcher on the tree as it is: none may fail
       run.sh --list      list the patches and their catchers
CC and CLANG name the compilers (default: cc, clang), JOBS how many run at once (default: 2), TRIES how often a
catcher is run (default: 3), BOUND its time in seconds (default: 120).
END
}

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
ck=
if echo '#include <ck_ec.h>' | ${CC:-cc} -E -x c - >/dev/null 2>&1; then ck=-lck; fi

die() {
    echo "run.sh: $1" >&2
    exit 2
}

first_line() {
    sed -n 1p "$1"
}

# `equivalent` for those.
catcher_of() {
    sed -n -e 's/^caught-by: //p' -e 's/^equivalent: .*/equivalent/p' "$1" | head -n 1
}

# ---- the explorer ----

explorer_flags="-std=gnu11 -w -g1 -fno-pie -U_FORTIFY_SOURCE -Iinclude -Isrc -Itests/model/explorer"
seams='-DVBUF_ATOMIC_SEAM="seam_atomic.h" -DVBUF_FENCE_SEAM="seam_fence.h"'
instrumented="-O1 -include seam_libc.h -fsanitize=thread"
if ${CC:-cc} --version | grep -q -i gcc; then
    instrumented="$instrumented --param tsan-instrument-func-entry-exit=0"
fi

# Sources that the explorer replaces by its own.
is_replaced() {
    case $1 in
    src/system_* | src/fence_* | src/wait_* | src/vmem_posix*) return 0 ;;
    esac
    return 1
}

# Into ./objects, from the sources named.
compile_explored() {
    mkdir -p objects
    for source; do
        is_replaced "$source" && continue
        # shellcheck disable=SC2086 # lists
        ${CC:-cc} $explorer_flags $seams $instrumented -c "$source" \
            -o "objects/$(echo "$source" | tr / _).o" >>build.log 2>&1 || return 1
    done
}

compile_explorer() {
    mkdir -p objects
    for source in tests/model/explorer/*.c; do
        # shellcheck disable=SC2086 # lists
        ${CC:-cc} $explorer_flags $seams -O2 -c "$source" \
            -o "objects/explorer_$(basename "$source" .c).o" >>build.log 2>&1 || return 1
    done
}

# The objects of the unchanged tree, which most patches share but for one.
build_base() {
    mkdir "$work/base" && cd "$work/base" && cp -r "$root/src" "$root/include" . && mkdir tests &&
        cp -r "$root/tests/model" tests && compile_explorer &&
        compile_explored src/*.c tests/model/scenarios/*.c
}

# In the current directory, a copy of the tree with patch $1 in it. Leaves ./program.
build_explored() {
    changed=$(sed -n 's|^+++ b/||p' "$1")
    cp -r "$work/base/objects" objects || return 1
    for file in $changed; do
        case $file in
        src/*.c) ;;
        *) changed="$(echo src/*.c tests/model/scenarios/*.c)" ;; # a header
        esac
    done
    # shellcheck disable=SC2086 # lists
    compile_explored $changed && ${CC:-cc} -no-pie objects/*.o -lpthread -o program >>build.log 2>&1
}

# The library's part that a vector needs.
vector_sources() {
    wait=src/wait_poll.c
    test -z "$ck" || wait=src/wait_ck.c
    echo src/status.c src/system_linux.c src/vmem.c src/vmem_linux.c src/fence_linux.c src/threads.c \
        src/vbuf.c src/cvec*.c $wait
}

# Whatever fault.c puts itself in front of.
wraps() {
    sed -n 's/.*__wrap_\(vbuf_sys_[a-z_]*\)(.*/-Wl,--wrap=\1/p' "$root/tests/fault.c" | sort -u
}

# build PROGRAM: in the current directory, a copy of the tree. Leaves ./program.
build() {
    flags="-std=gnu11 -O2 -g1 -w -DCHECK_PLAIN -Iinclude -Itests -Isrc"
    compiler=${CC:-cc}
    case $1 in
    tsan.* | tsan-stress.*)
        compiler=${CLANG:-clang}
        flags="$flags -fsanitize=thread"
        ;;
    esac
    check="tests/check.c tests/check_main.c"
    case $1 in
    tsan.* | litmus.*) sources="$check tests/tsan/${1#*.}.c $(vector_sources)" ;;
    unit.*)
        sources="$check tests/unit/${1#*.}.c tests/fault.c $(wraps) $(vector_sources)
            src/ebr*.c src/slotmap*.c"
        ;;
    *stress.*)
        sources="tests/check.c tests/stress/*.c tests/fault.c $(wraps) $(vector_sources)
            src/ebr*.c src/slotmap*.c"
        ;;
    esac
    # shellcheck disable=SC2086 # lists
    $compiler $flags $sources $ck -lpthread -o program >build.log 2>&1
}

# Programs of ThreadSanitizer want their address space where it expects it.
run_program() {
    fixed=
    if setarch -R true 2>/dev/null; then fixed="setarch -R"; fi
    # shellcheck disable=SC2086 # a list
    timeout "${BOUND:-120}" $fixed ./program "$@" >run.log 2>&1
}

# True iff the catcher, which is ./program, fails.
catches() {
    case $1 in
    explorer.*)
        run_program --jobs 1 --seconds 10 --scenario "${1#*.}"
        test $? -eq 1 # not 2, no such scenario, nor 124, out of time
        return
        ;;
    strace-stress.*)
        timeout 120 strace --seccomp-bpf -f -qq -o /dev/null -e trace=membarrier \
            -e inject=membarrier:error=ENOSYS ./program --case "${1#*.}" --seconds 2 >run.log 2>&1
        ;;
    *stress.*) run_program --case "${1#*.}" --seconds 6 ;;
    *) run_program ;;
    esac
    test $? -ne 0
}

# model NAME VARIANT: true iff it fails, as it must.
model_fails() {
    "$root/tests/model/spin/run.sh" --trace "${1#model.}" "$2" 2>/dev/null | grep -q 'failed assertion'
}

# Builds a catcher of patch file $1 and tries it. True iff it catches; sets `trouble` where it could not be tried.
try() {
    trouble=
    case $2 in
    model.*)
        # shellcheck disable=SC2086 # a list
        model_fails $2
        return
        ;;
    explorer.*) build_explored "$1" || trouble="DOES NOT COMPILE" ;;
    *) build "$2" || trouble="DOES NOT COMPILE" ;;
    esac
    test -z "$trouble" || return 1
    for attempt in $(seq "${TRIES:-3}"); do
        catches "$2" && return 0
        case $2 in explorer.*) return 1 ;; esac # it does the same again
    done
    return 1
}

# Which scenarios have to do with what a patch changes: names begin so.
modules_of() {
    sed -n 's|^+++ b/||p' "$1" | sed -n -e 's|.*/\(cvec\)[^/]*$|\1|p' -e 's|.*/\(ebr\)[^/]*$|\1|p' \
        -e 's|.*/\(slotmap\)[^/]*$|\1|p' -e 's|.*/\(threads\|limbo\|fence\)[^/]*$|ebr slotmap|p' | tr ' ' '\n' | sort -u
}

# True iff a scenario of those fails, each within $2 seconds; prints its name.
explorer_finds() {
    for module in $(modules_of "$1"); do
        timeout 600 ./program --jobs 1 --seconds "$2" --quiet "$module." >run.log 2>&1
        test $? -eq 1 || continue
        sed -n 's/^FAILED *\([^ :]*\).*/\1/p' run.log | head -n 1
        return 0
    done
    return 1
}

# Every test there is, where the named one has not caught it: prints the first that does.
ask_all() {
    if build_explored "$1" && found=$(explorer_finds "$1" 2) && test -n "$found"; then
        echo "explorer.$found"
        return
    fi
    for other in "$root"/tests/tsan/*_test.c; do
        other=tsan.$(basename "$other" .c)
        build "$other" && catches "$other" && echo "$other" && return
    done
    build tsan-stress. || return
    for other in cvec-all map-churn ebr-objects pinned-value; do
        catches "tsan-stress.$other" && echo "tsan-stress.$other" && return
    done
}

# One patch and its catcher; prints its line, leaves a file `killed`, `equivalent` or `survived`.
one() {
    name=$1 catcher=$2
    patch_file=$here/$name.patch
    test "$name" != unchanged || patch_file=/dev/null
    directory=$work/$name-$(echo "$catcher" | tr -c 'a-z0-9_\n' _)
    mkdir -p "$directory" && cd "$directory" || exit 2
    cp -r "$root/src" "$root/include" . && mkdir tests &&
        cp -r "$root"/tests/*.[ch] "$root/tests/tsan" "$root/tests/unit" "$root/tests/stress" \
            "$root/tests/model" tests
    result=survived trouble=
    if test "$name" != unchanged && ! patch -s -p1 <"$patch_file" >patch.log 2>&1; then
        verdict="DOES NOT APPLY"
    elif test "$catcher" = equivalent; then
        verdict="equivalent, as argued" result=equivalent
        if ! build_explored "$patch_file"; then
            trouble="DOES NOT COMPILE"
        elif found=$(explorer_finds "$patch_file" 0.2); then
            verdict="ARGUED EQUIVALENT, BUT NOT SO: explorer.$found" result=survived
        fi
        test -z "$trouble" || verdict="$trouble" result=survived
    elif test "$catcher" != none && try "$patch_file" "$catcher"; then
        verdict="killed by $catcher" result=killed
    elif test -n "$trouble"; then
        verdict="$trouble ($catcher)"
    elif test "$name" = unchanged; then
        verdict="passes $catcher" result=killed
    else
        verdict=$(ask_all "$patch_file")
        if test -n "$verdict"; then
            verdict="killed by $verdict, not by $catcher" result=killed
        else
            verdict="SURVIVES ($catcher)"
        fi
    fi
    if test "$name" = unchanged && test "${verdict%% *}" = killed; then
        verdict="FAILS on $catcher" result=survived
    fi
    : >$result
    printf '%-38s %s\n' "$name" "$verdict"
    test $result != survived || tail -n 5 build.log patch.log run.log 2>/dev/null | sed 's/^/    /'
    rm -rf src include tests objects program
}

if test "${1:-}" = --one; then # from xargs below
    # shellcheck disable=SC2086 # a list
    set -- $2
    name=$1
    shift
    work=$MUTANTS_WORK
    one "$name" "$*"
    exit
fi

every_patch() {
    for patch in "$here"/*.patch; do
        basename "$patch" .patch
    done
}

case ${1:-} in
--list)
    for name in $(every_patch); do
        printf '%-34s %s\n' "$name" "$(catcher_of "$here/$name.patch")"
        printf '    %s\n' "$(first_line "$here/$name.patch")"
    done
    exit
    ;;
--help | -h)
    usage
    exit
    ;;
-*)
    usage >&2
    exit 2
    ;;
esac
work=$(mktemp -d) || die "no temporary directory"
trap 'cd / && rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP

# Lines of a name and its catcher.
if test "${1:-}" = unchanged; then
    for name in $(every_patch); do
        catcher_of "$here/$name.patch"
    done | grep -v -e '^none' -e '^model' -e '^equivalent' | sort -u | sed 's/^/unchanged /' >"$work/chosen"
else
    test $# -gt 0 || set -- $(every_patch)
    for name; do
        name=$(basename "$name" .patch)
        test -f "$here/$name.patch" || die "no patch $name"
        catcher=$(catcher_of "$here/$name.patch")
        test -n "$catcher" || die "$name names no catcher"
        echo "$name $catcher"
    done >"$work/chosen" || exit 2
fi

export MUTANTS_WORK="$work"
(build_base) || {
    tail -n 20 "$work/base/build.log" >&2
    die "the explorer does not compile"
}
xargs -P "${JOBS:-2}" -I '{}' sh "$0" --one '{}' <"$work/chosen"
count() {
    find "$work" -name "$1" | wc -l
}
killed=$(count killed) equivalent=$(count equivalent)
survivors=$(($(wc -l <"$work/chosen") - killed - equivalent))
if test "${1:-}" = unchanged; then
    echo "$((killed)) passed, $survivors failed"
else
    test "$equivalent" -eq 0 || echo "$((equivalent)) equivalent, as argued in each"
    echo "killed $((killed)) of $((killed + survivors)), survivors: $survivors"
fi
test "$survivors" -eq 0
