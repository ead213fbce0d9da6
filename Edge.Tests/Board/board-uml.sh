#!/bin/bash
# Runs a command as root on a quick x86_64 board without KVM: Debian's user-mode Linux (cgroup v2 with cpu, io, memory
# and pids; one CPU; no network to the host).
#
#   board-uml.sh COMMAND [SHARED-DIRECTORY] [MEMORY-MiB (512)]      after: board-build.sh uml; package user-mode-linux
#
# Output, exit code and /mnt/share are as in board-run.sh.
#
#   BOARD_CACHE   BOARD_TIMEOUT (600 s)   BOARD_FLAVOUR=systemd   BOARD_DATA=raw image: /dev/ubdb (O_SYNC with
#   BOARD_DATA_SYNC=1)   BOARD_KEEP=1: what is written stays on BOARD_DATA (ext4; /mnt/data is there, too)   BOARD_APPEND (kernel arguments)   BOARD_CONSOLE   BOARD_PIDFILE
set -uo pipefail
command=$1 share=${2:-} memory=${3:-512}
here=$(cd "$(dirname "$0")" && pwd) board=${BOARD_CACHE:-$HOME/.cache/board}/uml${BOARD_FLAVOUR:+-$BOARD_FLAVOUR}
if [[ ! -s $board/initramfs.cpio ]]; then
  echo "board-uml.sh: no $board: run board-build.sh uml first" >&2
  exit 125
fi

work=$(mktemp -d) kernel_pid=''
pid_file=${BOARD_PIDFILE:-$work/pid} console=${BOARD_CONSOLE:-$work/console}
trap 'exit 143' TERM INT
trap '[[ -z $kernel_pid ]] || kill $kernel_pid 2>/dev/null; rm -rf "$work"' EXIT
mkdir -p "$work/initramfs/board" "$work/host"
: >"$work/host/out"
printf '%s\n' "$command" >"$work/initramfs/board/cmd"
printf '%s\n' BOARD_ROOT=/dev/ubda "BOARD_INIT=${BOARD_FLAVOUR:-}" "BOARD_UML=$work/host" \
  BOARD_UML_MODULES=/usr/lib/uml/modules "BOARD_SHARE=${share:+hostfs:$share}" "BOARD_KEEP=${BOARD_KEEP:+/dev/ubdb}" >"$work/initramfs/board/env"
install -m755 "$here/initramfs-init" "$work/initramfs/init"
install -m755 "$here/board-init" "$work/initramfs/board/init"
{
  cat "$board/initramfs.cpio"
  (cd "$work/initramfs" && find . | cpio -o -H newc --quiet -R 0:0)
} >"$work/initrd"

# shellcheck disable=SC2016,SC2086
TMPDIR=/dev/shm setpriv --pdeathsig TERM timeout -k 5 "${BOARD_TIMEOUT:-600}" sh -c 'echo $$ > "$0"; exec "$@"' "$pid_file" \
  linux.uml mem="${memory}M" initrd="$work/initrd" ubd0r="$board/root.ext4" \
  ${BOARD_DATA:+ubd1${BOARD_DATA_SYNC:+s}="$BOARD_DATA"} con=null con0=fd:5,fd:1 ssl=null quiet loglevel=3 \
  umid="b$$" uml_dir="$work/" cgroup_no_v1=all ${BOARD_APPEND:-} 5</dev/null </dev/null >"$console" 2>&1 &
kernel_pid=$!
tail -n +1 -s 0.1 -f --pid=$kernel_pid "$work/host/out" &
wait $kernel_pid
kernel_pid=''
# A kernel that was killed with -9 leaves its threads, which are processes of the host.
kill -9 -- "-$(cat "$pid_file")" 2>/dev/null
wait

code=$(sed -n 's/^rc \([0-9]*\) .*/\1/p' "$work/host/rc" 2>/dev/null | tail -1)
if [[ -z $code ]]; then
  tail -c 1500 "$console" >&2
  exit 125
fi
exit "$code"
