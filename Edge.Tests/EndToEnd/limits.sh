# What cgroup v2 holds, limit by limit, by the kernel's own counters. Runs on the board, behind own-daemon.sh. Prints
# lines "CHECK key=value ..." that the tests compare.

group=/sys/fs/cgroup/$name
value() { sed -n "s/^$2 //p" "$1"; }
start() { local as=$1; shift; edgehost run -d --name "$as" --network none "$@"; }
state() { edgehost inspect -f '{{.State.Status}},{{.State.OOMKilled}},{{.State.ExitCode}}' "$1"; }
first() { edgehost inspect -f '{{.State.Pid}}' "$1"; }
kills() { value /proc/vmstat oom_kill; }
line() { tr '\n' , | sed 's/,$//'; }
ends() { code=0; "$@" > "$work/out" 2> "$work/why" || code=$?; }
says() { until edgehost logs "$1" 2>&1 | grep -q "$2"; do :; done; }
mkdir "$work/in"

# A program looks for its limits where its cgroup namespace begins.
box=$(start box -m 32m --cpus 0.5 --pids-limit 20 "$image" sleep 1000)
limits='cd /sys/fs/cgroup; cat memory.max memory.swap.max cpu.max pids.max'
pid=$(first box)
seen=$(edgehost exec box sh -c "$limits" | line)
edgehost update -m 40m --cpus 0.25 --pids-limit 30 box > /dev/null
echo "SEEN updated=$(edgehost exec box sh -c "$limits" | tr ' ' / | line) held=$(cd "$group/$box" && cat memory.max memory.swap.max cpu.max pids.max | tr ' ' / | line) made=$(tr ' ' / <<< "$seen")"

# When the board itself is out of memory, who holds the containers goes last, and none of them can have itself spared.
shepherd=$(cat "$work/run/shepherd.lock")
logger=$(pgrep -P "$shepherd" -f '^edgehost logger')
spared() { cat "/proc/$1/oom_score_adj"; }
echo "SPARED daemon=$(spared "$daemon") shepherd=$(spared "$shepherd") logger=$(spared "$logger") box=$(spared "$pid") exec=$(edgehost exec box cat /proc/self/oom_score_adj) lowered=$(edgehost exec box sh -c 'echo -1 > /proc/self/oom_score_adj' 2> /dev/null && echo yes || echo no)"

# Two megabytes for a thread's stack are too many for who holds the containers; these have what the board gives to all.
huge() { sed -n 's/^THP_enabled:\t//p' "$1"; }
echo "HUGE daemon=$(huge "/proc/$daemon/status") shepherd=$(huge "/proc/$shepherd/status") logger=$(huge "/proc/$logger/status") box=$(huge "/proc/$pid/status") exec=$(edgehost exec box sed -n 's/^THP_enabled:\t//p' /proc/self/status)"

# An end for want of memory is that of the container's own processes, all of them, and of nothing else on the board.
hog=$(start hog -m 24m -v "$work/in:/in" "$image" sh -c 'sleep 1000 & sleep 1001 & until [ -e /in/go ]; do sleep 0.2; done; tail /dev/zero; echo outlived')
edgehost exec -d hog sleep 1002
edgehost exec hog sh -c 'until [ $(pidof sleep | wc -w) -ge 3 ]; do sleep 0.1; done'
before=$(kills) groups=$(value "$group/memory.events" oom_group_kill)
touch "$work/in/go"
edgehost wait hog > /dev/null
echo "GROUP killed=$(($(kills) - before)) groups=$(($(value "$group/memory.events" oom_group_kill) - groups)) hog=$(state hog) outlived=$(edgehost logs hog | grep -c outlived) box=$(state box) same=$([ "$pid" = "$(first box)" ] && echo yes) daemon=$(edgehost info > /dev/null && echo answers) left=$(find "$group" -path "*$hog*" | wc -l)"

# That of a program which was started in it later is its own.
before=$(kills) groups=$(value "$group/memory.events" oom_group_kill)
ends edgehost exec box tail /dev/zero
echo "EXEC code=$code said=$(grep -c 'memory limit of the container was reached' "$work/why") killed=$(($(kills) - before)) groups=$(($(value "$group/memory.events" oom_group_kill) - groups)) box=$(state box) same=$([ "$pid" = "$(first box)" ] && echo yes)"

