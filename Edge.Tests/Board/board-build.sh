#!/bin/bash
# Builds an emulated board once and keeps it: kernel, initramfs with the modules that reach the root, root image.
#
#   board-build.sh arm64|amd64|uml [systemd]      prints the directory; to build it anew, delete that
#   board-build.sh arm64 16k                      with a kernel of pages of 16 KiB, as on a Raspberry Pi 5
#
#   BOARD_CACHE     where boards are kept (~/.cache/board)
#   BOARD_PKGS      more Debian packages, comma separated
#   BOARD_MODULES   more kernel modules to load before the root is mounted
#
# Needs root and: qemu-system-arm, qemu-system-x86 or user-mode-linux; mmdebstrap kmod cpio e2fsprogs.
set -euo pipefail
kind=$1 init=${2:-} name=$1${2:+-$2}
cache=${BOARD_CACHE:-$HOME/.cache/board} out=$cache/$name here=$(cd "$(dirname "$0")" && pwd)

packages=base-files,bash,coreutils,dash,libc6,busybox-static,btrfs-progs,ca-certificates,curl,dmsetup,e2fsprogs
packages+=,f2fs-tools,fdisk,findutils,grep,gzip,iproute2,iptables,iputils-ping,kmod,mount,nftables,procps,sed,stress-ng
packages+=,tar,util-linux
# Without certificates, which take half a minute to configure where it is emulated.
systemd_packages=apt,usr-is-merged,systemd,systemd-sysv,dbus,udev,libpam-systemd,busybox-static,e2fsprogs,iproute2
systemd_packages+=,iptables,iputils-ping,kmod,libssl3,nftables,procps
unwanted=('/usr/share/doc/*' '/usr/share/man/*' '/usr/share/locale/*')

mkdir -p "$out"
# Of two builds at once the second waits and finds the work done.
exec 8>"$cache/.lock-$name"
flock 8
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root

make_image() { # DIRECTORY FILE SPARE-MiB
  truncate -s $(($(du -sm "$1" | cut -f1) * 115 / 100 + $3))M "$2.new"
  mke2fs -q -t ext4 -O ^has_journal,^metadata_csum -m 0 -N $(($(find "$1" | wc -l) + 8000)) -d "$1" "$2.new"
  mv "$2.new" "$2"
}

