#!/bin/bash
# Lives of workloads, one after the other, and whether anything of them is left:
#
#   soak.sh IMAGE.tar [CYCLES]
#
# A cycle is one of those beneath, drawn by SEED (1): a deployment, a crash, an image pulled and removed, and so on. What
# EdgeHost then holds is counted after every SLICE (1000) cycles, each time with the same one workload and nothing else. In
# the first half daemon and shepherd live on, and the memory of none of their processes may grow by more than MEMORY KiB
# (none: it may); in the second they are killed and restarted, too. Ends with the line FLAT, or says what grew.
#
# Needs root, and edgehost on the path. Ports are published, and all mounts, links and rules are counted: run it by
# unshare --net --mount where anything else runs. With docker-registry and skopeo images are pulled, without loaded.
set -eu -o pipefail
tar=$1 cycles=${2:-10000} seed=${SEED:-1} slice=${SLICE:-1000} warm=${WARM:-1000}
# The daemon looks twice a minute whether it can give memory back, and does so when a look finds it quiet.
idle=${IDLE:-65}
# A leak of a hundred bytes a cycle is 500 KiB in the half of 10000 cycles.
most_memory=${MEMORY:-400} most_disk=64 most_database=$((5 << 18))
work=$(mktemp -d -t soak-XXXXXX)
name=edgehost-${work##*/}
bridge=ehb${work##*-}
export EDGEHOST_HOST=unix://$work/run/edgehost.sock
mkdir "$work/in"
cycle=0 act=start daemon='' registry='' registered='' version=0 port=20000

# --- what is asked of it, and what must come of it ---

fail() {
  echo "soak: cycle $cycle ($act), seed $seed: $*" >&2
  tail -20 "$work/log" >&2
  exit 1
}
quietly() { "$@" >"$work/out" 2>&1 || fail "$* gave $?: $(tail -3 "$work/out")"; }
refused() { # CODE COMMAND…
  local code=0 expected=$1 out=$work/out.$BASHPID
  shift
  "$@" >"$out" 2>&1 || code=$?
  ((code == expected)) || fail "$* gave $code instead of $expected: $(tail -3 "$out")"
  rm "$out"
}
until_it() { # COMMAND…
  local tries=0
  until "$@" >/dev/null 2>&1; do
    ((tries++ < 1500)) || fail "this does not come to be: $*"
    sleep 0.03
  done
}
of() { edgehost inspect -f "$2" "$1"; }
is() { [[ $(of "$1" "$2" 2>/dev/null) == "$3" ]]; }
is_not() { [[ $(of "$1" "$2" 2>/dev/null) != "$3" ]]; }
box() { quietly edgehost run -d --name box --stop-signal SIGKILL "$@"; }

start() {
  edgehost daemon --config "$work/edgehost.json" --data-dir "$work/data" --run-dir "$work/run" 2>>"$work/log" &
  daemon=$!
  until_it edgehost info
  until_it connected
}
# The broker is in the daemon, and the daemon is one of its clients.
connected() { [[ $(grep -c 'Connected to broker' "$work/log") -ge $((starts + 1)) ]] && starts=$((starts + 1)); }
starts=0
stop() {
  kill -"$1" "$daemon"
  wait "$daemon" || :
}
pid_of() { cat "$work/run/shepherd.lock"; }
logger() { pgrep -P "$(pid_of)" -f '^edgehost.logger'; }

# desired NAME=N[@PORT]…: workloads with N in their environment, in the next version of the desired state.
desired() {
  local each workloads=''
  version=$((version + 1))
  for each in "$@"; do
    workloads+="${workloads:+, }\"${each%%=*}\": {\"image\": \"localhost/busybox\", \"environment\": {\"N\": \"${each#*=}\"}, \"command\": [\"sleep\", \"1000000\"],
      \"mem_limit\": \"16m\", \"cpus\": 0.5, \"stop_signal\": \"SIGKILL\"$([[ $each != *@* ]] || echo ", \"ports\": [\"127.0.0.1:${each#*@}:80\"]")}"
  done
  echo "{\"version\": $version, \"workloads\": {$workloads}}" >"$work/desired.json"
  publish 0
}
# A device reports once a second at most: the answer to one document is waited for before the next, and other cycles go
# on beneath.
publish() { # CODE
  deployed
  cp "$work/desired.json" "$work/published.json"
  refused "$1" edgehost deploy "$work/published.json" &
  publishing=$!
}
deployed() {
  [[ -z $publishing ]] || wait "$publishing" || fail "the deployment before failed"
  publishing=''
}
publishing=''

# --- the cycles ---

