#!/bin/bash
# Shows EdgeHost at work on this machine, beside whatever else runs here:
#
#   ./run.sh           the daemon with the broker inside it; the sample sensor, deployed over MQTT; what became of it
#   ./run.sh --real    the same through Debian's mosquitto and docker-registry, started for it on ports of their own
#   ./run.sh --stop    ends all of it and removes what it left
#
# Run as root. Again is fine: what runs is kept, what is new is deployed. Everything is in /var/lib/edgehost-demo,
# /run/edgehost-demo and the cgroups edgehost-demo (EDGEHOST_DEMO names another trio); the distribution's services and
# an installed EdgeHost are not touched. Exits with 3 where the kernel's memory controller is off. EDGEHOST_BINARY names
# a binary; else it is built here, or without an SDK taken from dist/ or PATH.
set -euo pipefail
cd "$(dirname "$0")"

demo=${EDGEHOST_DEMO:-edgehost-demo}
state=/var/lib/$demo run=/run/$demo
data=$state/data config=$state/edgehost.json
export EDGEHOST_HOST=unix://$run/edgehost.sock
unset EDGEHOST_CONFIG EDGEHOST_DATA_DIR EDGEHOST_RUN_DIR

say() {
  printf '\n== %s\n' "$*"
}

fail() {
  echo "run.sh: $*" >&2
  exit 1
}

# --- processes: known by the file that holds their pid, and by a command line that names this demo ---

pid_of() { # FILE
  local pid
  pid=$(cat "$1" 2>/dev/null) || return 1
  [[ $pid =~ ^[0-9]+$ ]] && tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -qE "(^| |=)($run|$state)(/| |$)" && echo "$pid"
}

end_process() { # FILE WHAT SECONDS
  local pid waited=0
  pid=$(pid_of "$1") || return 0
  echo "ending $2 (pid $pid)"
  kill -TERM "$pid" 2>/dev/null || return 0
  while [[ -d /proc/$pid && $(awk '/^State:/ { print $2 }' "/proc/$pid/status" 2>/dev/null) != Z ]]; do
    if ((waited++ >= $3 * 10)); then
      echo "run.sh: $2 (pid $pid) has not ended within $3 s: it is killed" >&2
      kill -KILL "$pid" 2>/dev/null || return 0
      waited=-1000000
    fi
    sleep 0.1
  done
}

# In the background and on its own, so that it stays when this script and its terminal are gone.
start_process() { # LOG COMMAND…
  local log=$1
  shift
  setsid "$@" >>"$log" 2>&1 </dev/null 9>&- &
}

cgroups() {
  awk '{ for (i = 7; $i != "-"; i++); if ($(i + 1) == "cgroup" || $(i + 1) == "cgroup2") print $5 }' /proc/self/mountinfo |
    while read -r mount; do
      [[ ! -d $mount/$demo ]] || echo "$mount/$demo"
    done
}

free_port() {
  local port
  while :; do
    port=$((20000 + RANDOM % 12000))
    # Not where somebody listens, and below what the kernel gives to clients.
    grep -qi "$(printf ':%04X 0' "$port")" /proc/net/tcp /proc/net/tcp6 2>/dev/null || break
  done
  echo "$port"
}

secret() {
  od -An -N18 -tx1 /dev/urandom | tr -d ' \n'
}

# --- what the machine must have ---

