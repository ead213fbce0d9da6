# What the runtime promises, asked of the kernel. Runs on this machine and on the board alike: prints one line
# "CHECK key=value ..." for each promise, which the tests compare. Needs: edgehost and busybox on the path, root.
set -u
work=$(mktemp -d)
oci() { edgehost oci --root "$work/state" "$@"; }
trap 'for d in "$work"/state/*; do [ ! -d "$d" ] || oci delete -f "${d##*/}"; done; find /sys/fs/cgroup -path '*/edgehost-checks*' -type d -delete 2> /dev/null; rm -rf "$work"' EXIT
unified=$([ -f /sys/fs/cgroup/cgroup.controllers ] && echo yes || echo no)

root=$work/root
mkdir -p "$root/bin" "$root/etc"
cp "$(command -v busybox)" "$root/bin/busybox"
for applet in sh cat head tail wc id hostname sleep true grep mount ls echo kill env touch mkdir stat dd seq readlink mknod ping ip; do ln -s busybox "$root/bin/$applet"; done

# bundle NAME COMMAND [RESOURCES] [PROCESS-EXTRA]: a bundle that runs a shell command in all namespaces
bundle() {
  local name=$1 command=$2 resources=${3:-'{}'} extra=${4:-}
  mkdir -p "$work/$name"
  cat > "$work/$name/config.json" <<JSON
{ "ociVersion": "1.1.0", "hostname": "inside", "root": { "path": "$root", "readonly": false },
  "process": { "cwd": "/", "args": ["sh", "-c", "$command"], "env": ["PATH=/bin"], "noNewPrivileges": true,
    "user": { "uid": 0, "gid": 0 }, "capabilities": { "bounding": ["CAP_CHOWN", "CAP_KILL"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"] },
    "rlimits": [{ "type": "RLIMIT_NOFILE", "soft": 99, "hard": 99 }] ${extra:+, $extra} },
  "mounts": [
    { "destination": "/proc", "type": "proc", "source": "proc" },
    { "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=64k"] },
    { "destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance", "ptmxmode=0666", "mode=0620"] },
    { "destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["mode=1777", "size=1m"] },
    { "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue" },
    { "destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"] } ],
  "linux": { "cgroupsPath": "/edgehost-checks/$name", "resources": $resources,
    "namespaces": [{ "type": "pid" }, { "type": "mount" }, { "type": "uts" }, { "type": "ipc" }, { "type": "network" }, { "type": "cgroup" }],
    "maskedPaths": ["/proc/keys", "/sys/firmware"], "readonlyPaths": ["/proc/sys"] } }
JSON
}
run() { oci run -b "$work/$1" "$1"; }
# counter CONTAINER CONTROLLER FILE: where the kernel keeps a number of a container
counter() { if [ $unified = yes ]; then echo "/sys/fs/cgroup/edgehost-checks/$1/$3"; else echo "/sys/fs/cgroup/$2/edgehost-checks/$1/$3"; fi; }
pick() { [ $unified = yes ] && echo "$1" || echo "$2"; }

bundle world 'echo pid=$$ host=$(hostname) files=$(ulimit -n) links=$(ls /sys/class/net | wc -l) devices=$(ls /dev | wc -l); grep -E ^Cap.*: /proc/self/status; grep NoNew /proc/self/status; cat /proc/keys | wc -c; echo 1 > /proc/sys/kernel/shmmni; ls /sys/firmware | wc -l; cat /proc/self/cgroup'
out=$(run world 2>&1 < /dev/null)
echo "WORLD" $(grep ^pid= <<<"$out") bounding=$(sed -n 's/^CapBnd:\t0*//p' <<<"$out") effective=$(sed -n 's/^CapEff:\t0*//p' <<<"$out") nonewprivs=$(sed -n 's/^NoNewPrivs:\t//p' <<<"$out") masked=$(grep -cx 0 <<<"$out") readonly=$(grep -c 'Read-only file system\|can.t create' <<<"$out") cgroup=$(grep -c 'edgehost-checks' <<<"$out")

bundle exits 'exit 42'; run exits; echo "EXIT code=$?"
bundle signalled 'kill -9 $$; kill -TERM $$; exit 3' ; run signalled; echo "INIT code=$?"

