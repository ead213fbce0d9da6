#!/bin/bash
# Builds a sample image as an OCI image layout in a tar file, without a container engine.
#
#   images/build.sh sensor|busybox [amd64|arm64 (this machine's)] [FILE (dist/images/NAME-ARCHITECTURE.tar)]
#
# busybox is Debian's busybox-static with a link for each applet; sensor is a layer above it. Its tag is latest, and
# loaded into a store it is called localhost/NAME:latest. The same packages give the same digests. Missing Debian
# packages are installed (as root).
set -euo pipefail
cd "$(dirname "$0")/.."

fail() {
  echo "images/build.sh: $*" >&2
  exit 1
}

name=${1:-} architecture=${2:-$(dpkg --print-architecture)}
file=${3:-dist/images/$name-$architecture.tar}
[[ $name == sensor || $name == busybox ]] || fail "usage: images/build.sh sensor|busybox [amd64|arm64] [FILE]"
[[ $architecture == amd64 || $architecture == arm64 ]] || fail "unknown architecture $architecture: amd64 or arm64"
((EUID == 0)) || fail "run as root: the files of an image belong to root"

missing=()
for package in busybox-static mmdebstrap umoci; do
  [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
done
if ((${#missing[@]})); then
  {
    apt-get -o DPkg::Lock::Timeout=600 -qq update
    DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 -qq install --no-install-recommends "${missing[@]}"
  } </dev/null >&2
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$(dirname "$file")" "$work/root"/{bin,dev,etc,proc,root,run,sys,tmp,var}

if [[ $architecture == "$(dpkg --print-architecture)" ]]; then
  cp /bin/busybox "$work/root/bin/busybox"
else
  # Only unpacked: nothing of the other architecture is executed.
  mmdebstrap --quiet --variant=extract --skip=check/qemu --architectures="$architecture" --include=busybox-static bookworm "$work/debian" >&2
  cp "$(find "$work/debian" -name busybox -type f -path '*bin*' | head -1)" "$work/root/bin/busybox"
fi
chmod 755 "$work/root/bin/busybox"
chmod 1777 "$work/root/tmp"
# The applets of this machine's busybox, which is of the same Debian.
busybox --list | while read -r applet; do
  [[ $applet == busybox ]] || ln -sf busybox "$work/root/bin/$applet"
done
printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n' >"$work/root/etc/passwd"
printf 'root:x:0:\nnogroup:x:65534:\n' >"$work/root/etc/group"

# One time for everything, so that the digests depend on the content alone.
epoch=${SOURCE_DATE_EPOCH:-0}
layer() { # DIRECTORY WHAT
  tar -C "$1" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$epoch" -cf "$work/layer.tar" .
  umoci raw add-layer --image "$layout:latest" --history.created "$(date -u -d "@$epoch" +%FT%TZ)" --history.created_by "$2" "$work/layer.tar"
}

layout=$work/layout
umoci init --layout "$layout"
umoci new --image "$layout:latest"
layer "$work/root" "Debian busybox-static"
command=(--config.cmd /bin/sh)
if [[ $name == sensor ]]; then
  mkdir -p "$work/sensor/usr/local/bin"
  install -m755 images/sensor/sensor.sh "$work/sensor/usr/local/bin/sensor"
  layer "$work/sensor" "images/sensor"
  command=(--config.entrypoint /usr/local/bin/sensor --config.stopsignal SIGTERM --config.label org.opencontainers.image.title=sensor)
fi
umoci config --image "$layout:latest" --os linux --architecture "$architecture" --created "$(date -u -d "@$epoch" +%FT%TZ)" \
  --history.created "$(date -u -d "@$epoch" +%FT%TZ)" --config.env PATH=/usr/local/bin:/usr/bin:/bin:/sbin "${command[@]}"
umoci gc --layout "$layout"
# The specification has an annotation for the tag alone; this one, containerd's, is the whole name.
sed -i "s,\"org.opencontainers.image.ref.name\":\"latest\",&\,\"io.containerd.image.name\":\"localhost/$name:latest\"," "$layout/index.json"
tar -C "$layout" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$epoch" -cf "$file.new" .
mv "$file.new" "$file"
echo "$file"