need() { # PACKAGE…
  local package missing=()
  for package in "$@"; do
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
  done
  ((${#missing[@]})) || return 0
  command -v apt-get >/dev/null || fail "these Debian packages, or their like, are needed: ${missing[*]}"
  echo "installing ${missing[*]}"
  # Debian starts a service with its package; here nobody asked for one.
  local policy=/usr/sbin/policy-rc.d made=
  if [[ ! -e $policy ]]; then
    printf '#!/bin/sh\nexit 101\n' >$policy
    chmod 755 $policy
    made=1
  fi
  local code=0
  {
    apt-get -o DPkg::Lock::Timeout=600 -qq update &&
      DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 -qq install --no-install-recommends "${missing[@]}"
  } </dev/null >&2 || code=$?
  [[ -z $made ]] || rm -f $policy
  ((code == 0)) || fail "apt-get could not install ${missing[*]}"
  if [[ -d /run/systemd/system ]]; then
    for package in "${missing[@]}"; do
      [[ $package != mosquitto && $package != docker-registry ]] || systemctl --quiet disable "$package" 2>/dev/null || true
    done
  fi
}

# The path of a binary: built here where the SDK is, else one that was built elsewhere.
find_binary() {
  local rid built
  if [[ -n ${EDGEHOST_BINARY:-} ]]; then
    readlink -e "$EDGEHOST_BINARY" || fail "EDGEHOST_BINARY is $EDGEHOST_BINARY, which is not there"
    return
  fi
  case $(uname -m) in
    x86_64) rid=linux-x64 ;;
    aarch64) rid=linux-arm64 ;;
    *) fail "this machine is $(uname -m); EdgeHost runs on x86_64 and aarch64" ;;
  esac
  built=dist/$rid/edgehost
  if command -v dotnet >/dev/null; then
    # The build's own list of what it is made from would be MSBuild's; a touch more than needed is rebuilt here.
    if [[ ! -x $built || -n $(find EdgeHost Directory.*.props global.json cross-build.sh \( -name bin -o -name obj \) -prune -o -type f -newer "$built" -print -quit) ]]; then
      echo "building $built (a minute or two)" >&2
      ./cross-build.sh "$rid" >&2
    fi
  elif [[ ! -x $built ]]; then
    built=$(command -v edgehost) ||
      fail "no .NET SDK here to build with, and neither $built nor edgehost in PATH: build it elsewhere (./cross-build.sh $rid) and copy it to $PWD/$built"
  fi
  readlink -f "$built"
}

find_image() {
  local architecture=amd64 image
  [[ $(uname -m) == x86_64 ]] || architecture=arm64
  image=dist/images/sensor-$architecture.tar
  if [[ ! -f $image || -n $(find images -type f -newer "$image" -print -quit) ]]; then
    images/build.sh sensor "$architecture" "$image" >&2
  fi
  echo "$image"
}

# --- the three ways to call it ---

stop() {
  # With its containers goes what they had of networks: bridge and rules.
  if [[ -S $run/edgehost.sock ]] && pid_of "$data/lock" >/dev/null; then
    curl -fsS --unix-socket "$run/edgehost.sock" 'http://edgehost/v1.44/containers/json?all=1' 2>/dev/null | grep -o '"Id":"[0-9a-f]\{64\}"' | cut -d'"' -f4 |
      while read -r container; do
        curl -fsS --unix-socket "$run/edgehost.sock" -X DELETE "http://edgehost/v1.44/containers/$container?force=1&v=1" >/dev/null || true
      done
  fi
  # The daemon first: what ends now is not to be started again.
  end_process "$data/lock" "the daemon" 20
  # It asks every container to end and waits for the longest grace among them.
  end_process "$run/shepherd.lock" "the shepherd and its containers" 120
  end_process "$run/registry.pid" docker-registry 20
  end_process "$run/mosquitto.pid" mosquitto 20
  local directory mount tries=0
  for directory in $(cgroups); do
    # Containers without a shepherd, if it was killed before.
    until find "$directory" -depth -type d -exec rmdir {} + 2>/dev/null; do
      find "$directory" -name cgroup.procs -exec cat {} + 2>/dev/null | sort -un | xargs -r kill -KILL 2>/dev/null || true
      ((tries++ < 200)) || fail "$directory cannot be removed: $(find "$directory" -name cgroup.procs -exec cat {} + | tr '\n' ' ')still live there"
      sleep 0.1
    done
  done
  # The deepest first.
  awk -v run="$run/" -v state="$state/" 'index($5, run) == 1 || index($5, state) == 1 { print $5 }' /proc/self/mountinfo | sort -r |
    while read -r mount; do
      umount "$(printf '%b' "$mount")"
    done
  if [[ -e $state/made-group && ! -e /var/lib/edgehost ]]; then
    groupdel edgehost
  fi
  rm -rf --one-file-system "$state" "$run"
  echo "nothing of $demo is left: no process, no cgroup, no mount, not $state, not $run"
  echo "(what was built stays in dist/, and installed packages stay installed)"
}

