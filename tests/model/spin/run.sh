#!/bin/sh
# run.sh: the spin models, each variant built and searched to the end.
#
# ebr.pml is the epoch protocol as it should be, cvec_wait.pml how a cvec's waiters are woken,
# cvec_close.pml how it claims, grows and closes. Variants are the same with one thing changed (the
# essay atop each model says what and why). A variant that must pass is searched exhaustively: no
# error, and nothing cut short. One that must fail is searched breadth first, mostly, and has to end in
# one of the model's assertions, by the shortest way there is; any other end is a failure.
#
# SPDX-License-Identifier: MIT OR Apache-2.0
set -u

usage() {
    cat <<'END'
usage: run.sh [--quick] [MODEL...]        check every variant; --quick searches smaller sizes
       run.sh --trace MODEL VARIANT...    print how a variant that must fail does so
       run.sh --list                      list the variants
CC names the compiler (default: cc), JOBS how many variants run at once (default: 2).
END
}

# The model, what must happen, the size searched by --quick, the size searched otherwise, the variant.
variants() {
    cat <<'END'
ebr pass medium large  default
ebr pass small  large  FENCE_MODE
ebr pass small  large  LIGHT_ONLY
ebr pass small  large  OVERFLOW_READER
ebr pass small  large  FENCE_MODE OVERFLOW_READER
ebr pass twice  large  REPIN
ebr pass tiny   tall   UNATTACHED_REMOVER
ebr pass tiny   tall   HIGH_WATER_BEFORE_HEAVY
ebr pass tiny   medium OVERFLOW_READER OVERFLOW_AS_WRITTEN ALWAYS_HEAVY
ebr pass tiny   tall   TWO_REMOVERS
ebr pass tiny   small  EVERY_MESSAGE
ebr fail tiny   tiny   NO_HEAVY
ebr fail tiny   tiny   TAG_EARLY
ebr fail tiny   tiny   TAG_PLAIN_LOAD
ebr fail tiny   tiny   SEAL_RELAXED
ebr fail tiny   tiny   PIN_RELAXED
ebr fail tiny   tiny   UNPIN_RELAXED
ebr fail tiny   tiny   SCAN_RELAXED
ebr fail tiny   tiny   ADVANCE_RELAXED
ebr fail tiny   tiny   RECLAIM_RELAXED
ebr fail tiny   tiny   GRACE_ONE_STEP
ebr fail tiny   tiny   NESTED_REPIN
ebr fail twice  twice  REPIN REPIN_RELAXED
ebr fail tiny   tiny   EPOCH_ZERO
ebr fail tiny   tiny   REGISTERED_PLAIN_LOAD
ebr fail tiny   tiny   COUNTS_RELAXED
ebr fail tiny   tiny   HIGH_WATER_BEFORE_TEST
ebr fail tiny   tiny   HEAVY_SPARES_DETACHED
ebr fail tiny   tiny   UNATTACHED_MISCOUNTED
ebr fail pair   pair   ID_RELAXED
ebr fail pair   pair   ATTACH_WITHOUT_RELEASE
ebr fail twice  twice  RELEASE_SEQUENCE_CXX20
ebr fail tiny   tiny   OVERFLOW_READER OVERFLOW_PLAIN_LOAD
ebr fail tiny   tiny   OVERFLOW_READER OVERFLOW_AS_WRITTEN
ebr fail tiny   tiny   FENCE_MODE NO_PIN_FENCE
ebr fail tiny   tiny   FENCE_MODE NO_HEAVY
cvec_wait pass alone twos    default
cvec_wait pass alone ones    default
cvec_wait pass alone impatient default
cvec_wait pass stopped stopped default
cvec_wait pass alone alone   TAKE_RELAXED
cvec_wait pass alone alone   FENCE_FIRST
cvec_wait fail alone alone   NO_HEAVY
cvec_wait fail alone alone   NO_PUBLISHER_FENCE
cvec_wait fail alone alone   RMW_FOR_FENCE
cvec_wait fail alone alone   COUNT_LATE
cvec_wait fail alone alone   WANT_LATE
cvec_wait fail alone alone   NO_LOOK
cvec_wait fail stopped stopped WANT_LARGEST
cvec_wait fail ones  ones    VALUE_LATE
cvec_wait fail ones  ones    REGISTER_ONCE
cvec_wait fail ones  ones    TAKE_LATE
cvec_wait fail ones  ones    WAKE_ONE
cvec_wait fail ones  ones    EVENT_RELAXED
cvec_wait fail ones  ones    SIGNAL_RELAXED
cvec_wait fail impatient impatient COUNT_FIRST_ONLY
cvec_close pass open closed  default
cvec_close pass close1 close2 default
cvec_close pass reserve reserve default
cvec_close pass extend1 extend default
cvec_close fail close2 close2 LEN_FIRST
cvec_close fail close2 close2 PROPOSE_BLINDLY
cvec_close fail close1 close1 PROPOSE_LATE
cvec_close fail close1 close1 PROPOSE_RAW
cvec_close fail close1 close1 CLOSE_ANY_INDEX
cvec_close fail close1 close1 CLOSE_LOW
cvec_close fail open open    FOLD_ANY_ERA
cvec_close fail open open    OPEN_AT_INDEX
cvec_close fail reserve reserve OPEN_AT_CAPACITY
cvec_close fail open open    OPEN_TWICE
cvec_close fail open open    CAPACITY_EARLY
cvec_close fail open open    CAPACITY_LATE
cvec_close fail open open    SETTLE_BY_CURRENT
cvec_close fail open open    DECIDE_TWICE
cvec_close fail extend1 extend1 RUN_PAST
cvec_close fail open open    SETTLE_WITHOUT_RAISE
cvec_close fail extend extend RUN_WITHOUT_RAISE
END
}