# Packages are only unpacked: no maintainer script runs, so nothing of the other architecture is executed here.
build_plain() {
  local architecture=$kind kernel=,linux-image-$kind iptables=nft options=() pattern directory command
  # The user-mode kernel comes with the host's package and has no nftables for ip.
  if [[ $kind == uml ]]; then architecture=amd64 kernel='' iptables=legacy; fi
  for pattern in "${unwanted[@]}"; do options+=(--dpkgopt="path-exclude=$pattern"); done
  mmdebstrap --quiet --variant=extract --skip=check/qemu --architectures="$architecture" \
    --include="$packages$kernel${BOARD_PKGS:+,$BOARD_PKGS}" "${options[@]}" bookworm "$root"

  # What usrmerge, base-passwd, ca-certificates and update-alternatives would do.
  for directory in bin sbin lib; do
    if [[ -d $root/$directory && ! -L $root/$directory ]]; then
      cp -a "$root/$directory/." "$root/usr/$directory/"
      rm -rf "${root:?}/$directory"
    fi
    ln -sfn "usr/$directory" "$root/$directory"
  done
  mkdir -p "$root"/{proc,sys,dev,run,tmp,etc,root,mnt/share,mnt/data,var/lib}
  printf 'root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534:nobody:/:/bin/false\n' >"$root/etc/passwd"
  printf 'root:x:0:\nnogroup:x:65534:\n' >"$root/etc/group"
  printf 'board\n' >"$root/etc/hostname"
  printf '127.0.0.1 localhost board\n' >"$root/etc/hosts"
  find "$root/usr/share/ca-certificates" -name '*.crt' -exec cat {} + >"$root/etc/ssl/certs/ca-certificates.crt"
  for command in iptables iptables-save iptables-restore ip6tables; do
    ln -sf "xtables-$iptables-multi" "$root/usr/sbin/$command"
  done
  for command in awk nc httpd wget vi less xz unxz ping6 telnetd; do
    [[ -e $root/usr/bin/$command || -e $root/usr/sbin/$command ]] || ln -s busybox "$root/usr/bin/$command"
  done

  if [[ $kind != uml ]]; then
    local release
    release=$(ls "$root/usr/lib/modules")
    depmod -b "$root" "$release"
    echo "$release" >"$out/kver"
    cp "$root"/boot/config-* "$out/config"
    cp "$root"/boot/vmlinuz-* "$out/vmlinuz"
    mkdir -p "$out/lib"
    cp -a "$root/usr/lib/modules" "$out/lib/"
    rm -rf "${root:?}"/boot/*
  fi
  cp "$root/usr/bin/busybox" "$out/busybox"
  make_image "$root" "$out/root.ext4" 64
}

# A real Debian with dpkg, apt and systemd: unpacked here, configured by the plain board of the same kind. Its packages say
# in dpkg's database what dpkg itself would have said after unpacking them, which takes minutes where it is emulated.
build_systemd() {
  local architecture=$kind disk=/dev/vdb run=("$here/board-run.sh" "$kind") data file pattern options=() dpkg=$root/var/lib/dpkg
  data="file=$out/new.ext4,format=raw,cache=unsafe"
  if [[ $kind == uml ]]; then architecture=amd64 disk=/dev/ubdb run=("$here/board-uml.sh") data=$out/new.ext4; fi
  "$0" "$kind" >/dev/null
  for file in kver config vmlinuz lib busybox; do
    [[ ! -e $cache/$kind/$file ]] || ln -sfn "../$kind/$file" "$out/$file"
  done
  mkdir "$work/packages"
  for pattern in "${unwanted[@]}"; do options+=(--dpkgopt="path-exclude=$pattern"); done
  # shellcheck disable=SC2016
  mmdebstrap --quiet --variant=extract --skip=check/qemu --architectures="$architecture" \
    --setup-hook='cd "$1"; mkdir -p usr/bin usr/sbin usr/lib; ln -s usr/bin usr/sbin usr/lib .' \
    --include='?essential' --include="$systemd_packages${BOARD_PKGS:+,$BOARD_PKGS}" "${options[@]}" \
    --extract-hook="cp \"\$1\"/var/cache/apt/archives/*.deb '$work/packages'" bookworm "$root" >"$out/build.log" 2>&1

  mkdir -p "$dpkg/info"
  echo 1 >"$dpkg/info/format"
  for file in "$work"/packages/*.deb; do
    local name control=$work/control
    rm -rf "$control"
    dpkg-deb -e "$file" "$control"
    name=$(sed -n 's/^Package: //p' "$control/control")
    ! grep -qx 'Multi-Arch: same' "$control/control" || name+=:$architecture
    sed '/^Package: /a Status: install ok unpacked' "$control/control" >>"$dpkg/status"
    echo >>"$dpkg/status"
    rm "$control/control"
    for pattern in "$control"/*; do
      [[ ! -f $pattern ]] || cp "$pattern" "$dpkg/info/$name.${pattern##*/}"
    done
    dpkg-deb --fsys-tarfile "$file" | tar -t | sed 's,^\./*,/,; s,/$,,; s,^$,/.,' >"$dpkg/info/$name.list"
  done
  cp "$root/usr/share/base-passwd/passwd.master" "$root/etc/passwd"
  cp "$root/usr/share/base-passwd/group.master" "$root/etc/group"
  ln -s mawk "$root/usr/bin/awk"

  {
    echo force-unsafe-io
    for pattern in "${unwanted[@]}"; do echo "path-exclude=$pattern"; done
  } >"$root/etc/dpkg/dpkg.cfg.d/board"
  mkdir -p "$root"/mnt/{share,data}
  echo board >"$root/etc/hostname"
  printf '127.0.0.1 localhost board\n' >"$root/etc/hosts"
  [[ ! -d $out/lib/modules ]] || cp -a "$out/lib/modules" "$root/usr/lib/"
  make_image "$root" "$out/new.ext4" 300
  BOARD_FLAVOUR='' BOARD_DATA=$data BOARD_TIMEOUT=1800 "${run[@]}" "
    mount $disk /mnt/data && cd /mnt/data && mount -t proc proc proc && mount -t sysfs sys sys && mount --bind /dev dev || exit 3
    DEBIAN_FRONTEND=noninteractive LC_ALL=C chroot . dpkg --configure -a || exit 4
    : >etc/machine-id
    umount dev proc sys
    cd /
    umount /mnt/data || umount -l /mnt/data" '' 1024 >>"$out/build.log" 8>&- || {
    tail -20 "$out/build.log" >&2
    exit 1
  }
  mv "$out/new.ext4" "$out/root.ext4"
}