start_real() { # IMAGE; sets reference, and the way to the broker
  need docker-registry mosquitto mosquitto-clients skopeo
  local file port registry_password
  for file in operator device registry; do
    [[ -s $state/secrets/$file ]] || secret >"$state/secrets/$file"
  done
  registry_password=$(cat "$state/secrets/registry")

  if ! pid_of "$run/registry.pid" >/dev/null; then
    port=$(free_port)
    mkdir -p "$state/registry"
    # bcrypt, the one hash that the registry knows, by libcrypt.
    perl -e '$_ = <STDIN>; chomp; print "edgehost:", crypt($_, "\$2b\$05\$" . substr($ARGV[0], 0, 21) . "u"), "\n"' "$(secret)" <<<"$registry_password" >"$state/registry/htpasswd"
    cat >"$state/registry/config.yml" <<-END
			version: 0.1
			log: {level: warn}
			storage: {filesystem: {rootdirectory: $state/registry/data}}
			http: {addr: "127.0.0.1:$port"}
			auth: {htpasswd: {realm: $demo, path: $state/registry/htpasswd}}
			END
    chown -R docker-registry: "$state/registry"
    OTEL_TRACES_EXPORTER=none start_process "$run/registry.log" setpriv --reuid docker-registry --regid docker-registry --clear-groups docker-registry serve "$state/registry/config.yml"
    echo $! >"$run/registry.pid"
    echo "$port" >"$run/registry.port"
  fi
  registry=127.0.0.1:$(cat "$run/registry.port")

  if ! pid_of "$run/mosquitto.pid" >/dev/null; then
    port=$(free_port)
    mkdir -p "$state/mosquitto"
    printf 'operator:%s\ndemo:%s\n' "$(cat "$state/secrets/operator")" "$(cat "$state/secrets/device")" >"$state/mosquitto/passwords"
    mosquitto_passwd -U "$state/mosquitto/passwords"
    {
      printf 'user operator\ntopic readwrite edgehost/#\n\nuser demo\n'
      printf 'topic read edgehost/v1/demo/%s\n' desired commands/+
      printf 'topic write edgehost/v1/demo/%s\n' status reported progress events 'responses/#' 'telemetry/#'
    } >"$state/mosquitto/acl"
    cat >"$state/mosquitto/mosquitto.conf" <<-END
			listener $port 127.0.0.1
			allow_anonymous false
			password_file $state/mosquitto/passwords
			acl_file $state/mosquitto/acl
			END
    chown -R mosquitto: "$state/mosquitto"
    start_process "$run/mosquitto.log" mosquitto -c "$state/mosquitto/mosquitto.conf"
    echo $! >"$run/mosquitto.pid"
    echo "$port" >"$run/mosquitto.port"
  fi
  broker=127.0.0.1:$(cat "$run/mosquitto.port")

  local what
  for what in registry mosquitto; do
    port=$(cat "$run/$what.port")
    until (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do
      pid_of "$run/$what.pid" >/dev/null || fail "$what does not run: $(tail -3 "$run/$what.log")"
      sleep 0.1
    done
  done
  echo "docker-registry at $registry, mosquitto at $broker"
  reference=$registry/edgehost/sensor:latest
  printf '{"auths": {"%s": {"auth": "%s"}}}\n' "$registry" "$(printf 'edgehost:%s' "$registry_password" | base64 -w0)" >"$state/secrets/push.json"
  skopeo --insecure-policy copy --quiet --dest-tls-verify=false --authfile "$state/secrets/push.json" "oci-archive:$1:latest" "docker://$reference"
  echo "pushed $reference"
  to_broker=(--device demo --broker "mqtt://$broker" --broker-user operator --password-file "$state/secrets/operator")
  subscribe="mosquitto_sub -h ${broker%:*} -p ${broker#*:} -u operator -P \$(cat $state/secrets/operator)"
  write_config "
  \"mqtt\": { \"url\": \"mqtt://$broker\", \"user\": \"demo\", \"passwordFile\": \"$state/secrets/device\" },
  \"registries\": { \"$registry\": { \"plainHttp\": true, \"user\": \"edgehost\", \"passwordFile\": \"$state/secrets/registry\" } },"
}

start_embedded() {
  end_process "$run/registry.pid" docker-registry 20
  end_process "$run/mosquitto.pid" mosquitto 20
  [[ -s $state/broker.port ]] || free_port >"$state/broker.port"
  broker=127.0.0.1:$(cat "$state/broker.port")
  reference=localhost/sensor:latest
  to_broker=()
  subscribe="mosquitto_sub -h ${broker%:*} -p ${broker#*:} -u operator -P \$(jq -r .password $data/broker/operator.json)"
  write_config "
  \"broker\": { \"listen\": \"$broker\" },"
}

write_config() { # MORE
  cat >"$config.new" <<-END
		{
		  "device": { "id": "demo" },$1
		  "cgroupRoot": "$demo"
		}
		END
  cmp -s "$config.new" "$config" || mv "$config.new" "$config"
  rm -f "$config.new"
}

start_daemon() {
  local pid asked
  asked="$binary $(stat -c %i "$binary") $(cksum <"$config")"
  if pid=$(pid_of "$data/lock"); then
    if [[ $(cat "$run/started-as" 2>/dev/null) == "$asked" ]]; then
      echo "the daemon runs already (pid $pid)"
      return
    fi
    # Containers do not notice.
    end_process "$data/lock" "the daemon, to start it anew as it is now" 20
  fi
  start_process "$run/daemon.log" "$binary" daemon --config "$config" --data-dir "$data" --run-dir "$run"
  pid=$!
  until "$binary" info >/dev/null 2>&1; do
    [[ -d /proc/$pid ]] || fail "the daemon does not start: $(tail -3 "$run/daemon.log")"
    sleep 0.1
  done
  echo "$asked" >"$run/started-as"
  echo "the daemon runs (pid $pid): data in $data, sockets and logs in $run"
}

show_limits() { # PID
  local files=() line controllers path mount
  while IFS=: read -r _ controllers path; do
    if [[ -z $controllers && -e /sys/fs/cgroup$path/memory.max ]]; then
      files+=(/sys/fs/cgroup"$path"/{memory.max,memory.swap.max,memory.current,cpu.max,pids.max})
    fi
    for mount in memory cpu pids; do
      [[ ,$controllers, != *,$mount,* ]] || files+=("$(v1_mount "$mount")$path")
    done
  done <"/proc/$1/cgroup"
  for line in "${files[@]}"; do
    if [[ -d $line ]]; then
      grep -s . "$line"/{memory.limit_in_bytes,memory.memsw.limit_in_bytes,memory.usage_in_bytes,cpu.cfs_quota_us,cpu.cfs_period_us,pids.max} || true
    else
      grep -s . /dev/null "$line" || true
    fi
  done
}

v1_mount() { # CONTROLLER
  awk -v want="$1" '{ for (i = 7; $i != "-"; i++); n = split($(i + 3), options, ",")
    if ($(i + 1) == "cgroup") for (k = 1; k <= n; k++) if (options[k] == want) { print $5; exit } }' /proc/self/mountinfo
}

