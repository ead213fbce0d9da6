# What depends on the size of the kernel's pages. Runs on the board, behind own-daemon.sh, with a broker. Prints lines
# "CHECK key=value ..." that the tests compare.

group=/sys/fs/cgroup/$name
line() { tr '\n ' ,/ | sed 's/,$//'; }
state() { edgehost inspect -f '{{.State.Status}},{{.State.OOMKilled}},{{.State.ExitCode}}' "$1"; }

edgehost check --data-dir "$work/data" > "$work/check" || cat "$work/check"
echo "BOARD page=$(sed -n 's/^KernelPageSize: *\([0-9]*\) kB/\1/p' /proc/$daemon/smaps | head -1) check=$(grep -c '^This board will do' "$work/check")"

box=$(edgehost run -d --name box --init -m 32m --memory-reservation 20000000 --cpus 0.5 --pids-limit 20 "$image" sh -c 'echo hello; sleep 1000')
edgehost exec box sh -c 'head -c 8388608 /dev/zero > /dev/shm/file'
echo "LIMITS $(cd "$group/$box" && cat memory.max memory.low memory.swap.max cpu.max pids.max | line) seen=$(edgehost exec box cat /sys/fs/cgroup/memory.max) shm=$(sed -n 's/^shmem //p' "$group/$box/memory.stat") log=$(edgehost logs box) first=$(cat /proc/$(edgehost inspect -f '{{.State.Pid}}' box)/comm)"
code=0
edgehost run --name hog --network none -m 24m "$image" tail /dev/zero 2> /dev/null || code=$?
echo "OOM code=$code hog=$(state hog) box=$(state box)"

# The smallest limits.
for limit in 256k 384k; do
  echo "{\"workloads\": {\"least\": {\"image\": \"localhost/busybox:latest\", \"pull_policy\": \"never\", \"command\": [\"/bin/busybox\", \"sleep\", \"1\"], \"mem_limit\": \"$limit\", \"cpus\": 1, \"network_mode\": \"none\"}}}" > "$work/least.json"
  edgehost apply -f "$work/least.json" > /dev/null
  least=$(edgehost ps -aq --filter label=io.edgehost.workload=least)
  edgehost wait "$least" > /dev/null
  echo "LEAST $limit $(state "$least")"
done
