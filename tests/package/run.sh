#!/bin/sh
# run.sh CMAKE BUILD COMPILER: installs BUILD into a scratch folder and uses it from there, as a user
# would: through the CMake package, and through pkg-config.
#
# SPDX-License-Identifier: MIT OR Apache-2.0
set -eu
cmake=$1
build=$2
compiler=$3
here=$(cd "$(dirname "$0")" && pwd)

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

"$cmake" --install "$build" --prefix "$scratch/first" > "$scratch/log"
mv "$scratch/first" "$scratch/moved" # an installed tree may be moved

"$cmake" -S "$here" -B "$scratch/user" -G Ninja -DCMAKE_C_COMPILER="$compiler" \
    -DCMAKE_PREFIX_PATH="$scratch/moved" > "$scratch/log"
"$cmake" --build "$scratch/user" > "$scratch/log" || { cat "$scratch/log"; exit 1; }
for program in vbuf__vbuf vbuf__static vbuf__shared; do
    echo "user_$program: $("$scratch/user/user_$program")"
done

pc=$(find "$scratch/moved" -name vbuf.pc)
PKG_CONFIG_PATH=$(dirname "$pc")
export PKG_CONFIG_PATH
libdir=$(pkg-config --variable=libdir vbuf)
# Flags are words on purpose.
# shellcheck disable=SC2046
"$compiler" -std=c11 "$here/user.c" -o "$scratch/by-pkg-config" \
    $(pkg-config --cflags --libs vbuf) -Wl,-rpath,"$libdir"
echo "pkg-config: $("$scratch/by-pkg-config")"

for licence in LICENSE-MIT LICENSE-APACHE; do
    [ -n "$(find "$scratch/moved" -name "$licence")" ] || { echo "no $licence"; exit 1; }
done
readelf -d "$libdir/libvbuf.so" | grep -q NODELETE || { echo "libvbuf.so can be unloaded"; exit 1; }