bundle missing 'true'; sed -i 's/"args": \["sh"/"args": ["no-such-program"/' "$work/missing/config.json"
err=$(run missing 2>&1); echo "MISSING code=$? message=$err"
bundle denied 'true'; sed -i 's/"args": \["sh"/"args": ["\/etc"/' "$work/denied/config.json"
err=$(run denied 2>&1); echo "DENIED code=$? message=$err"
bundle undone 'true'; sed -i 's/"type": "mqueue"/"type": "nosuchfs"/' "$work/undone/config.json"
err=$(run undone 2>&1); code=$?
echo "UNDONE code=$code state=$(ls "$work/state" | wc -l) cgroups=$(find /sys/fs/cgroup -maxdepth 3 -path '*edgehost-checks/*' -type d | wc -l) message=$err"

bundle memory 'head -c 60000000 /dev/zero | tail -c 50000000 | wc -c; exit 5' '{ "memory": { "limit": 20000000 } }'
oci run --keep -b "$work/memory" memory > /dev/null 2> "$work/err" < /dev/null; code=$?
if [ $unified = yes ]; then kills=$(sed -n 's/^oom_kill //p' "$(counter memory memory memory.events)"); else kills=$(sed -n 's/^oom_kill //p' "$(counter memory memory memory.oom_control)"); fi
echo "MEMORY code=$code kills=$kills limit=$(cat "$(counter memory memory "$(pick memory.max memory.limit_in_bytes)")") swap=$(cat "$(counter memory memory "$(pick memory.swap.max memory.memsw.limit_in_bytes)")" 2>/dev/null) told=$(grep -c 'out of memory' "$work/err")"
oci delete memory

bundle processes 'for i in $(seq 40); do sleep 5 & done; exit 0' '{ "pids": { "limit": 12 } }'
oci run --keep -b "$work/processes" processes > /dev/null 2>&1 < /dev/null
echo "PIDS limit=$(cat "$(counter processes pids pids.max)") refused=$(sed -n 's/^max //p' "$(counter processes pids pids.events)")"
oci delete processes

bundle cpu 'i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done' '{ "cpu": { "quota": 20000, "period": 100000, "cpus": "0" } }'
oci run --keep -b "$work/cpu" cpu > /dev/null 2>&1 < /dev/null
stat=$(counter cpu cpu cpu.stat)
if [ $unified = yes ]; then usage=$(sed -n 's/^usage_usec //p' "$stat"); else usage=$(($(cat "$(counter cpu cpuacct cpuacct.usage)") / 1000)); fi
echo "CPU periods=$(sed -n 's/^nr_periods //p' "$stat") throttled=$(sed -n 's/^nr_throttled //p' "$stat") usage=$usage quota=$(pick "$(cut -d' ' -f1 "$(counter cpu cpu cpu.max)" 2>/dev/null)" "$(cat "$(counter cpu cpu cpu.cfs_quota_us)" 2>/dev/null)") cpus=$(cat "$(counter cpu cpuset cpuset.cpus)")"
oci delete cpu

number=$(cat "$(ls -d /sys/block/* | tail -1)/dev")
bundle disk 'true' "{ \"blockIO\": { \"throttleWriteBpsDevice\": [{ \"major\": ${number%:*}, \"minor\": ${number#*:}, \"rate\": 1048576 }] } }"
oci run --keep -b "$work/disk" disk > /dev/null 2>&1 < /dev/null
echo "DISK number=$number held=$(tr ' ' , < "$(counter disk blkio "$(pick io.max blkio.throttle.write_bps_device)")")"
oci delete disk

for bad in '{ "memory": { "limit": 20000000, "swap": 10000000 } }' '{ "cpu": { "cpus": "4000" } }' '{ "cpu": { "quota": 500, "period": 100000 } }' '{ "hugepageLimits": [{ "pageSize": "2MB", "limit": 1 }] }' '{ "blockIO": { "weight": 10 } }' '{ "blockIO": { "throttleReadBpsDevice": [{ "major": 8, "rate": 1 }] } }'; do
  bundle refused 'echo never' "$bad"
  out=$(run refused 2>&1); echo "REFUSED code=$? left=$(ls "$work/state" | wc -l) message=$(tr '\n' ' ' <<<"$out")"
done

bundle life 'echo started; sleep 60'
oci create -b "$work/life" --pid-file "$work/pid" life < /dev/null > "$work/life.out" 2>&1
status() { oci state life | sed -n 's/.*"status": "\(.*\)".*/\1/p'; }
line="LIFE created=$(status) silent=$(wc -c < "$work/life.out") pid=$(test "$(cat "$work/pid")" -gt 0 && echo yes) sealed=$(test -w "/proc/$(cat "$work/pid")/exe" || echo yes)"
oci start life; line="$line start=$? running=$(status)"
oci start life 2> /dev/null; line="$line again=$?"
oci delete life 2> /dev/null; line="$line delete=$?"
oci kill life KILL; line="$line kill=$?"
for i in $(seq 100); do [ "$(status)" != running ] || sleep 0.1; done
line="$line then=$(status)"
oci delete life; oci state life 2> /dev/null; echo "$line gone=$?"

