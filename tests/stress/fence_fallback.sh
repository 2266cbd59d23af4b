#!/bin/sh
# fence_fallback.sh - runs the case fence-fallback with a system that knows no membarrier.
#
#     fence_fallback.sh PROGRAM [OPTION…]        PROGRAM is vbuf_stress
#
# Exit status: the program's; 77 when strace is missing, or may not trace or inject here.
#
# SPDX-License-Identifier: MIT OR Apache-2.0
set -eu

if [ $# -lt 1 ]; then
    echo "usage: fence_fallback.sh PROGRAM [OPTION...]" >&2
    exit 2
fi

skip() {
    echo "fence-fallback  skipped: $1"
    echo "0 passed, 0 failed, 1 skipped"
    exit 77
}

command -v strace >/dev/null || skip "strace is not installed"

# With --seccomp-bpf only membarrier stops the program; without, every system call does.
trace="strace -f -qq -o /dev/null -e trace=membarrier -e inject=membarrier:error=ENOSYS"
if strace --seccomp-bpf -f -qq -o /dev/null -e trace=membarrier true 2>/dev/null; then
    trace="$trace --seccomp-bpf"
elif ! $trace true 2>/dev/null; then
    skip "strace may not trace here"
fi

# LeakSanitizer cannot look into a process that is traced already.
LSAN_OPTIONS=detect_leaks=0
export LSAN_OPTIONS
# The program asks the system itself as well; the option makes sure that the injection works.
exec $trace "$@" --case fence-fallback --expect-fence full
