#!/bin/bash
# Measures EdgeHost against Debian's dockerd and runc, in one run on one machine, and prints a table in Markdown.
#
#   bench/run.sh [PART…]     memory density size sizes api request burst oci deploy cli exec pull bridge network; without an
#                            argument all of them. sizes builds the packages of both architectures
#   bench/run.sh board       board-idle board-cold board-hogs board-boot: on the emulated arm64 board, beside Debian's
#                            Docker and podman; half an hour, ten minutes of it (or IDLE seconds) only waiting
#
# Run as root, on a machine with as little else to do as can be had. What is compared is measured in turn, A B A B …,
# and medians are given. Everything started here lives in a file system of its own under /var/tmp, ext4 with a journal as
# a board has it, and is ended with it; the distribution's services are not used. EDGEHOST_BINARY names a binary that was
# built elsewhere, EDGEHOST_BOARD_BINARY one for the board.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() {
  echo "bench/run.sh: $*" >&2
  exit 1
}

((EUID == 0)) || fail "run as root: it starts container engines"
parts=() board=()
for part in "$@"; do
  case $part in
    board) parts+=(board-idle board-cold board-hogs board-boot) ;;
    *) parts+=("$part") ;;
  esac
done
packages=(docker.io containerd runc docker-registry mosquitto skopeo busybox-static umoci mmdebstrap python3 iptables nftables iproute2 iperf3)
[[ ${parts[*]} != *board-* ]] || packages+=(qemu-system-arm qemu-system-common kmod cpio e2fsprogs)
missing=()
for package in "${packages[@]}"; do
  [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
done
if ((${#missing[@]})); then
  policy=/usr/sbin/policy-rc.d
  if [[ ! -e $policy ]]; then
    # Debian starts a service with its package; here nobody asked for one.
    printf '#!/bin/sh\nexit 101\n' >$policy
    chmod 755 $policy
    trap 'rm -f $policy' EXIT
  fi
  {
    apt-get -o DPkg::Lock::Timeout=600 -qq update
    DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 -qq install --no-install-recommends "${missing[@]}"
  } </dev/null >&2
fi

binary=${EDGEHOST_BINARY:-}
if [[ -z $binary ]]; then
  ./cross-build.sh >&2
  case $(uname -m) in
    x86_64) binary=dist/linux-x64/edgehost ;;
    *) binary=dist/linux-arm64/edgehost ;;
  esac
fi
image=$(images/build.sh busybox)
if [[ ${parts[*]} == *board-* ]]; then
  board_binary=${EDGEHOST_BOARD_BINARY:-dist/linux-arm64/edgehost} cache=${BOARD_CACHE:-$HOME/.cache/board}/peers
  [[ -n ${EDGEHOST_BOARD_BINARY:-} ]] || ./cross-build.sh linux-arm64 >&2
  BOARD_CACHE=$cache BOARD_PKGS=docker.io,containerd,runc,podman,conmon,crun,netavark,aardvark-dns Edge.Tests/Board/board-build.sh arm64 >&2
  board=(--board-binary "$(readlink -f "$board_binary")" --board-image "$(images/build.sh busybox arm64)" --board-cache "$cache")
fi

sizes=()
if ((${#parts[@]} == 0)) || [[ " ${parts[*]} " == *' sizes '* ]]; then
  ./cross-build.sh --package linux-x64 linux-arm64 >&2
  for architecture in amd64 arm64; do
    # Of several the newest, which is the one made now.
    sizes+=(--package "$(find dist -maxdepth 1 -name "edgehost_*_$architecture.deb" -printf '%T@ %p\n' | sort -n | tail -1 | cut -d' ' -f2)")
  done
fi

# Without a journal, as on some virtual machines, ext4 passes over each inode of the last seconds when it makes one: what
# was removed before would slow the starts down that are measured.
work=$(mktemp -d /var/tmp/edgehost-bench.XXXXXX)
truncate -s 20G "$work.ext4"
mkfs.ext4 -q "$work.ext4"
mount -o loop "$work.ext4" "$work" || fail "no loop device for the file system to measure on"
code=0
# It ends what it started, also when it is interrupted.
python3 -B bench/measure.py --binary "$(readlink -f "$binary")" --image "$image" --work "$work" "${board[@]}" "${sizes[@]}" "${parts[@]}" || code=$?
awk -v work="$work" '$5 == work || index($5, work "/") == 1 { print $5 }' /proc/self/mountinfo | sort -r | while read -r mount; do
  umount "$mount"
done
rm -rf --one-file-system "$work" "$work.ext4"
exit "$code"