# One that an older version started has one cgroup, in which all of its processes are.
(cd "$group/$box" && for controller in $(cat cgroup.subtree_control); do echo "-$controller" > cgroup.subtree_control; done
 rmdir exec; while read -r each; do echo "$each" > cgroup.procs; done < init/cgroup.procs; rmdir init)
ends edgehost exec box sh -c 'head -c 300 /dev/zero | wc -c'
was=$(line < "$work/out")
edgehost update --pids-limit 25 box > /dev/null
edgehost pause box > /dev/null; frozen=$(value "$group/$box/cgroup.events" frozen); edgehost unpause box > /dev/null
ends edgehost exec box tail /dev/zero
echo "OLDER exec=$was pids=$(cat "$group/$box/pids.max") frozen=$frozen oom=$code,$(state box) stats=$(edgehost stats --no-stream box | grep -c 40MiB)"
edgehost stop -t 1 box > /dev/null
echo "STOPPED $(state box) left=$(find "$group" -path "*$box*" | wc -l)"

# What a container makes beneath its own cgroup goes with it.
nest=$(start nest --privileged "$image" sh -c 'mount -o remount,rw /sys/fs/cgroup; mkdir -p /sys/fs/cgroup/a/b && echo 1 > /sys/fs/cgroup/a/b/cgroup.procs; sleep 1000')
until grep -qs . "$group/$nest/init/a/b/cgroup.procs"; do edgehost inspect -f '{{.State.Status}}' nest | grep -q running; done
edgehost pause nest > /dev/null; frozen=$(value "$group/$nest/init/a/b/cgroup.events" frozen); edgehost unpause nest > /dev/null
edgehost rm -f nest > /dev/null
echo "NESTED frozen=$frozen left=$(find "$group" -path "*$nest*" | wc -l)"

# A disk of the board, of which nobody was told.
modprobe zram; disk=/dev/zram0
echo 64M > /sys/block/zram0/disksize
mkswap "$disk" > /dev/null

# A node that a container makes itself opens nothing that it was not given, for exec as for its own program; what it was
# given opens as far as it was.
node="mknod /tmp/d b $((0x$(stat -c %t "$disk"))) $((0x$(stat -c %T "$disk")))"
look='dd bs=512 count=1 of=/dev/null'
start closed --cap-add MKNOD "$image" sh -c "$node; $look if=/tmp/d; $look if=/dev/zero; sleep 1000" > /dev/null
start open --device "$disk:/dev/d:r" "$image" sleep 1000 > /dev/null
says closed '1+0 records out'
ends edgehost exec closed sh -c "$look if=/tmp/d; $look if=/dev/zero"
tried() { grep -o 'not permitted\|1+0 records in' | tr ' \n' -,; }
echo "DEVICE own=$(edgehost logs closed 2>&1 | tried) exec=$(tried < "$work/why") given=$(edgehost exec open $look if=/dev/d 2>&1 | tried) beyond=$(edgehost exec open dd if=/dev/zero of=/dev/d count=1 2>&1 | tried)"
edgehost rm -f closed open > /dev/null

# Behind a limit swap is not used, but by whom it was given to.
swapon "$disk"
forty='dd if=/dev/zero of=/dev/null bs=40M count=1 2> /dev/null && echo done'
ends edgehost run --network none --name strict -m 24m "$image" sh -c "$forty"
strict=$code,$(cat "$work/out")
used=$(awk -v disk="$disk" '$1 == disk { print $4 }' /proc/swaps)
ends edgehost run --network none --name asked -m 24m --memory-swap 64m "$image" sh -c "$forty"
echo "SWAP strict=$strict,$(state strict) used=$used asked=$code,$(cat "$work/out")"
swapoff "$disk"