start() { # embedded|real
  say "The machine"
  binary=$(find_binary)
  echo "binary: ${binary#"$PWD/"} ($((($(stat -c %s "$binary") + 500000) / 1000000)) MB)"
  local code=0 checked
  checked=$("$binary" check --data-dir "$data") || code=$?
  if ((code)); then
    printf '%s\n' "$checked" >&2
    echo "run.sh: mend what is MISSING above, as its line with the arrow says, and run this again" >&2
    exit "$code"
  fi
  printf '%s\n' "$checked" | sed -n '1p;$p'

  mkdir -p "$state/secrets" "$run"
  chmod 0700 "$state/secrets"
  if ! getent group edgehost >/dev/null; then
    groupadd --system edgehost
    touch "$state/made-group"
    echo "made the group edgehost: its members may use the socket and the operator's credential"
  fi

  say "The sample workload"
  local image
  image=$(find_image)
  echo "image: $image"
  if [[ $1 == real ]]; then start_real "$image"; else start_embedded; fi

  say "The daemon"
  start_daemon
  # In the other mode it comes from the registry.
  [[ $1 == real ]] || "$binary" load --input "$image"

  say "Deployed over MQTT"
  # What was changed by hand since the last time stays.
  grep -qsF "\"image\": \"$reference\"" "$run/sensor.json" || cat >"$run/sensor.json" <<-END
		{
		  "workloads": {
		    "sensor": {
		      "image": "$reference",
		      "mem_limit": "16m",
		      "cpus": 0.1,
		      "pids_limit": 20,
		      "restart": "unless-stopped",
		      "read_only": true,
		      "cap_drop": ["ALL"]
		    }
		  }
		}
		END
  cat "$run/sensor.json"
  echo "reported by the device:"
  "$binary" apply --json "${to_broker[@]}" -f "$run/sensor.json"

  local container pid
  container=$("$binary" ps -q --filter label=io.edgehost.workload=sensor)
  pid=$("$binary" inspect "$container" | sed -nE 's/^ *"Pid": ([0-9]+),?$/\1/p')
  say "Its limits, as the kernel holds them (process $pid)"
  show_limits "$pid"

  say "Its log, live"
  timeout 4 "$binary" logs -f --tail 2 "$container" || (($? == 124))

  local me=${binary#"$PWD/"}
  say "What to try next"
  cat <<-END
		export EDGEHOST_HOST=$EDGEHOST_HOST
		$me ps                                    # and: stats, logs -f, inspect, events; docker -H \$EDGEHOST_HOST ps works, too
		sed -i s/16m/24m/ $run/sensor.json && $me apply${to_broker[*]:+ ${to_broker[*]}} -f $run/sensor.json
		sed s,sensor:latest,nothing:1, $run/sensor.json | $me apply${to_broker[*]:+ ${to_broker[*]}} -f -     # cannot be fetched: the sensor runs on
		$me run --rm --network none -m 8m --entrypoint /bin/sh $reference -c 'tail /dev/zero'; echo \$?     # 137: killed at its limit
		kill -9 \$(cat $data/lock); ./run.sh${mode:+ $mode}      # the daemon dies, the sensor does not notice
		$subscribe -C 1 -t edgehost/v1/demo/reported          # packages mosquitto-clients, jq
		./run.sh --stop
		END
}

mode=${1:-}
[[ $# -le 1 && $mode =~ ^(|--real|--stop)$ ]] || fail "usage: ./run.sh [--real|--stop]"
[[ $demo =~ ^[a-z0-9][a-z0-9-]{0,40}$ ]] || fail "EDGEHOST_DEMO is \"$demo\": lower-case letters, digits and - make a name"
((EUID == 0)) || fail "run as root: it makes namespaces and cgroups"
# One at a time for this checkout.
exec 9<"$0"
flock 9
case $mode in
  --stop) stop ;;
  --real) start real ;;
  *) start embedded ;;
esac
