#!/bin/sh
# readme_test.sh README.md quickstart.c: the code in the README is the code that is compiled.
#
# The first C block under "## Quickstart" must be quickstart.c, to the letter, from its first #include
# on (what stands above is the file's own header comment).
#
# SPDX-License-Identifier: MIT OR Apache-2.0
set -u
readme=$1
source=$2

scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT

awk '/^## / { quickstart = ($0 == "## Quickstart") }
     inside && /^```/ { exit }
     inside { print }
     quickstart && /^```c$/ { inside = 1 }' "$readme" > "$scratch/README.md"
awk '/^#include/ { inside = 1 } inside { print }' "$source" > "$scratch/quickstart.c"

if [ ! -s "$scratch/README.md" ]; then
    echo "$readme has no C block under \"## Quickstart\""
    exit 1
fi
if ! diff -u "$scratch/quickstart.c" "$scratch/README.md"; then
    echo "the C block under \"## Quickstart\" in README.md is not examples/quickstart.c"
    exit 1
fi