# The plain board's root under another kernel, which brings its modules along: of these, those of boards that are emulated.
build_16k() {
  local kernel=$work/kernel release drivers
  "$0" "$kind" >/dev/null
  mkdir "$work/packages"
  (cd "$work/packages" && "$here/board-download.sh" "$kind" "linux-image-$kind-16k*")
  dpkg-deb -x "$work"/packages/*.deb "$kernel"
  release=$(ls "$kernel/lib/modules")
  drivers=$kernel/lib/modules/$release/kernel/drivers
  mkdir -p "$out/lib/modules/$release/kernel/drivers/net"
  cp -a "$drivers"/../{arch,crypto,fs,lib,net} "$out/lib/modules/$release/kernel/"
  cp -a "$drivers"/{block,char,virtio} "$out/lib/modules/$release/kernel/drivers/"
  cp -a "$drivers"/net/*.ko* "$drivers"/net/{ipvlan,macvlan} "$out/lib/modules/$release/kernel/drivers/net/" 2>/dev/null || true
  cp "$kernel/lib/modules/$release"/modules.{builtin*,order} "$out/lib/modules/$release/"
  depmod -b "$out" "$release"
  echo "$release" >"$out/kver"
  cp "$kernel"/boot/config-* "$out/config"
  cp "$kernel"/boot/vmlinuz-* "$out/vmlinuz"
  ln -sfn "../$kind/busybox" "$out/busybox"
  ln -sfn "../$kind/root.ext4" "$out/root.ext4"
}

if [[ ! -s $out/root.ext4 ]]; then
  case $init in
    '') build_plain ;;
    systemd) build_systemd ;;
    16k) build_16k ;;
    *)
      echo "board-build.sh: unknown flavour $init" >&2
      exit 2
      ;;
  esac
fi

# The initramfs has busybox and the modules that lead to the root, in the order in which they load; the scripts in it
# come from the checkout at each run.
if [[ $kind == uml ]]; then
  modules=$work/modules release=$(ls /usr/lib/uml/modules) wanted=overlay
  mkdir -p "$modules/lib"
  ln -s /usr/lib/uml/modules "$modules/lib/modules"
else
  modules=$out release=$(cat "$out/kver")
  wanted='virtio_pci virtio_mmio virtio_blk virtio_console ext4 overlay 9p 9pnet_virtio virtio_net'
fi
tree=$work/initramfs
mkdir -p "$tree"/{bin,mods,proc,sys,dev,lower,rw,new,board}
install -m755 "$out/busybox" "$tree/bin/busybox"
for module in $wanted ${BOARD_MODULES:-}; do
  # A module that is built in has no file.
  modprobe -d "$modules" -S "$release" --show-depends "$module" 2>/dev/null | sed -n 's/^insmod //p' || true
done | awk '!seen[$1]++ { print $1 }' | while read -r file; do
  cp "$file" "$tree/mods/"
  basename "$file"
done >"$work/order"
mv "$work/order" "$tree/mods/order"
# Those that its root does not have.
[[ $init != 16k ]] || cp -a "$out/lib/modules" "$tree/modules"
(cd "$tree" && find . | LC_ALL=C sort | cpio -o -H newc --quiet -R 0:0) >"$out/initramfs.new"
mv "$out/initramfs.new" "$out/initramfs.cpio"
echo "$out"