# ebr: steps of the epoch; sections of reader 0 and of reader 1; whether there is a collector. The
# others: how many there are of each.
size() {
    case $1 in
    alone) echo "-DWAITERS=1" ;;
    ones) echo "-DFIRST_WANTS=1" ;;
    twos) echo "-DFIRST_WANTS=2" ;;
    impatient) echo "-DFIRST_WANTS=1 -DGIVES_UP=true" ;;
    stopped) echo "-DSTOPPED" ;;
    open) echo "-DPUSHES=2 -DCLOSERS=0" ;;
    closed) echo "-DPUSHES=2 -DCLOSERS=1" ;;
    close1) echo "-DPUSHES=1 -DCLOSERS=1" ;;
    close2) echo "-DPUSHES=1 -DCLOSERS=2" ;;
    reserve) echo "-DPUSHES=1 -DCLOSERS=1 -DRESERVERS=1" ;;
    extend1) echo "-DPUSHERS=1 -DPUSHES=1 -DCLOSERS=1 -DEXTENDERS=1" ;;
    extend) echo "-DPUSHES=1 -DCLOSERS=1 -DEXTENDERS=1" ;;
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
    fail-ones) echo "-O0 -DCOLLAPSE" ;; # what is near the start is not near in breadth
    fail-*) echo "-O0 -DBFS" ;;
    pass-tiny | pass-twice | pass-alone | pass-open | pass-stopped) echo "-O0 -DCOLLAPSE" ;;
    pass-large | pass-tall | pass-ones | pass-twos | pass-impatient) echo "-O2 -DCOLLAPSE" ;;
    *) echo "-O1 -DCOLLAPSE" ;;
    esac
}

die() {
    echo "run.sh: $1" >&2
    exit 2
}