deploy() { desired web=$RANDOM; }
deploy_another() { desired web="$1" more=$RANDOM; }
deploy_with_port() { desired web="$RANDOM@$port"; }
remove_all() { desired; }
deploy_what_fails() {
  version=$((version + 1))
  echo "{\"version\": $version, \"workloads\": {\"web\": {\"image\": \"localhost/busybox\", \"command\": [\"no-such-program\"], \"mem_limit\": \"16m\", \"cpus\": 0.5}}}" >"$work/desired.json"
  publish 1
}
run_and_stop() {
  box --restart unless-stopped localhost/busybox sleep 1000
  quietly edgehost stop box
  quietly edgehost start box
  quietly edgehost rm -f box
}
run_to_the_end() { quietly edgehost run --rm --network none -v scratch:/data localhost/busybox sh -c 'echo "$HOSTNAME" >/data/last; exit 0'; }
crash() {
  box --restart always --network none localhost/busybox sleep 1000
  kill -KILL "$(of box '{{.State.Pid}}')"
  until_it is box '{{.RestartCount}} {{.State.Status}}' '1 running'
  quietly edgehost rm -f box
}
give_up() {
  box --restart on-failure:1 --network none localhost/busybox sh -c 'exit 3'
  until_it is box '{{.RestartCount}} {{.State.Status}} {{.State.ExitCode}}' '1 exited 3'
  quietly edgehost rm box
}
out_of_memory() {
  box -m 8m --network none localhost/busybox tail /dev/zero
  until_it is box '{{.State.Status}} {{.State.OOMKilled}}' 'exited true'
  quietly edgehost rm box
}
bad_start() {
  refused 127 edgehost run --name box localhost/busybox no-such-program
  quietly edgehost rm box
  refused 125 edgehost run --rm --network no-such-network localhost/busybox true
  refused 127 edgehost run --rm --device /dev/no-such-device localhost/busybox true
}
enter() {
  box localhost/busybox sleep 1000
  quietly edgehost exec box sh -c 'echo in'
  quietly edgehost exec -d box sleep 1000
  refused 3 edgehost exec box sh -c 'exit 3'
  refused 127 edgehost exec box no-such-program
  echo through | edgehost exec -i box cat >"$work/out"
  [[ $(cat "$work/out") == through ]] || fail "exec -i gave $(cat "$work/out")"
  quietly edgehost rm -f box
}
# Clients that die in the middle of what they asked for.
vanish() {
  local follow inside events
  box --network none localhost/busybox sh -c 'echo up; exec sleep 1000'
  edgehost logs -f box >"$work/follow" 2>&1 &
  follow=$!
  edgehost exec box sh -c 'echo up; exec sleep 1000' >"$work/inside" 2>&1 &
  inside=$!
  edgehost events >"$work/events" 2>&1 &
  events=$!
  until_it grep -q up "$work/follow"
  until_it grep -q up "$work/inside"
  kill -KILL $follow $inside $events
  { wait $follow $inside $events || :; } 2>/dev/null
  quietly edgehost rm -f box
}
ask() {
  box localhost/busybox sh -c 'touch /made; exec sleep 1000'
  quietly edgehost top box
  quietly edgehost update --memory 20m box
  quietly edgehost pause box
  quietly edgehost unpause box
  quietly edgehost cp box:/etc/passwd "$work/copied"
  quietly edgehost cp "$work/copied" box:/tmp/
  quietly edgehost diff box
  quietly edgehost restart box
  quietly edgehost rm -f box
}
check_health() {
  box --network none --health-cmd true --health-interval 100ms localhost/busybox sleep 1000
  until_it is box '{{.State.Health.Status}}' healthy
  quietly edgehost rm -f box
}
bring_image() {
  if [[ -n $registry ]]; then
    quietly edgehost pull -q "$registry/app:1"
    quietly edgehost run --rm --network none "$registry/app:1" true
    quietly edgehost rmi "$registry/app:1"
  else
    quietly edgehost tag localhost/busybox localhost/again
    quietly edgehost load -q -i "$tar"
    quietly edgehost rmi localhost/again
  fi
}
own_network() {
  quietly edgehost network create between
  quietly edgehost volume create kept
  box --network between -p "127.0.0.1:$port:80" -v kept:/www localhost/busybox sh -c 'echo served >/www/index.html; exec httpd -f -h /www'
  until_it served
  quietly edgehost run --rm --network between localhost/busybox sh -c 'wget -q -O - http://box/'
  quietly edgehost rm -f box
  quietly edgehost volume rm kept
  quietly edgehost network rm between
}
served() (exec 5<>/dev/tcp/127.0.0.1/$port && printf 'GET / HTTP/1.0\r\n\r\n' >&5 && grep -q served <&5)
rotate_logs() {
  box --network none localhost/busybox sh -c 'i=0; while [ $i -lt 4000 ]; do i=$((i+1)); echo "line $i of a log that is rotated, which must not become longer and longer"; done; exec sleep 1000'
  until_it last_line
  quietly edgehost rm -f box
}
last_line() { edgehost logs --tail 1 box | grep -q 'line 4000 '; }
restart_daemon() {
  deployed
  stop TERM
  start
}
kill_daemon() {
  deployed
  stop KILL
  start
}
kill_shepherd() {
  local was
  was=$(pid_of)
  desired web=1
  deployed
  kill -KILL "$was"
  until_it is_another "$was"
  until_it answers_again
}
is_another() { [[ $(pid_of) != "$1" ]] && kill -0 "$(pid_of)"; }
answers_again() { [[ $(edgehost ps --format '{{.State}}') == running ]] && edgehost exec "$(edgehost ps -q)" true; }
kill_logger() {
  local was
  was=$(logger)
  kill -KILL "$was"
  until_it has_another_logger "$was"
}
has_another_logger() { local now; now=$(logger) && [[ $now != "$1" ]]; }