# How fast it may write, past all caches: what the kernel has counted of it in the time that went by.
up() { cut -d' ' -f1 /proc/uptime | tr -d .; }
wrote() { sed -n "s/^$numbers .*$1=\([0-9]*\).*/\1/p" "$2/io.stat"; }
numbers=$(lsblk -dno MAJ:MIN "$disk" | tr -d ' ')
bytes=$(start bytes --device "$disk:/dev/d" --device-write-bps "$disk:2m" "$image" sh -c 'while :; do dd if=/dev/zero of=/dev/d bs=64k count=512 oflag=direct 2> /dev/null; done')
writes=$(start writes --device "$disk:/dev/d" --device-write-iops "$disk:20" --device-read-bps "$disk:3m" "$image" sh -c 'while :; do dd if=/dev/zero of=/dev/d bs=4k count=512 oflag=direct 2> /dev/null; done')
until [ -n "$(wrote wbytes "$group/$bytes")" ] && [ -n "$(wrote wios "$group/$writes")" ]; do :; done
at=$(up) one=$(wrote wbytes "$group/$bytes") two=$(wrote wios "$group/$writes")
sleep 8
at=$(($(up) - at)) one=$(($(wrote wbytes "$group/$bytes") - one)) two=$(($(wrote wios "$group/$writes") - two))
echo "DISK bytes=$one writes=$two hundredths=$at bytes-held=$(sed "s/^$numbers //" "$group/$bytes/io.max" | tr ' ' ,) writes-held=$(sed "s/^$numbers //" "$group/$writes/io.max" | tr ' ' ,)"
edgehost rm -f bytes writes > /dev/null
ends edgehost run --network none --device-read-bps /dev/none:1m "$image" true
none=$(cat "$work/why")
ends edgehost run --network none --device-read-bps /dev/zero:1m "$image" true
echo "NODISK none=$none zero=$(cat "$work/why")"

# What is read from a disk counts, and is given back when the limit is reached: nobody is killed for it.
sync; echo 3 > /proc/sys/vm/drop_caches
reader=$(start reader -m 24m -v /usr:/host:ro "$image" sh -c 'find /host/bin /host/lib -type f -size +100k -exec cat {} + | wc -c; sleep 1000')
until edgehost logs reader | grep -q .; do :; done
cd "$group/$reader"
echo "CACHE read=$(edgehost logs reader) peak=$(cat memory.peak) file=$(value memory.stat file) reached=$(value memory.events max) kills=$(value memory.events oom_kill) state=$(state reader)"
cd /; edgehost rm -f reader > /dev/null

# A quota, with two that want all they can get, from the beginning of a period to that of another. Nothing is started
# meanwhile that would take from them.
one=$(start one --cpus 0.3 --cpuset-cpus 0 "$image" sh -c 'while :; do :; done')
two=$(start two --cpus 0.6 --cpuset-cpus 1 "$image" sh -c 'while :; do :; done')
mkfifo "$work/never"; exec 7<> "$work/never"
take() { # CONTAINER NAME-OF-AN-ARRAY
  local -n taken=$2
  local key number from=
  while :; do
    while read -r key number; do taken[$key]=$number; done < "$group/$1/cpu.stat"
    [ "${taken[nr_periods]}" = "${from:=${taken[nr_periods]}}" ] || return 0
    read -rt 0.01 -u 7 || true
  done
}
declare -A one_at one_then two_at two_then
say() { # QUOTA NAME NAME
  local -n at=$2 then=$3
  echo "CPU$1 usage=$((then[usage_usec] - at[usage_usec])) periods=$((then[nr_periods] - at[nr_periods])) throttled=$((then[nr_throttled] - at[nr_throttled])) time=$((then[throttled_usec] - at[throttled_usec]))"
}
read -rt 2 -u 7 || true
# The host of an emulated board may be busy with other things, and its CPUs with it: then a container neither runs nor is held
# back. The first undisturbed time is what counts.
undisturbed() { # NAME NAME
  local -n at=$1 then=$2
  local periods=$((then[nr_periods] - at[nr_periods]))
  local told=$((then[usage_usec] - at[usage_usec] + then[throttled_usec] - at[throttled_usec]))
  [ $((then[nr_throttled] - at[nr_throttled])) = $periods ] && [ $told -ge $((periods * 98000)) ]
}
for round in 1 2 3 4 5 6; do
  take "$one" one_at; take "$two" two_at
  read -rt 10 -u 7 || true
  take "$one" one_then; take "$two" two_then
  say 30 one_at one_then; say 60 two_at two_then
  if undisturbed one_at one_then && undisturbed two_at two_then; then break; fi
done
edgehost rm -f one two > /dev/null