# build DIRECTORY MODEL EXPECTED SIZE NAME...: leaves DIRECTORY/pan and DIRECTORY/defines.
build() {
    dir=$1 model=$2 expected=$3 size=$4
    shift 4
    defines=$(size "$size")
    for name; do
        test "$name" = default && continue
        grep '^#' "$here/$model.pml" | grep -qw "$name" || die "$model.pml knows no $name"
        defines="$defines -D$name"
    done
    mkdir "$dir" && cp "$here/$model.pml" "$dir" && cd "$dir" || exit 2
    echo "$defines $TRACE" >defines
    # shellcheck disable=SC2046,SC2086 # lists of options
    spin -a $defines $TRACE $model.pml >spin.log 2>&1 && test ! -s spin.log &&
        ${CC:-cc} -w $(options "$expected" "$size") -DSAFETY -DMEMLIM=3000 -o pan pan.c >cc.log 2>&1
}

# For the hash table: twice as many entries as there are states, or so.
hash_bits() {
    case $size in
    tiny | twice | pair) echo 18 ;;
    small | medium) echo 22 ;;
    alone | stopped | open) echo 18 ;;
    *) echo 24 ;;
    esac
}

search() {
    ./pan -E -n -m2000 -w$(hash_bits) >pan.log 2>&1
}

# One variant; prints its line and leaves a file `passed` or `failed` in its directory.
one() {
    dir=$1 model=$2 expected=$3
    shift 3
    if test -n "$QUICK"; then size=$1; else size=$2; fi
    shift 2
    result=failed
    if ! build "$dir" "$model" "$expected" "$size" "$@"; then
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
            elif test "$model" = cvec_wait && grep -q 'assertion violated *(returned==' pan.log; then
                text="fails as it must, depth $depth (a waiter sleeps for ever)"
            elif test "$model" = cvec_close && grep -q 'assertion violated' pan.log; then
                text="fails as it must, depth $depth ($(sed -n 's/.*assertion violated *\(.*\) (at.*/\1/p' pan.log))"
            else
                result=failed text="FAILED: does not fail as it must"
            fi
            ;;
        esac
    fi
    : >"$result"
    test "$model" = ebr || set -- "$@" "($size)"
    echo "$model $*: $text"
    if test $result = failed; then
        cat spin.log cc.log pan.log 2>/dev/null | grep -v '^ *$' | head -n 8 | sed 's/^/    /'
    else
        rm -f pan pan.? ./*.trail
    fi
}

# The shortest run of one variant into its assertion.
trace() {
    model=$1
    shift
    line=$(variants | sed 's/  */ /g' | grep "^$model fail [a-z0-9]* [a-z0-9]* $*\$") ||
        die "no variant '$model $*' that must fail (see --list)"
    # shellcheck disable=SC2086 # a list
    set -- $line
    size=$3
    shift 4
    build "$work/trace" "$model" fail "$size" "$@" || die "cannot build $*"
    search
    # shellcheck disable=SC2046 # a list
    spin -t $(cat defines) "$model.pml" | sed -n -e '/Error/d' -e 's/^  *//' -e p -e '/text of/q'
}

here=$(cd "$(dirname "$0")" && pwd)
TRACE=

if test "${1:-}" = --one; then # from xargs below
    # shellcheck disable=SC2086 # a list
    set -- $2
    number=$1
    shift
    one "$MODEL_WORK/$number" "$@"
    exit
fi

QUICK=
case ${1:-} in
'') ;;
--quick)
    QUICK=yes
    shift
    ;;
--trace) ;;
--list)
    variants | sed 's/^\([a-z_]*\) *\([a-z]*\) *[a-z0-9]* *[a-z0-9]* */\1  \2  /'
    exit
    ;;
--help | -h)
    usage
    exit
    ;;
[a-z]*) ;;
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

export QUICK MODEL_WORK="$work"
chosen() {
    variants | awk -v models=" $* " '{ if (models == "  " || index(models, " " $1 " ")) print }'
}
chosen "$@" >"$work/chosen"
test -s "$work/chosen" || die "no model '$*'"
awk '{ print NR, $0 }' "$work/chosen" | xargs -P "${JOBS:-2}" -I '{}' sh "$0" --one '{}'
passed=$(find "$work" -name passed | wc -l)
failed=$(($(wc -l <"$work/chosen") - passed))
echo "$((passed)) passed, $failed failed"
test "$failed" -eq 0
