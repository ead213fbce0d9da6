#!/bin/bash
# Builds board_bus.c as a module of the kernel of a board that board-build.sh has built, and prints the module's path.
#
#   board-module.sh arm64|amd64
#
#   BOARD_CACHE   where boards are kept (~/.cache/board)
#
# Needs root, make and the compiler of the architecture (gcc-12; gcc-12-aarch64-linux-gnu). The headers of exactly that
# kernel come from Debian's archive and are only unpacked, since no package of another architecture is installed here.
set -euo pipefail
kind=$1 here=$(cd "$(dirname "$0")" && pwd)
cache=${BOARD_CACHE:-$HOME/.cache/board}/$kind
release=$(cat "$cache/kver")
module=$cache/board_bus-$release.ko

exec 8>"$cache/.lock-module"
flock 8
if [[ ! -s $module || $here/board_bus.c -nt $module ]]; then
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  mkdir -p "$work"/{archives,headers,module}
  cd "$work/archives"
  "$here/board-download.sh" "$(dpkg --print-architecture)" "linux-headers-${release%-*}-common" linux-kbuild-6.1
  "$here/board-download.sh" "$kind" "linux-headers-$release" || {
    echo "board-module.sh: Debian has no headers of kernel $release any more; delete $cache, so that the board is built anew" >&2
    exit 1
  }
  for package in "$work"/archives/*.deb; do dpkg-deb -x "$package" "$work/headers"; done
  headers=$work/headers/usr/src/linux-headers-$release
  sed -i "s,/usr/src/,$work/headers/usr/src/," "$headers/Makefile"
  cp "$here/board_bus.c" "$work/module/"
  echo 'obj-m := board_bus.o' >"$work/module/Makefile"
  compiler=''
  [[ $kind != arm64 || $(uname -m) == aarch64 ]] || compiler=aarch64-linux-gnu-
  make -s -C "$headers" "CROSS_COMPILE=$compiler" "M=$work/module" modules >&2
  strip=${compiler}strip
  "$strip" --strip-debug "$work/module/board_bus.ko"
  mv "$work/module/board_bus.ko" "$module"
fi
echo "$module"
