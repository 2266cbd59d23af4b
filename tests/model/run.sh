#!/bin/sh
# run.sh: the spin models, each variant built and searched to the end.
#
# ebr.pml is the epoch protocol as it should be; its variants are the same with one thing changed
# (the essay at its top says what and why). A variant that must pass is searched exhaustively: no
# error, and nothing cut short. One that must fail is searched breadth first, and has to end in one
# of the model's two assertions, by the shortest way there is; any other end is a failure.
#
# SPDX-License-Identifier: MIT OR Apache-2.0
set -u

usage() {
    cat <<'END'
usage: run.sh [--quick]             check every variant; --quick searches smaller sizes
       run.sh --trace VARIANT...    print how a variant that must fail does so
       run.sh --list                list the variants
CC names the compiler (default: cc), JOBS how many variants run at once (default: 2).
END
}

# What must happen, the size searched by --quick, the size searched otherwise, the variant.
variants() {
    cat <<'END'
pass medium large  default
pass small  large  FENCE_MODE
pass small  large  LIGHT_ONLY
pass small  large  OVERFLOW_READER
pass small  large  FENCE_MODE OVERFLOW_READER
pass twice  large  REPIN
pass tiny   tall   UNATTACHED_REMOVER
pass tiny   tall   HIGH_WATER_BEFORE_HEAVY
pass tiny   medium OVERFLOW_READER OVERFLOW_AS_WRITTEN ALWAYS_HEAVY
pass tiny   tall   TWO_REMOVERS
pass tiny   small  EVERY_MESSAGE
fail tiny   tiny   NO_HEAVY
fail tiny   tiny   TAG_EARLY
fail tiny   tiny   TAG_PLAIN_LOAD
fail tiny   tiny   SEAL_RELAXED
fail tiny   tiny   PIN_RELAXED
fail tiny   tiny   UNPIN_RELAXED
fail tiny   tiny   SCAN_RELAXED
fail tiny   tiny   ADVANCE_RELAXED
fail tiny   tiny   RECLAIM_RELAXED
fail tiny   tiny   GRACE_ONE_STEP
fail tiny   tiny   NESTED_REPIN
fail twice  twice  REPIN REPIN_RELAXED
fail tiny   tiny   EPOCH_ZERO
fail tiny   tiny   REGISTERED_PLAIN_LOAD
fail tiny   tiny   COUNTS_RELAXED
fail tiny   tiny   HIGH_WATER_BEFORE_TEST
fail tiny   tiny   HEAVY_SPARES_DETACHED
fail tiny   tiny   UNATTACHED_MISCOUNTED
fail pair   pair   ID_RELAXED
fail pair   pair   ATTACH_WITHOUT_RELEASE
fail twice  twice  RELEASE_SEQUENCE_CXX20
fail tiny   tiny   OVERFLOW_READER OVERFLOW_PLAIN_LOAD
fail tiny   tiny   OVERFLOW_READER OVERFLOW_AS_WRITTEN
fail tiny   tiny   FENCE_MODE NO_PIN_FENCE
fail tiny   tiny   FENCE_MODE NO_HEAVY
END
}

# Steps of the epoch; sections of reader 0 and of reader 1; whether there is a collector.
size() {
    case $1 in
    tiny) echo "-DSTEPS=2 -DSECTIONS0=0 -DSECTIONS1=1" ;;
    twice) echo "-DSTEPS=2 -DSECTIONS0=0 -DSECTIONS1=2" ;;
    pair) echo "-DSTEPS=2 -DSECTIONS0=1 -DSECTIONS1=1 -DCOLLECTORS=0" ;;
    small) echo "-DSTEPS=2 -DSECTIONS0=1 -DSECTIONS1=1" ;;
    medium) echo "-DSTEPS=2 -DSECTIONS0=1 -DSECTIONS1=2" ;;
    tall) echo "-DSTEPS=3 -DSECTIONS0=1 -DSECTIONS1=1" ;;
    large) echo "-DSTEPS=3 -DSECTIONS0=1 -DSECTIONS1=2" ;;
    esac
}

# The compiler's options: compiling costs more than a short search.
options() {
    case $1-$2 in
    fail-*) echo "-O0 -DBFS" ;;
    pass-tiny | pass-twice) echo "-O0 -DCOLLAPSE" ;;
    pass-large | pass-tall) echo "-O2 -DCOLLAPSE" ;;
    *) echo "-O1 -DCOLLAPSE" ;;
    esac
}

die() {
    echo "run.sh: $1" >&2
    exit 2
}

