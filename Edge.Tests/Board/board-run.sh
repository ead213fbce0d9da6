#!/bin/bash
# Runs a command as root on an emulated board (qemu without KVM) and exits with its exit code.
#
#   board-run.sh arm64|amd64 COMMAND [SHARED-DIRECTORY] [MEMORY-MiB (512)] [CPUS (2)]
#
# Output and errors of the command go to standard output; 125 means that the board died or that the time was up. On the
# board the shared directory is /mnt/share (9p, read-write); all else that is written is lost, but for BOARD_DATA.
#
#   BOARD_CACHE (~/.cache/board)   BOARD_TIMEOUT (600 s)   BOARD_FLAVOUR=systemd or 16k   BOARD_CPU   BOARD_QEMU (more of its
#   arguments)   BOARD_APPEND (kernel command line)   BOARD_CONSOLE (file for the console)   BOARD_PIDFILE (of qemu)
#   BOARD_DATA=raw image or -drive options: /dev/vdb   BOARD_DATALOG=file: logs each write to it (dm-log-writes format;
#   file.base is the disk as it was)   BOARD_KEEP=1: what is written stays on BOARD_DATA (ext4; /mnt/data is there, too)   BOARD_NET=1: the host's loopback is 10.0.2.2   BOARD_HOSTFWD=tcp:127.0.0.1:2222-:22
set -uo pipefail
kind=$1 command=$2 share=${3:-} memory=${4:-512} cpus=${5:-2}
here=$(cd "$(dirname "$0")" && pwd) board=${BOARD_CACHE:-$HOME/.cache/board}/$kind${BOARD_FLAVOUR:+-$BOARD_FLAVOUR}
if [[ ! -s $board/initramfs.cpio ]]; then
  echo "board-run.sh: no $board: run board-build.sh first" >&2
  exit 125
fi

work=$(mktemp -d) qemu_pid=''
trap 'exit 143' TERM INT
trap '[[ -z $qemu_pid ]] || kill $qemu_pid 2>/dev/null; rm -rf "$work"' EXIT
console=${BOARD_CONSOLE:-$work/console}

# A second archive after the kept one: what it has of the same name counts.
mkdir -p "$work/initramfs/board"
printf '%s\n' "$command" >"$work/initramfs/board/cmd"
printf '%s\n' "BOARD_INIT=${BOARD_FLAVOUR:-}" "BOARD_NET=${BOARD_NET:-}" "BOARD_SHARE=${share:+9p}" "BOARD_UML=" "BOARD_KEEP=${BOARD_KEEP:+/dev/vdb}" >"$work/initramfs/board/env"
install -m755 "$here/initramfs-init" "$work/initramfs/init"
install -m755 "$here/board-init" "$work/initramfs/board/init"
{
  cat "$board/initramfs.cpio"
  (cd "$work/initramfs" && find . | cpio -o -H newc --quiet -R 0:0)
} >"$work/initrd"

arguments=(
  -display none -monitor none -no-reboot -nodefaults -m "$memory" -smp "$cpus" -accel tcg,thread=multi,tb-size=256
  -kernel "$board/vmlinuz" -initrd "$work/initrd" -serial "file:$console"
  -drive "if=none,id=root,file=$board/root.ext4,format=raw,readonly=on,cache=unsafe,file.locking=off"
  -device virtio-blk-pci,drive=root -device virtio-serial-pci
  -chardev "file,id=out,path=$work/out" -device virtserialport,chardev=out,name=board.out
  -chardev "file,id=rc,path=$work/rc" -device virtserialport,chardev=rc,name=board.rc
)
case $kind in
  arm64)
    qemu=qemu-system-aarch64 tty=ttyAMA0
    # Pages of 16 KiB are nothing that a Cortex-A53 has; a Raspberry Pi 5 has the other.
    cpu=cortex-a53
    [[ ${BOARD_FLAVOUR:-} != 16k ]] || cpu=cortex-a76
    arguments+=(-M virt,gic-version=3 -cpu "${BOARD_CPU:-$cpu}")
    ;;
  amd64)
    qemu=qemu-system-x86_64 tty=ttyS0
    arguments+=(-M q35 -cpu "${BOARD_CPU:-max}")
    ;;
  *)
    echo "board-run.sh: unknown board $kind" >&2
    exit 125
    ;;
esac
if [[ -n ${BOARD_DATALOG:-} ]]; then
  cp --sparse=always "$BOARD_DATA" "$BOARD_DATALOG.base"
  : >"$BOARD_DATALOG"
  arguments+=(
    -blockdev "driver=file,filename=$BOARD_DATA,node-name=data-file"
    -blockdev "driver=file,filename=$BOARD_DATALOG,node-name=log-file"
    -blockdev driver=blklogwrites,file=data-file,log=log-file,log-sector-size=512,node-name=data
  )
else
  case ${BOARD_DATA:-} in
    '') ;;
    *=*) arguments+=(-drive "if=none,id=data,$BOARD_DATA") ;;
    *) arguments+=(-drive "if=none,id=data,file=$BOARD_DATA,format=raw,cache=none") ;;
  esac
fi
[[ -z ${BOARD_DATA:-} ]] || arguments+=(-device virtio-blk-pci,drive=data,serial=data,write-cache=on)
[[ -z ${BOARD_NET:-} ]] ||
  arguments+=(-netdev "user,id=net${BOARD_HOSTFWD:+,hostfwd=$BOARD_HOSTFWD}" -device virtio-net-pci,netdev=net,romfile=)
[[ -z $share ]] || arguments+=(-virtfs "local,path=$share,mount_tag=share,security_model=none,multidevs=remap")

mkfifo "$work/out"
cat "$work/out" &
cat_pid=$!
# pdeathsig: when this script is killed with -9, qemu goes too.
# shellcheck disable=SC2016,SC2086
setpriv --pdeathsig TERM timeout -k 5 "${BOARD_TIMEOUT:-600}" \
  sh -c 'echo $$ > "$0"; exec "$@"' "${BOARD_PIDFILE:-$work/pid}" "$qemu" "${arguments[@]}" ${BOARD_QEMU:-} \
  -append "console=$tty quiet loglevel=3 panic=-1 net.ifnames=0 random.trust_cpu=on cgroup_no_v1=all mitigations=off ${BOARD_APPEND:-}" \
  </dev/null 2>"$work/qemu.err" &
qemu_pid=$!
wait $qemu_pid
qemu_pid=''
# Opened once for writing, the pipe ends even if qemu never opened it.
exec 9<>"$work/out"
exec 9>&-
wait $cat_pid

code=$(sed -n 's/^rc \([0-9]*\) .*/\1/p' "$work/rc" 2>/dev/null | tail -1)
if [[ -z $code ]]; then
  tail -c 2000 "$console" "$work/qemu.err" >&2
  exit 125
fi
exit "$code"
