#!/bin/sh
# run.sh: what the tests of cvec are worth: each patch here weakens one thing, and its catcher must see it.
#
# A patch begins with a line that says what it weakens, and one `caught-by: CATCHER`:
#
#     tsan.NAME          tests/tsan/NAME.c under ThreadSanitizer (clang)
#     litmus.NAME        the same program without a sanitizer
#     unit.NAME          tests/unit/NAME.c
#     stress.CASE        a case of the stress program, for a few seconds
#     tsan-stress.CASE   the same under ThreadSanitizer
#     model.NAME VARIANT the model with the same thing weakened (tests/model/spin/run.sh)
#     none               nothing yet; such a patch must apply and compile
#
# A catcher has caught a patch when it fails, crashes, or does not end in time; it gets a few tries, as
# what it looks for is rare. An unchanged tree must pass every catcher: `run.sh unchanged`.
#
# SPDX-License-Identifier: MIT OR Apache-2.0
set -u

usage() {
    cat <<'END'
usage: run.sh [NAME...]   try these patches, or all; prints a line each
       run.sh unchanged   try every catcher on the tree as it is: none may fail
       run.sh --list      list the patches and their catchers
CC and CLANG name the compilers (default: cc, clang), JOBS how many run at once (default: 2), TRIES how often a
catcher is run (default: 3), BOUND its time in seconds (default: 60).
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

catcher_of() {
    sed -n 's/^caught-by: //p' "$1" | head -n 1
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
    unit.*) sources="$check tests/unit/${1#*.}.c tests/fault.c $(wraps) $(vector_sources)" ;;
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
    timeout "${BOUND:-60}" $fixed ./program "$@" >run.log 2>&1
}

# True iff the catcher fails.
catches() {
    case $1 in
    *stress.*) run_program --case "${1#*.}" --seconds 6 ;;
    *) run_program ;;
    esac
    test $? -ne 0
}

# model NAME VARIANT: true iff it fails, as it must.
model_fails() {
    "$root/tests/model/spin/run.sh" --trace "${1#model.}" "$2" 2>/dev/null | grep -q 'failed assertion'
}

# One patch, or `unchanged` with a catcher; prints its line, leaves a file `passed` or `failed`.
one() {
    name=$1 catcher=$2
    shift 2
    directory=$work/$name-$(echo "$catcher" | tr -c 'a-z0-9_\n' _)
    mkdir -p "$directory" && cd "$directory" || exit 2
    cp -r "$root/src" "$root/include" . && mkdir tests &&
        cp -r "$root"/tests/*.[ch] "$root/tests/tsan" "$root/tests/unit" "$root/tests/stress" tests
    verdict="caught by" result=passed
    if test "$name" != unchanged && ! patch -s -p1 <"$here/$name.patch" >patch.log 2>&1; then
        verdict="DOES NOT APPLY;" result=failed
    elif test "${catcher%% *}" = none; then
        verdict="caught yet by"
        build litmus.cvec_litmus_test || verdict="DOES NOT COMPILE;" result=failed
    elif test "${catcher%%.*}" = model; then
        # shellcheck disable=SC2086 # a list
        model_fails $catcher || verdict="NOT CAUGHT by" result=failed
    elif ! build "$catcher"; then
        verdict="DOES NOT COMPILE;" result=failed
    else
        verdict="NOT CAUGHT by" result=failed
        for try in $(seq "${TRIES:-3}"); do
            if catches "$catcher"; then
                verdict="caught by" result=passed
                break
            fi
        done
    fi
    if test "$name" = unchanged; then
        case $verdict in
        NOT*) verdict=passes result=passed ;;
        *) verdict="FAILS" result=failed ;;
        esac
    fi
    : >$result
    printf '%-34s %s %s\n' "$name" "$verdict" "$catcher"
    test $result = passed || tail -n 5 build.log patch.log run.log 2>/dev/null | sed 's/^/    /'
    rm -rf src include tests program
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
    done | grep -v -e '^none' -e '^model' | sort -u | sed 's/^/unchanged /' >"$work/chosen"
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
xargs -P "${JOBS:-2}" -I '{}' sh "$0" --one '{}' <"$work/chosen"
passed=$(find "$work" -name passed | wc -l)
failed=$(($(wc -l <"$work/chosen") - passed))
echo "$((passed)) passed, $failed failed"
test "$failed" -eq 0