# build DIRECTORY EXPECTED SIZE NAME...: leaves DIRECTORY/pan and DIRECTORY/defines.
build() {
    dir=$1 expected=$2 size=$3
    shift 3
    defines=$(size "$size")
    for name; do
        test "$name" = default && continue
        grep '^#' "$here/ebr.pml" | grep -qw "$name" || die "ebr.pml knows no $name"
        defines="$defines -D$name"
    done
    mkdir "$dir" && cp "$here/ebr.pml" "$dir" && cd "$dir" || exit 2
    echo "$defines $TRACE" >defines
    # shellcheck disable=SC2046,SC2086 # lists of options
    spin -a $defines $TRACE ebr.pml >spin.log 2>&1 && test ! -s spin.log &&
        ${CC:-cc} -w $(options "$expected" "$size") -DSAFETY -DMEMLIM=3000 -o pan pan.c >cc.log 2>&1
}

# For the hash table: twice as many entries as there are states, or so.
hash_bits() {
    case $size in
    tiny | twice | pair) echo 18 ;;
    small | medium) echo 22 ;;
    *) echo 24 ;;
    esac
}

search() {
    ./pan -E -n -m1000 -w$(hash_bits) >pan.log 2>&1
}

# One variant; prints its line and leaves a file `passed` or `failed` in its directory.
one() {
    dir=$1 expected=$2
    shift 2
    if test -n "$QUICK"; then size=$1; else size=$2; fi
    shift 2
    result=failed
    if ! build "$dir" "$expected" "$size" "$@"; then
        text="FAILED to build"
    else
        search
        states=$(sed -n 's/^ *\([0-9.e+]*\) states, stored.*/\1/p' pan.log)
        depth=$(sed -n 's/.*assertion violated.*(at depth \([0-9]*\)).*/\1/p' pan.log)
        case $expected in
        pass)
            if ! grep -q 'errors: 0$' pan.log; then
                text="FAILED, depth ${depth:-unknown}"
            elif grep -q -e 'not completed' -e 'too small' pan.log || test -z "$states"; then
                text="FAILED, the search was cut short"
            else
                result=passed text="ok, $states states"
            fi
            ;;
        fail)
            result=passed
            if grep -q 'assertion violated *!(reclaimed\[[xy]\])' pan.log; then
                text="fails as it must, depth $depth (looks at a reclaimed object)"
            elif grep -q 'assertion violated *((last_deref\[' pan.log; then
                text="fails as it must, depth $depth (reclaims before a look is over)"
            else
                result=failed text="FAILED: does not fail as it must"
            fi
            ;;
        esac
    fi
    : >"$result"
    echo "ebr $*: $text"
    if test $result = failed; then
        cat spin.log cc.log pan.log 2>/dev/null | grep -v '^ *$' | head -n 8 | sed 's/^/    /'
    else
        rm -f pan pan.? ebr.pml.trail
    fi
}

# The shortest run of one variant into its assertion.
trace() {
    line=$(variants | sed 's/  */ /g' | grep "^fail [a-z]* [a-z]* $*\$") ||
        die "no variant '$*' that must fail (see --list)"
    # shellcheck disable=SC2086 # a list
    set -- $line
    size=$2
    shift 3
    build "$work/trace" fail "$size" "$@" || die "cannot build $*"
    search
    # shellcheck disable=SC2046 # a list
    spin -t $(cat defines) ebr.pml | sed -n -e '/Error/d' -e 's/^  *//' -e p -e '/text of/q'
}

here=$(cd "$(dirname "$0")" && pwd)
TRACE=

if test "${1:-}" = --one; then # from xargs below
    # shellcheck disable=SC2086 # a list
    set -- $2
    number=$1
    shift
    one "$EBR_WORK/$number" "$@"
    exit
fi

QUICK=
case ${1:-} in
'') ;;
--quick) QUICK=yes ;;
--trace) ;;
--list)
    variants | sed 's/^\([a-z]*\) *[a-z]* *[a-z]* */\1  /'
    exit
    ;;
--help | -h)
    usage
    exit
    ;;
*)
    usage >&2
    exit 2
    ;;
esac
for tool in spin "${CC:-cc}" xargs; do
    command -v "${tool%% *}" >/dev/null || die "$tool is not installed"
done

work=$(mktemp -d) || die "no temporary directory"
trap 'cd / && rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP

if test "${1:-}" = --trace; then
    shift
    TRACE=-DTRACE
    trace "$@"
    exit
fi

export QUICK EBR_WORK="$work"
variants | awk '{ print NR, $0 }' | xargs -P "${JOBS:-2}" -I '{}' sh "$0" --one '{}'
passed=$(find "$work" -name passed | wc -l)
failed=$(($(variants | wc -l) - passed))
echo "$((passed)) passed, $failed failed"
test "$failed" -eq 0
