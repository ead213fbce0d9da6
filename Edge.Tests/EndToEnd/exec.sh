# Programs in running containers, terminals, standard input and an init, with the kernel's view of them. Runs on this
# machine and on the board alike, behind own-daemon.sh. Prints lines "CHECK key=value ..." that the tests compare.
box=$(edgehost run -d --name box --network none -m 32m --pids-limit 20 -u 1234:99 "$image" sleep 1000)

# In the container's cgroup, and in no other.
edgehost exec -d box sleep 1001
edgehost exec box sh -c 'until pidof sleep | grep -q " "; do :; done'
procs=$(find "/sys/fs/cgroup/$([ $unified = yes ] || echo memory/)$name/$box" -name cgroup.procs -exec cat {} + | wc -l)
code=0
edgehost exec box sh -c 'exit 7' || code=$?
missing=0
edgehost exec box no-such-program 2> /dev/null || missing=$?
echo "EXEC procs=$procs code=$code missing=$missing user=$(edgehost exec box id -u) input=$(printf 'a\nb\n' | edgehost exec -i box wc -l) filter=$(edgehost exec box sed -n 's/^Seccomp:\t//p' /proc/self/status)"

echo "TERMINAL exec=$(edgehost exec -t box sh -c 'tty <&1; stat -c %u /dev/pts/0' | tr -d '\r' | tr '\n' ,) run=$(edgehost run --rm -t --network none "$image" sh -c 'tty <&1' | tr -d '\r')"

sum=$(head -c 20000000 /dev/urandom | tee "$work/bytes" | sha256sum)
same=no
[ "$sum" = "$(edgehost exec -i box cat < "$work/bytes" | sha256sum)" ] && [ "$sum" = "$(edgehost run --rm -i --network none "$image" cat < "$work/bytes" | sha256sum)" ] && same=yes
echo "BYTES same=$same"

# Its own end for want of memory is not that of the container, whose own is said to be, and is that of all in it in v2.
code=0
edgehost exec -u 0 box tail /dev/zero 2> "$work/why" || code=$?
edgehost run -d --name hungry --network none -m 16m "$image" sh -c 'tail /dev/zero; exit 5' > /dev/null
edgehost run -d --name greedy --network none -m 16m "$image" tail /dev/zero > /dev/null
edgehost wait hungry greedy > "$work/codes"
state() { edgehost inspect -f '{{.State.Status}},{{.State.OOMKilled}}' "$1"; }
echo "OOM unified=$unified code=$code said=$(grep -c 'memory limit of the container was reached' "$work/why") box=$(state box) hungry=$(state hungry) greedy=$(state greedy) codes=$(tr '\n' , < "$work/codes")"

edgehost run -d --name first --init --network none "$image" sh -c 'trap "exit 9" TERM; sleep 1000 & wait' > /dev/null
first=$(edgehost exec first cat /proc/1/comm)
edgehost stop first > /dev/null
echo "INIT first=$first code=$(edgehost inspect -f '{{.State.ExitCode}}' first)"

mapped=none
if edgehost run -d --name mapped --userns auto --network none "$image" sleep 1000 > /dev/null 2> "$work/why"; then
  mapped=$(edgehost exec -t -u 5 mapped sh -c 'id -u; stat -c %u /dev/pts/0; grep -c " 65536$" /proc/self/uid_map' | tr -d '\r' | tr '\n' ,)
else
  cat "$work/why" >&2
fi
echo "MAPPED $mapped"
edgehost rm -f box first > /dev/null
