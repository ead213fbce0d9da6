#!/bin/bash
# Packs dist/RID/edgehost: ./cross-build.sh --package RID… builds it and calls this.
#
#   packaging/package.sh RID      linux-x64 or linux-arm64
#   leaves dist/edgehost_VERSION_ARCH.deb and dist/edgehost-VERSION-RID.tar.zst
#
#   EDGEHOST_RELEASE=1     the version is that of Directory.Build.props alone, without the number of the commit
#   EDGEHOST_REVISION=N    one more number behind it: the same commit, packed anew
#   EDGEHOST_DIST=DIR      another directory than dist
#
# Equal files make equal packages: names are sorted, and all times are that of the commit (SOURCE_DATE_EPOCH, when it is
# set). What the packages have beside the binary is asked of the binary itself, so that it cannot differ from it.
set -euo pipefail
cd "$(dirname "$0")/.."
umask 022

fail() {
  echo "packaging/package.sh: $*" >&2
  exit 1
}

rid=${1:?usage: packaging/package.sh RID}
dist=${EDGEHOST_DIST:-dist}
binary=$(realpath -m "$dist/$rid/edgehost")
case $rid in
  linux-x64) architecture=amd64 machine=x86_64 ;;
  linux-arm64) architecture=arm64 machine=aarch64 ;;
  *) fail "unknown RID $rid: linux-x64 or linux-arm64" ;;
esac
[[ -f $binary ]] || fail "$binary is not there: ./cross-build.sh $rid"
for program in dpkg-deb zstd xz; do
  command -v $program >/dev/null || fail "$program is missing: apt-get install dpkg zstd xz-utils"
done

edgehost=("$binary")
if [[ $(uname -m) != "$machine" ]]; then
  edgehost=("qemu-$machine-static" -L "/usr/$machine-linux-gnu" "$binary")
fi

# A later commit is a later version, and a released one has none behind it.
version=$(sed -nE 's,.*<Version>(.*)</Version>.*,\1,p' Directory.Build.props)
if [[ -z ${EDGEHOST_RELEASE:-} ]] && count=$(git rev-list --count HEAD 2>/dev/null); then
  version+="+$count.g$(git rev-parse --short=7 HEAD)"
fi
version+=${EDGEHOST_REVISION:+.$EDGEHOST_REVISION}
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || stat -c %Y Directory.Build.props)}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
install -D -m 755 "$binary" "$root/usr/bin/edgehost"

# The files of a system on which it is installed, moved to where packages have theirs. An empty NetworkManager is there so
# that it is told, too.
installed=$work/installed
mkdir -p "$installed/etc/NetworkManager"
printf 'root:x:0:\nedgehost:x:999:\n' >"$installed/etc/group"
"${edgehost[@]}" install --root "$installed" --prefix /usr >/dev/null
mark='# Part of the package edgehost. Changes go into a drop-in: systemctl edit'
move() {
  local file
  mkdir -p "$root/$2"
  for file in "$installed/$1"/*edgehost*; do
    [[ -f $file && ! -L $file ]] || continue
    sed "1s/.*/$mark/" "$file" >"$root/$2/${file##*/}"
  done
}
move etc/systemd/system usr/lib/systemd/system
move etc/systemd/network usr/lib/systemd/network
move etc/NetworkManager/conf.d usr/lib/NetworkManager/conf.d
install -D -m 644 "$installed/etc/edgehost/edgehost.json" "$root/etc/edgehost/edgehost.json"
install -d -m 700 "$root/etc/edgehost/keys"

mkdir -p "$root"/usr/share/{man/man1,bash-completion/completions,zsh/vendor-completions,fish/vendor_completions.d,doc/edgehost,edgehost}
"${edgehost[@]}" man | gzip -9n >"$root/usr/share/man/man1/edgehost.1.gz"
"${edgehost[@]}" completion bash >"$root/usr/share/bash-completion/completions/edgehost"
"${edgehost[@]}" completion zsh >"$root/usr/share/zsh/vendor-completions/_edgehost"
"${edgehost[@]}" completion fish >"$root/usr/share/fish/vendor_completions.d/edgehost.fish"
cp -r device-configs "$root/usr/share/edgehost/"
cp packaging/debian/copyright "$root/usr/share/doc/edgehost/"
cp README.md "$root/usr/share/doc/edgehost/"
gzip -9n <<E2 >"$root/usr/share/doc/edgehost/changelog.gz"
edgehost ($version) stable; urgency=medium

  * Built from commit $(git rev-parse HEAD 2>/dev/null || echo unknown).

 -- The EdgeHost authors <edgehost@localhost>  $(date -u -R -d "@$SOURCE_DATE_EPOCH")
E2
find "$root" -type d ! -path '*/keys' -exec chmod 755 {} +
find "$root" -type f ! -path '*/bin/*' ! -path '*/init/*' -exec chmod 644 {} +
chmod 755 "$root"/usr/share/edgehost/device-configs/init/*
find "$root" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +

# Without systemd and dpkg: unpacked where it is to stay, as in /usr/local, and edgehost install is the rest.
plain=$dist/edgehost-$version-$rid.tar.zst
tar -C "$root/usr" --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner -c \
  bin share/man share/bash-completion share/doc share/edgehost | zstd -q -19 -f -o "$work/plain"

mkdir "$root/DEBIAN"
cp packaging/debian/{postinst,prerm,postrm} "$root/DEBIAN/"
chmod 755 "$root"/DEBIAN/*
echo /etc/edgehost/edgehost.json >"$root/DEBIAN/conffiles"
(cd "$root" && find usr etc -type f ! -path etc/edgehost/edgehost.json -print0 | LC_ALL=C sort -z | xargs -0 md5sum) >"$root/DEBIAN/md5sums"
cat >"$root/DEBIAN/control" <<E2
Package: edgehost
Version: $version
Architecture: $architecture
Maintainer: The EdgeHost authors <edgehost@localhost>
Installed-Size: $(du -k --apparent-size -s "$root/usr" "$root/etc" | awk '{ sum += $1 } END { print sum }')
Depends: libc6 (>= 2.34), libssl3 | libssl3t64
Recommends: ca-certificates
Suggests: mosquitto-clients
Section: admin
Priority: optional
Description: container host for ARM boards
 One program that takes the place of a container engine, a monitor of each
 container, an update agent and an MQTT bridge on a small gateway. It pulls OCI
 images, runs them under strict limits of memory and CPU, takes what is to run
 over MQTT 5, and answers Docker's clients.
E2
find "$root/DEBIAN" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
touch -h -d "@$SOURCE_DATE_EPOCH" "$root"
deb=$dist/edgehost_${version}_$architecture.deb
dpkg-deb --root-owner-group -Zxz -z9 --build "$root" "$work/deb" >/dev/null

# Of a version before nothing stays behind, to be taken for this one.
rm -f "$dist"/edgehost_*_"$architecture".deb "$dist"/edgehost-*-"$rid".tar.zst
mv "$work/plain" "$plain"
mv "$work/deb" "$deb"
(cd "$dist" && sha256sum edgehost_*.deb edgehost-*.tar.zst >"$work/sums" && mv "$work/sums" SHA256SUMS)
printf '%s: %s bytes, installed %s KiB\n%s: %s bytes\n' "$deb" "$(stat -c %s "$deb")" "$(dpkg-deb -f "$deb" Installed-Size)" "$plain" "$(stat -c %s "$plain")"
