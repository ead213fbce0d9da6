#!/bin/bash
# Builds edgehost as one native binary: ./cross-build.sh [--package] [--check] [--reproduce] [RID…]
#
#   RID          linux-x64 or linux-arm64; without one, this machine's
#   --package    packs it, too: dist/edgehost_VERSION_ARCH.deb, dist/edgehost-VERSION-RID.tar.zst, dist/SHA256SUMS
#   --check      runs what was built, and what was packed, once more: every page of help, the manual, the completions
#
#   --reproduce  builds and packs what is committed twice, in two directories, and compares: equal bytes, or it fails
#
#   leaves dist/RID/edgehost, dist/RID/edgehost.dbg (its symbols) and dist/RID/aot-warnings.txt
#
# Missing Debian packages are installed (as root). An arm64 binary that was built elsewhere is started once under
# qemu-user. A build whose AOT or trim warnings differ from docs/aot-warnings.md fails.
set -euo pipefail
cd "$(dirname "$0")"

fail() {
  echo "cross-build.sh: $*" >&2
  exit 1
}

machine() {
  case $(uname -m) in
    x86_64) echo linux-x64 ;;
    aarch64) echo linux-arm64 ;;
    *) fail "this machine is $(uname -m); EdgeHost is built on x86_64 or aarch64" ;;
  esac
}

need() {
  local package missing=()
  for package in "$@"; do
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
  done
  ((${#missing[@]})) || return 0
  command -v apt-get >/dev/null || fail "these Debian packages, or their like, are needed: ${missing[*]}"
  ((EUID == 0)) || fail "run as root, or first: apt-get install ${missing[*]}"
  echo "cross-build.sh: installing ${missing[*]}" >&2
  {
    # Another program that holds dpkg's lock is waited for, not fought.
    apt-get -o DPkg::Lock::Timeout=600 -qq update
    DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 -qq install --no-install-recommends "${missing[@]}"
  } </dev/null >&2
}

# ILC says its warnings only when it runs; an object that is older or newer than the list beside it is made again, and so
# is one that is older than what is to be left out, or than the order of its methods, which MSBuild does not look at.
publish() {
  local rid=$1 native=EdgeHost/obj/Release/net10.0/$1/native log
  shift
  if [[ ! -f $native/warnings.txt || $native/edgehost.o -nt $native/warnings.txt || EdgeHost/Trim.xml -nt $native/edgehost.o || EdgeHost/Order.txt -nt $native/edgehost.o ]]; then
    rm -f "$native/edgehost.o"
  fi
  log=$(mktemp)
  # shellcheck disable=SC2064
  trap "rm -f '$log' '$log.before'" EXIT
  mkdir -p "$native"
  touch -r "$native/edgehost.o" "$log.before" 2>/dev/null || touch -d @0 "$log.before"
  # MSBuild takes files as the file system lists them, and what the compiler makes has their order: here it is always the
  # same.
  {
    echo '<Project><ItemGroup><Compile Remove="@(Compile)" />'
    (cd EdgeHost && find . \( -name obj -o -name bin \) -prune -o -name '*.cs' -print) | LC_ALL=C sort | sed 's,^./\(.*\),<Compile Include="\1" />,'
    echo '</ItemGroup></Project>'
  } >EdgeHost/obj/Sources.props
  # The order in which the logging generator writes its classes is another in each run: without debug information of the
  # managed program, which has that file's checksum, two builds are equal. Symbols have names of methods, and no lines.
  # MSBuild does not run its servers on: a build machine is left as it was found.
  dotnet publish EdgeHost/EdgeHost.csproj -c Release -r "$rid" --nologo -v quiet -tl:off -nodeReuse:false -p:Sources=obj/Sources.props -p:DebugType=none -p:NativeDebugSymbols=true "$@" \
    "-flp:logfile=$log;verbosity=normal;nosummary;encoding=utf-8" || fail "the build for $rid failed"
  if [[ $native/edgehost.o -nt $log.before ]]; then
    { grep -oE 'warning IL[0-9]+: .*' "$log" || true; } | sed -E 's/^warning //; s/ *\[[^]]*\.csproj[^]]*\]$//' |
      LC_ALL=C sort >"$native/warnings.txt"
  fi
}

# Tells the program where its type tables lie, which it makes read-only (EdgeHost/Linux/ProgramPages.cs). They are one run
# in the data; what follows them is the first symbol of another kind.
mark_type_tables() {
  local rid=$1 file=$2 symbols=$3 range at
  range=$({ [[ $rid == linux-arm64 ]] && aarch64-linux-gnu-nm --numeric-sort "$symbols" || nm --numeric-sort "$symbols"; } |
    awk '$3 ~ /^(_ZTV|__InterfaceDispatchMap_)/ { if (!count++) from = $1; next }
         { if (count > most) { most = count; best = from " " $1 } count = 0 }
         END { if (most > 10000) print best }')
  [[ $range ]] || fail "the type tables of $rid are not one run of symbols any more: see ProgramPages.cs"
  at=$(LC_ALL=C grep -abo 'type tables 0\{16\} 0\{16\}' "$file") || fail "$file has no place for where its type tables lie"
  printf 'type tables %s' "$range" | dd of="$file" bs=1 seek="${at%%:*}" conv=notrunc status=none
}

check_warnings() {
  # The pinned list is what stands in the code blocks of the document.
  awk '/^```/ { inside = !inside; next } inside' docs/aot-warnings.md | LC_ALL=C sort |
    diff --label docs/aot-warnings.md --label "the build for $1" -U0 - "$2" >&2 ||
    fail "AOT or trim warnings differ from docs/aot-warnings.md: mend the code, or add the line with its reason"
}

build() {
  local rid=$1 host flags=() out=dist/$1 published=EdgeHost/bin/Release/net10.0/$1/publish
  host=$(machine)
  case $rid in
    "$host") need clang zlib1g-dev binutils ;;
    linux-arm64)
      need clang lld gcc-aarch64-linux-gnu libc6-dev-arm64-cross binutils-aarch64-linux-gnu qemu-user-static
      flags=(-p:LinkerFlavor=lld -p:ObjCopyName=aarch64-linux-gnu-objcopy)
      ;;
    linux-x64) fail "linux-x64 is built on an x86_64 machine" ;;
    linux-arm)
      fail "linux-arm cannot be built: NuGet serves no runtime.linux-arm.Microsoft.DotNet.ILCompiler for this SDK (a 64-bit system runs linux-arm64 on the same boards)"
      ;;
    *) fail "unknown RID $rid: linux-x64 or linux-arm64" ;;
  esac
  publish "$rid" "${flags[@]}"
  mkdir -p "$out"
  cp "EdgeHost/obj/Release/net10.0/$rid/native/warnings.txt" "$out/aot-warnings.txt"
  check_warnings "$rid" "$out/aot-warnings.txt"
  # Renamed into place: a binary that runs is not written to.
  for file in edgehost edgehost.dbg; do
    cp "$published/$file" "$out/.$file.new"
    [[ $file == *.dbg ]] || mark_type_tables "$rid" "$out/.$file.new" "$published/$file.dbg"
    mv "$out/.$file.new" "$out/$file"
  done
  run "$rid" "$out/edgehost" --version
  printf '%s: %s bytes\n' "$out/edgehost" "$(stat -c %s "$out/edgehost")"
}