# Everything that may be drawn, as often as it stands here.
some=(run_and_stop run_to_the_end run_to_the_end run_to_the_end crash crash give_up out_of_memory bad_start enter enter vanish ask check_health
  bring_image own_network own_network rotate_logs)
steady=(deploy deploy deploy_another deploy_with_port remove_all deploy_what_fails "${some[@]}" "${some[@]}" "${some[@]}")
rough=("${steady[@]}" restart_daemon kill_daemon kill_shepherd kill_logger)

# --- what is counted ---

# pss PID, anon PID: in KiB.
pss() { sed -n 's/^Pss: *\([0-9]*\) kB/\1/p' "/proc/$1/smaps_rollup"; }
anon() { sed -n 's/^Pss_Anon: *\([0-9]*\) kB/\1/p' "/proc/$1/smaps_rollup"; }
entries() { find "$@" 2>/dev/null | wc -l; }
mounts() { grep -c " $work/" "/proc/$1/mountinfo" || :; }
counts() {
  local shepherd logger
  shepherd=$(pid_of)
  logger=$(logger) || logger=$shepherd
  echo "threads=$(entries "/proc/$daemon/task" -mindepth 1 -maxdepth 1)" fds="$(entries "/proc/$daemon/fd" -mindepth 1)" \
    shepherd="$(entries "/proc/$shepherd/fd" -mindepth 1)" logger="$(entries "/proc/$logger/fd" -mindepth 1)" children="$(pgrep -P "$shepherd" | wc -l)" \
    mounts="$(mounts "$daemon")" shepherd-mounts="$(mounts "$shepherd")" cgroups="$(entries /sys/fs/cgroup -path "*/$name*" -type d)" \
    links="$(ip -o link | wc -l)" rules="$(nft list ruleset 2>/dev/null | wc -l)" files="$(entries "$work/data")" run="$(entries "$work/run")"
}
# The pool of threads of the daemon breathes, and so may one connection of a client that has just gone.
grown() { # COUNTS: what of it is more than the first time
  local each key more=''
  for each in $1; do
    key=${each%%=*}
    local slack=0 was=" $first "
    case $key in threads) slack=6 ;; fds) slack=1 ;; esac
    was=${was#* "$key"=}
    ((${each#*=} <= ${was%% *} + slack)) || more+=" $each"
  done
  echo "$more"
}
# Whether a process has more memory of its own than it may have had the first time.
holds_more() {
  local each
  [[ $most_memory != none ]] || return 1
  for each in 0 1 2; do
    ((memory[each] <= base[each] + most_memory)) || return 0
  done
  return 1
}
# What is counted by name, for whoever wants to know what it is that grew.
details() {
  local each
  for each in $daemon "$(pid_of)" "$(logger)"; do
    find "/proc/$each/fd" -mindepth 1 -printf "fd $each %l\\n" 2>/dev/null
  done
  sed 's/^[0-9]* [0-9]* /mount /' "/proc/$daemon/mountinfo" "/proc/$(pid_of)/mountinfo"
  nft list ruleset
  find /sys/fs/cgroup -path "*/$name*" -type d
  ip -o link
  find "$work/data" "$work/run"
}
# Without the database, to which is added until it is written anew once that is a mebibyte.
disk() { echo $((($(du -sb "$work/data" | cut -f1) - $(stat -c %s "$work/data/state.db")) / 1024)); }
# One workload and nothing else, once what is done behind an answer is done.
measure() {
  local now='' last='' same=0 tries=0
  act=measure

  # Not one that has outlived a logger: a mark in its log says so.
  desired "web=measured$cycle"
  deployed
  quietly edgehost volume prune -f
  # The kernel takes away what belonged to namespaces when it likes to. The first time nobody knows yet what is left.
  while ((tries++ < 600)); do
    now=$(counts)
    [[ $now == "$last" ]] && same=$((same + 1)) || same=0
    if [[ -z ${first-} ]]; then
      ((same < 15)) || break
    elif [[ -z $(grown "$now") ]]; then
      break
    fi
    last=$now
    sleep 0.2
  done
  held=$now
  details | sed -E "s/[0-9a-f]{64}/ID/g; s/[a-z:]*\[[0-9]+\]/N/" | sort >"$work/details.$cycle"
  local shepherd logger looks=0
  shepherd=$(pid_of) logger=$(logger)

  # Nor does it give all memory back at the first look, as that of a thread that still waits for work. What leaked stays.
  while ((looks++ < 3)); do
    sleep "$idle"
    memory=("$(anon "$daemon")" "$(anon "$shepherd")" "$(anon "$logger")")
    [[ -n ${first-} ]] && holds_more || break
  done
  whole=$(($(pss "$daemon") + $(pss "$shepherd") + $(pss "$logger")))
  disk=$(disk)
}

end() {
  local code=$?
  set +e
  trap - EXIT
  if [[ -n $daemon ]] && kill -0 "$daemon" 2>/dev/null; then
    edgehost rm -f $(edgehost ps -aq) >/dev/null 2>&1
    stop TERM
  fi
  local shepherd
  shepherd=$(pid_of 2>/dev/null) && kill "$shepherd" && tail --pid="$shepherd" -f /dev/null
  [[ -z $registered ]] || kill "$registered"
  find /sys/fs/cgroup -depth -path "*/$name*" -type d -exec rmdir {} + 2>/dev/null
  rm -rf "$work"
  exit $code
}
trap end EXIT
trap 'exit 143' TERM INT

ip link set lo up
echo "{ \"cgroupRoot\": \"$name\", \"network\": { \"bridge\": \"$bridge\" }, \"log\": { \"maxSize\": \"64k\", \"maxFiles\": 2 },
  \"registries\": { \"127.0.0.1:5000\": { \"plainHttp\": true } } }" >"$work/edgehost.json"
if command -v docker-registry >/dev/null && command -v skopeo >/dev/null; then
  registry=127.0.0.1:5000
  echo "{version: 0.1, storage: {filesystem: {rootdirectory: $work/registry}}, http: {addr: '$registry'}}" >"$work/registry.yml"
  OTEL_TRACES_EXPORTER=none docker-registry serve "$work/registry.yml" >"$work/registry.log" 2>&1 &
  registered=$!
  until_it skopeo copy --dest-tls-verify=false "oci-archive:$tar" "docker://$registry/app:1"
fi
start
quietly edgehost load -q -i "$tar"
quietly edgehost tag "$(edgehost images -q)" localhost/busybox
desired web=1

# A slice of every kind of cycle: the code that is run once, the files that are made once, the heap that it takes.
RANDOM=$seed
bad=0
table() { printf '%-8s %-7s %9s %9s %9s %9s %9s %9s %9s  %s\n' "$@"; }
table cycles slice ms/cycle anon:d anon:s anon:l pss disk:KiB verdict counts
slice_of() { # KIND COUNT
  local -n kinds=$1
  local left=$2
  while ((left-- > 0)); do
    cycle=$((cycle + 1))
    act=${kinds[RANDOM % ${#kinds[@]}]}
    port=$((20000 + cycle % 10000))
    "$act" "$RANDOM"
  done
}
for act in $(printf '%s\n' "${rough[@]}" | sort -u); do cycle=$((cycle + 1)) port=$((20000 + cycle)) && "$act" 1; done
slice_of steady "$warm"
measure
first=$held first_disk=$disk base=("${memory[@]}")
table "$cycle" warm - "${memory[@]}" "$whole" "$disk" base "$held"
from=$cycle
while ((cycle - from < cycles)); do
  began=$(date +%s%N) done=$((cycle - from)) kind=steady
  ((done < cycles / 2)) || kind=rough
  count=$((cycles - done < slice ? cycles - done : slice))
  slice_of $kind $count
  took=$((($(date +%s%N) - began) / 1000000 / count))
  measure
  verdict=flat
  [[ -z $(grown "$held") ]] || verdict=GREW:$(grown "$held" | tr -d ' ')
  (($(stat -c %s "$work/data/state.db") <= most_database)) || verdict=GREW:database
  ((disk <= first_disk + most_disk)) || verdict=GREW:disk
  [[ $kind != steady ]] || ! holds_more || verdict=GREW:memory
  if [[ $verdict != flat ]]; then
    bad=1
    diff "$work/details.$from" "$work/details.$cycle" | head -40 || :
  fi
  table $((cycle - from)) $kind $took "${memory[@]}" "$whole" "$disk" $verdict "$held"
done
((bad == 0)) || fail "something grew; the first count was $first"
echo "FLAT after $cycles cycles"