bundle badstart 'true'; sed -i 's/"args": \["sh"/"args": ["no-such-program"/' "$work/badstart/config.json"
oci create -b "$work/badstart" badstart < /dev/null; out=$(oci start badstart 2>&1); echo "BADSTART code=$? message=$out"; oci delete -f badstart

# What the host mounts later is seen where that was asked for, and only there.
mkdir "$work/host"; mount -t tmpfs none "$work/host"; mount --make-shared "$work/host"; mkdir "$work/host/sub"
bundle follow 'while [ ! -e /slave/go ]; do sleep 0.1; done; cat /slave/sub/word /private/sub/word /plain/sub/word'
for mount in 'slave ,"rslave"' 'private ,"rprivate"' 'plain '; do
  sed -i "s#\"mounts\": \[#&{ \"destination\": \"/${mount% *}\", \"type\": \"bind\", \"source\": \"$work/host\", \"options\": [\"rbind\"${mount#* }] },#" "$work/follow/config.json"
done
run follow > "$work/follow.out" 2>&1 < /dev/null & follow=$!
for i in $(seq 100); do oci state follow 2> /dev/null | grep -q running && break; sleep 0.1; done
mount -t tmpfs none "$work/host/sub"; echo seen > "$work/host/sub/word"; touch "$work/host/go"
wait $follow
echo "FOLLOW seen=$(grep -cx seen "$work/follow.out") unseen=$(grep -c 'No such file' "$work/follow.out")"
umount "$work/host/sub"; umount "$work/host"
bundle shared true; sed -i "s#\"mounts\": \[#&{ \"destination\": \"/s\", \"type\": \"bind\", \"source\": \"$work\", \"options\": [\"rbind\", \"rshared\"] },#" "$work/shared/config.json"
err=$(run shared 2>&1); echo "SHARED code=$? message=$err"

# What is no id reaches no file: neither the state of others nor a directory beside it.
mkdir -p "$work/beside" "$work/state/other"
for id in '' . .. ../beside ../state/other /tmp; do oci delete -f "$id" 2> /dev/null && echo "took $id" >&2; done
echo "IDS beside=$(test -d "$work/beside" && echo kept) other=$(test -d "$work/state/other" && echo kept) message=$(oci delete -f ../beside 2>&1)"
rmdir "$work/state/other"

# Whoever closes standard streams gives the container /dev/null, never a file of the runtime.
bundle closed 'for i in 0 1 2; do readlink /proc/self/fd/$i; done > /tmp/streams'; mkdir -p "$root/tmp"
run closed <&- >&- 2>&-; echo "STREAMS null=$(grep -cx /dev/null "$root/tmp/streams") lines=$(wc -l < "$root/tmp/streams")"

# A root whose mount points are links to elsewhere: they lead inside, never to the host.
mkdir -p "$work/evil/bin" "$work/outside"; cp -a "$root/bin/." "$work/evil/bin/"
ln -s "$work/outside" "$work/evil/dev"; ln -s /../../../../../../../../etc "$work/evil/sys"
bundle trap true; sed -i "s#\"path\": \"$root\"#\"path\": \"$work/evil\"#" "$work/trap/config.json"
run trap > /dev/null 2>&1; echo "EVIL outside=$(ls -A "$work/outside" | wc -l) etc=$(grep -c "$work" /proc/self/mounts)"

