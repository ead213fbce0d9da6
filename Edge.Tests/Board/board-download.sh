#!/bin/bash
# Downloads Debian packages of an architecture into the working directory and leaves this machine's apt as it is.
#
#   board-download.sh amd64|arm64 PACKAGES…             also of bookworm-backports; the one of a metapackage by 'METAPACKAGE*'
#   board-download.sh amd64|arm64 --show PACKAGES…      prints what apt knows of them, and downloads none
set -euo pipefail
architecture=$1
shift
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/{lists/partial,archives/partial,sources.d}
for suite in 'debian bookworm' 'debian bookworm-updates' 'debian bookworm-backports' 'debian-security bookworm-security'; do
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/$suite main"
done >"$work/sources.list"
: >"$work/status"
of=(-o "APT::Architecture=$architecture" -o "APT::Architectures=$architecture" -o "Dir::Etc::SourceList=$work/sources.list"
  -o "Dir::Etc::SourceParts=$work/sources.d" -o "Dir::State::Lists=$work/lists" -o "Dir::State::Status=$work/status" -o "Dir::Cache=$work"
  -o APT::Sandbox::User=root)
apt-get -qq "${of[@]}" update >&2
if [[ $1 == --show ]]; then
  shift
  apt-cache "${of[@]}" show --no-all-versions "$@"
  exit
fi
for package in "$@"; do
  if [[ $package == *'*' ]]; then
    package=$(apt-cache "${of[@]}" depends --important "${package%'*'}" | sed -n '0,/^ *Depends: /s/^ *Depends: //p')
  fi
  apt-get -qq "${of[@]}" download "${package:?of that name there is no package}" >&2
done
