#!/bin/bash
# Builds a sample image as an OCI image layout in a tar file, without a container engine.
#
#   images/build.sh NAME [amd64|arm64 (this machine's)] [FILE (dist/images/NAME-ARCHITECTURE.tar)]
#
#   busybox   Debian's busybox-static with a link for each applet
#   sensor, hog   a layer with a shell script above it
#   echo, dashboard   the same, with mosquitto's clients and the libraries of Debian that these need
#   climate   a native C# program with the libraries of Debian that it needs, and nothing else
#
# The tag is latest, and loaded into a store the image is called localhost/NAME:latest. The same packages give the same
# digests. Missing Debian packages are installed (as root).
set -euo pipefail
cd "$(dirname "$0")/.."

fail() {
  echo "images/build.sh: $*" >&2
  exit 1
}

name=${1:-} architecture=${2:-$(dpkg --print-architecture)}
file=${3:-dist/images/$name-$architecture.tar}
usage="images/build.sh busybox|sensor|climate|echo|dashboard|hog [amd64|arm64] [FILE]"
[[ $name =~ ^(busybox|sensor|climate|echo|dashboard|hog)$ ]] || fail "usage: $usage"
[[ $architecture == amd64 || $architecture == arm64 ]] || fail "unknown architecture $architecture: amd64 or arm64"
((EUID == 0)) || fail "run as root: the files of an image belong to root"

own=$(dpkg --print-architecture)
packages=(busybox-static mmdebstrap umoci)
if [[ $name == climate ]]; then
  packages+=(clang zlib1g-dev binutils)
  [[ $architecture == "$own" ]] || packages+=(lld gcc-aarch64-linux-gnu libc6-dev-arm64-cross binutils-aarch64-linux-gnu)
fi
missing=()
for package in "${packages[@]}"; do
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

# Only unpacked: nothing of another architecture is executed.
unpack() { # PACKAGES
  [[ ! -d $work/debian ]] || return 0
  mmdebstrap --quiet --variant=extract --skip=check/qemu --architectures="$architecture" --include="$1" bookworm "$work/debian" >&2
}

busybox() {
  if [[ $architecture == "$own" ]]; then
    cp /bin/busybox "$work/root/bin/busybox"
  else
    unpack busybox-static
    cp "$(find "$work/debian" -name busybox -type f -path '*bin*' | head -1)" "$work/root/bin/busybox"
  fi
  chmod 755 "$work/root/bin/busybox"
  # The applets of this machine's busybox, which is of the same Debian.
  /bin/busybox --list | while read -r applet; do
    [[ $applet == busybox ]] || ln -sf busybox "$work/root/bin/$applet"
  done
}

# A program, and the libraries that the loader will look for: those that it names, and those that these name.
native() { # PROGRAM MORE-LIBRARIES…
  local wanted=("$@") library found
  install -m755 "$1" "$work/root/bin/"
  for ((i = 0; i < ${#wanted[@]}; i++)); do
    found=${wanted[i]}
    if ((i > 0)); then
      library=$found
      found=$(find "$work/debian" -name "$library" -path '*lib*' | head -1)
      [[ $found ]] || fail "$name: $library is in none of the packages of $name"
      # Where the loader is wanted is part of the program; all else it finds in one place.
      case $library in
        ld-linux-aarch64.so.1) install -D "$found" "$work/root/lib/$library" ;;
        ld-linux-x86-64.so.2) install -D "$found" "$work/root/lib64/$library" ;;
        *) install -D "$found" "$work/root/lib/$triplet/$library" ;;
      esac
    fi
    for library in $(readelf -d "$found" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'); do
      [[ " ${wanted[*]} " == *" $library "* ]] || wanted+=("$library")
    done
  done
}

case $architecture in
  amd64) rid=linux-x64 triplet=x86_64-linux-gnu ;;
  arm64) rid=linux-arm64 triplet=aarch64-linux-gnu ;;
esac

climate() {
  local flags=()
  [[ $architecture == "$own" ]] || flags=(-p:LinkerFlavor=lld -p:ObjCopyName=aarch64-linux-gnu-objcopy)
  dotnet publish images/climate/climate.csproj -c Release -r "$rid" --nologo -v quiet -tl:off -nodeReuse:false "${flags[@]}" >&2 ||
    fail "the program of climate could not be built"
  unpack libc6,libgpiod2
  native "images/climate/bin/Release/net10.0/$rid/publish/climate" libgpiod.so.2
}

mosquitto() {
  unpack busybox-static,mosquitto-clients
  native "$work/debian/usr/bin/mosquitto_sub"
  native "$work/debian/usr/bin/mosquitto_pub"
}

chmod 1777 "$work/root/tmp"
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
case $name in
  climate)
    climate
    layer "$work/root" "images/climate"
    command=(--config.entrypoint /bin/climate)
    ;;
  *)
    [[ ! $name =~ ^(echo|dashboard)$ ]] || mosquitto
    busybox
    layer "$work/root" "Debian busybox-static"
    command=(--config.cmd /bin/sh)
    ;;
esac
case $name in
  busybox) ;;
  climate) command+=(--config.stopsignal SIGTERM --config.label "org.opencontainers.image.title=$name") ;;
  *)
    mkdir -p "$work/script/usr/local/bin"
    install -m755 "images/$name/$name.sh" "$work/script/usr/local/bin/$name"
    layer "$work/script" "images/$name"
    command=(--config.entrypoint "/usr/local/bin/$name" --config.stopsignal SIGTERM --config.label "org.opencontainers.image.title=$name")
    ;;
esac
umoci config --image "$layout:latest" --os linux --architecture "$architecture" --created "$(date -u -d "@$epoch" +%FT%TZ)" \
  --history.created "$(date -u -d "@$epoch" +%FT%TZ)" --config.env PATH=/usr/local/bin:/usr/bin:/bin:/sbin "${command[@]}"
umoci gc --layout "$layout"
# The specification has an annotation for the tag alone; this one, containerd's, is the whole name.
sed -i "s,\"org.opencontainers.image.ref.name\":\"latest\",&\,\"io.containerd.image.name\":\"localhost/$name:latest\"," "$layout/index.json"
tar -C "$layout" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$epoch" -cf "$file.new" .
mv "$file.new" "$file"
echo "$file"