# Another architecture's is emulated.
run() {
  local rid=$1
  shift
  if [[ $rid == "$(machine)" ]]; then
    "$@"
  else
    qemu-aarch64-static -L /usr/aarch64-linux-gnu "$@"
  fi
}

check() {
  local rid=$1 unpacked command
  unpacked=$(mktemp -d)
  cp "dist/$rid/edgehost" "$unpacked/built"
  if [[ $package ]]; then
    dpkg-deb --fsys-tarfile dist/edgehost_*_"$([[ $rid == linux-x64 ]] && echo amd64 || echo arm64)".deb | tar -xO ./usr/bin/edgehost >"$unpacked/deb"
    zstd -dcq dist/edgehost-*-"$rid".tar.zst | tar -xO bin/edgehost >"$unpacked/tar"
    (cd dist && sha256sum --quiet -c SHA256SUMS) || fail "dist/SHA256SUMS does not hold"
  fi
  for file in "$unpacked"/*; do
    cmp -s "$file" "dist/$rid/edgehost" || fail "the binary in ${file##*/} is not dist/$rid/edgehost"
  done
  chmod 755 "$unpacked/built"
  for command in --version --help man "completion bash" "oci --help" "run --help"; do
    # shellcheck disable=SC2086
    run "$rid" "$unpacked/built" $command >"$unpacked/said" || fail "dist/$rid/edgehost $command failed"
    [[ -s $unpacked/said ]] || fail "dist/$rid/edgehost $command printed nothing"
  done
  rm -rf "$unpacked"
  echo "dist/$rid: checked"
}

# Two clones have nothing of each other: neither what was compiled before, nor the path, nor the time.
reproduce() {
  local rid=$1 work directory
  work=$(mktemp -d)
  [[ -z $(git status --porcelain) ]] || echo "cross-build.sh: what is not committed is not in what --reproduce builds" >&2
  git clone -q . "$work/first"
  git clone -q "$work/first" "$work/second/in/another"
  for directory in first second/in/another; do
    "$work/$directory/cross-build.sh" --package "$rid" >&2 || fail "the build in a clone failed: $work/$directory"
    (cd "$work/$directory/dist" && find . -type f ! -name .lock ! -name SHA256SUMS | LC_ALL=C sort | xargs sha256sum) >"$work/${directory%%/*}.sums"
  done
  cat "$work/first.sums"
  diff "$work/first.sums" "$work/second.sums" || fail "two builds of $(git -C "$work/first" rev-parse --short HEAD) for $rid differ: compare $work/first/dist with $work/second/in/another/dist"
  echo "$rid: two builds of $(git -C "$work/first" rev-parse --short HEAD) are equal"
  rm -rf "$work"
}

package='' checked='' reproduced=''
while [[ ${1:-} == -* ]]; do
  case $1 in
    --package) package=1 ;;
    --check) checked=1 ;;
    --reproduce) reproduced=1 ;;
    *) fail "unknown option $1: --package, --check or --reproduce" ;;
  esac
  shift
done
command -v dotnet >/dev/null || fail "the .NET 10 SDK is missing: https://dotnet.microsoft.com/download"
mkdir -p dist
exec 9>dist/.lock
flock 9
for rid in "${@:-$(machine)}"; do
  if [[ $reproduced ]]; then
    reproduce "$rid"
    continue
  fi
  build "$rid"
  if [[ $package ]]; then
    need zstd xz-utils
    EDGEHOST_DIST=dist packaging/package.sh "$rid"
  fi
  if [[ $checked ]]; then check "$rid"; fi
done