# A user namespace: root inside is nobody outside, what it has made for it is its own, and volumes keep their owners.
mapped=$work/mapped; cp -a "$root" "$mapped"; mkdir -p "$mapped/volume"; chown -hR 200000:200000 "$mapped"
mkdir "$work/volume"; echo kept > "$work/volume/private"; chmod 600 "$work/volume/private"
# users NAME COMMAND: a bundle with a user namespace
users() {
  bundle "$1" "$2"
  sed -i "s#\"path\": \"$root\"#\"path\": \"$mapped\"#; s#{ \"type\": \"pid\" }#&, { \"type\": \"user\" }#; s#\"cgroupsPath\"#\"uidMappings\": [{ \"containerID\": 0, \"hostID\": 200000, \"size\": 1000 }], \"gidMappings\": [{ \"containerID\": 0, \"hostID\": 200000, \"size\": 1000 }], &#" "$work/$1/config.json"
}
users rootless 'grep -E ^CapEff: /proc/self/status; echo map $(cat /proc/self/uid_map); stat -c dev-%u /dev /dev/null /dev/shm; mkdir /dev/mine && echo made-dev; echo again > /dev/stdout; mount -t tmpfs none /dev/shm || echo no-mount; touch /made; cat /proc/1/environ > /dev/null && echo own-proc; sleep 60'
oci create -b "$work/rootless" --pid-file "$work/rootless.pid" rootless < /dev/null 2>&1 | cat > "$work/rootless.out" & out=$!
until [ -s "$work/rootless.pid" ]; do sleep 0.1; done; pid=$(cat "$work/rootless.pid")
oci start rootless; until grep -q own-proc "$work/rootless.out"; do sleep 0.1; done
echo "USERS map=$(sed -n 's/^map //p' "$work/rootless.out" | tr ' ' :) host=$(sed -n 's/^Uid:\t\([0-9]*\).*/\1/p' "/proc/$pid/status") group=$(sed -n 's/^Gid:\t\([0-9]*\).*/\1/p' "/proc/$pid/status") effective=$(sed -n 's/^CapEff:\t0*//p' "$work/rootless.out") devices=$(grep -cx dev-0 "$work/rootless.out") dev=$(grep -cx made-dev "$work/rootless.out") stdout=$(grep -cx again "$work/rootless.out") mount=$(grep -cx no-mount "$work/rootless.out") made=$(stat -c %u "$mapped/made")"
oci delete -f rootless; wait $out
# Its network is its own as well: raw packets, and interfaces.
users pings 'ping -c 1 -W 10 127.0.0.1; ip link set lo down && echo is-down'
sed -i 's/"CAP_KILL"\]/"CAP_KILL", "CAP_NET_RAW", "CAP_NET_ADMIN"]/g' "$work/pings/config.json"
said=$(run pings 2>&1 < /dev/null); echo "PINGS code=$? received=$(grep -c ' 1 packets received' <<<"$said") down=$(grep -cx is-down <<<"$said") message=$said"
users volume 'cat /volume/private; touch /volume/new; stat -c inside-%u /volume/private'
sed -i "s#\"mounts\": \[#&{ \"destination\": \"/volume\", \"type\": \"bind\", \"source\": \"$work/volume\", \"options\": [\"rbind\", \"idmap\"] },#" "$work/volume/config.json"
said=$(run volume 2>&1 < /dev/null); echo "MAPPED code=$? kept=$(grep -cx kept <<<"$said") inside=$(sed -n 's/^inside-//p' <<<"$said") made=$(stat -c %u "$work/volume/new" 2> /dev/null) kind=$(stat -f -c %T "$work/volume") message=$said"
for change in 's/"size": 1000 }\], "gid/"size": 0 }], "gid/' 's/"containerID": 0, "hostID": 200000, "size": 1000 }\], "gid/"containerID": 5, "hostID": 200000, "size": 1000 }], "gid/' 's/, { "type": "user" }//' 's/"user": { "uid": 0/"user": { "uid": 1000/'; do
  users wrong true; sed -i "$change" "$work/wrong/config.json"
  said=$(run wrong 2>&1); echo "BADMAP code=$? message=$said"
done

# What a container that may make any node can open: a null device, a disk, and the kernel's log (c 1:11), which is there everywhere.
mkdir -p "$root/tmp"
for rules in '' '{ "allow": false, "access": "rwm" }, { "allow": true, "type": "c", "major": 1, "minor": 11, "access": "w" }' '{ "allow": true, "access": "rwm" }' '{ "allow": true }, { "allow": false, "type": "c", "major": 1, "minor": 11 }' '{ "allow": true, "type": "c" }, { "allow": false, "type": "c", "major": 1, "minor": 11 }'; do
  rm -f "$root"/tmp/*
  bundle nodes 'cd /tmp; mknod null c 1 3; mknod disk b 7 0 && echo made-disk; echo x > null && echo null; dd if=disk count=1 2>&1 | grep -q permitted && echo disk-denied; mknod log c 1 11 && { (: > log) && echo log-written; (: < log) && echo log-read; }' "{ \"devices\": [$rules] }"
  sed -i 's/"CAP_CHOWN", "CAP_KILL"/"CAP_MKNOD", "CAP_SYSLOG"/; s/"CAP_KILL"/"CAP_MKNOD", "CAP_SYSLOG"/g' "$work/nodes/config.json"
  said=$(run nodes 2> "$work/err" < /dev/null); echo "DEVICES code=$? can=$(tr '\n' ',' <<<"$said") message=$(head -n 1 "$work/err")"
done
rm -f "$root"/tmp/*
