#!/bin/bash
# Builds the native binaries once, runs all tests on them, and ends with the line "N passed, N failed, N skipped".
#
#   ./test.sh [ARGUMENTS]             of the test runner, as in: ./test.sh -class '*RoomTests'
#   ./test.sh --board                 installs the .deb on an emulated arm64 board and deploys to it; shows what happens
#   ./test.sh --board-long [N]        loses the power N times (200) in each scenario of docs/power-cuts.md; prints a table
#   ./test.sh --soak [N]              N lives of workloads (10000) one after the other, of which nothing may be left (docs/soak.md)
#   ./test.sh --power-cut CUT[,CUT…]  some of these again, as in ext4.117.torn.3, on the recording in dist/power-cuts
#
# Run as root on Debian 12 with the .NET 10 SDK: what is missing is installed, by cross-build.sh for the build and by
# each test for its counterparts. Elsewhere such tests are skipped; with CI=true a skip is a failure.
set -euo pipefail
cd "$(dirname "$0")"

# Far beyond what the tests take: it ends a run that hangs, with what it had said.
limit=3000
case ${1:-} in
  --board)
    shift
    set -- -class '*.PackageOnTheBoardTests' -showLiveOutput "$@"
    ;;
  --board-long)
    shift
    export EDGEHOST_BOARD_LONG=200
    if [[ ${1:-} =~ ^[0-9]+$ ]]; then
      EDGEHOST_BOARD_LONG=$1
      shift
    fi
    limit=$((limit + 20 * EDGEHOST_BOARD_LONG))
    rm -f dist/power-cuts/*/table.txt
    set -- -class '*.PowerCutsOn*' "$@"
    ;;
  --soak)
    shift
    export EDGEHOST_SOAK=10000
    if [[ ${1:-} =~ ^[0-9]+$ ]]; then
      EDGEHOST_SOAK=$1
      shift
    fi
    limit=$((limit + EDGEHOST_SOAK))
    rm -f dist/soak.txt
    set -- -class '*.SoakTests' "$@"
    ;;
  --power-cut)
    cuts=${2:?is missing: a cut as in ext4.117.torn.3, of a recording in dist/power-cuts}
    shift 2
    case $cuts in
      ext4.*) class=Ext4 ;;
      f2fs.*) class=F2fs ;;
      *)
        echo "test.sh: a cut begins with its file system, as in ext4.117.torn.3" >&2
        exit 2
        ;;
    esac
    export EDGEHOST_POWER_CUTS=${cuts//${cuts%%.*}./}
    set -- -class "*.PowerCutsOn$class" "$@"
    ;;
esac
case $(uname -m) in
  x86_64) ./cross-build.sh linux-x64 linux-arm64 ;;
  *) ./cross-build.sh ;;
esac
export EDGEHOST_DIST=$PWD/dist
dotnet build Edge.Tests --nologo -v quiet -tl:off -nodeReuse:false

log=$(mktemp)
trap 'rm -f "$log"' EXIT
code=0
timeout -k 60 $limit dotnet Edge.Tests/bin/Debug/net10.0/Edge.Tests.dll -noColor "$@" </dev/null 2>&1 |
  sed -uE 's/^ +Edge\.Tests\.[^ ]+ \[OUTPUT\] //' | tee "$log" || code=$?

if [[ -n ${EDGEHOST_BOARD_LONG:-} ]]; then tail -n +1 dist/power-cuts/*/table.txt 2>/dev/null || true; fi
if [[ -n ${EDGEHOST_SOAK:-} && -f dist/soak.txt ]]; then cat dist/soak.txt; fi
summary=$(grep -E '^ +Edge\.Tests +Total: ' "$log" | tail -1 || true)
number() {
  local found
  found=$(sed -nE "s/.*$1: ([0-9]+).*/\1/p" <<<"$summary")
  echo "${found:-0}"
}
if [[ -z $summary ]]; then
  echo "test.sh: the test runner ended with $code and without a summary" >&2
  echo "0 passed, 1 failed, 0 skipped"
  exit 1
fi
failed=$(($(number Failed) + $(number Errors))) skipped=$(number Skipped)
passed=$(($(number Total) - $(number Failed) - skipped - $(number 'Not Run')))
if [[ ${CI:-} == true ]] && ((skipped > 0)); then code=1; fi
if ((passed + failed == 0)); then
  echo "test.sh: no test was selected" >&2
  code=1
fi
echo "$passed passed, $failed failed, $skipped skipped"
exit $((code || failed ? 1 : 0))
