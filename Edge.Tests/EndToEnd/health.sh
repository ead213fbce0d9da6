# Health checks that pass, hang and flood, with the kernel's view of what they are and of what is left of them. Runs on
# this machine and on the board alike, behind own-daemon.sh. Prints lines "CHECK key=value ..." that the tests compare.
start() { local as=$1; shift; edgehost run -d --name "$as" --network none -m 32m --pids-limit 20 --health-interval 200ms --health-retries 1 "$@"; }
# until_is CONTAINER HEALTH
until_is() {
  while read -r event; do
    case $event in *"health_status: $2"*) break ;; esac
  done < <(edgehost events --since 1 --filter container="$1" --filter event=health_status)
}
# Of the cgroup that can hold processes still, and of what is beneath it.
pids() { find "/sys/fs/cgroup/$([ $unified = yes ] || echo freezer/)$name/$1" -name cgroup.procs -exec cat {} + | wc -l; }
inspect() { edgehost inspect "$1" | sed -n "s/^ *\"$2\": \"\\{0,1\\}\\(.*[^\",]\\)\"\\{0,1\\},\\{0,1\\}\$/\\1/p" | tail -1; }

look='id -u; id -g; cat /proc/self/oom_score_adj; grep -e ^Cap -e ^NoNew -e ^Seccomp: /proc/self/status; for n in mnt pid net ipc uts cgroup; do readlink /proc/self/ns/$n; done; pwd; echo "$GREETING"; for f in /proc/$$/fd/*; do echo ${f##*/}; done'
well=$(start well -u 1234:99 -w /tmp -e GREETING=hello --health-cmd "$look" "$image" sh -c "$look; exec sleep 1000")
until_is well healthy
edgehost logs well > "$work/own"
printf '%b' "$(inspect well Output)" > "$work/check"
[ -s "$work/own" ] && [ "$(cat "$work/own")" = "$(cat "$work/check")" ] && same=yes || { same=no; cat "$work/own" "$work/check" >&2; }
grep -q /health "/proc/$(edgehost inspect well | sed -n 's/^ *"Pid": \([0-9]*\),$/\1/p')/cgroup" && same=main-moved
echo "WELL lines=$(wc -l < "$work/own") same=$same"

hang=$(start hang --health-timeout 500ms --health-cmd 'setsid sleep 1001 & (sleep 1002 &); sleep 1003' "$image" sleep 1000)
until_is hang unhealthy
edgehost pause hang > /dev/null
echo "HANG exit=$(inspect hang ExitCode) left=$(pids "$hang") output=$(inspect hang Output | tr ' ' _)"
edgehost unpause hang > /dev/null

start flood --cpus 0.5 --health-timeout 1s --health-cmd yes "$image" sleep 1000 > /dev/null
until_is flood unhealthy
echo "FLOOD bytes=$(inspect flood Output | wc -c) rss=$(sed -n 's/^RssAnon:[^0-9]*\([0-9]*\) kB/\1/p' "/proc/$(cat "$work/run/shepherd.lock")/status")"

# The time that the shepherd itself takes for a check.
ticks() { awk '{ print $14 + $15 }' "/proc/$(cat "$work/run/shepherd.lock")/stat"; }
edgehost rm -f hang flood > /dev/null
before=$(ticks)
sleep 10
echo "COST percent=$((($(ticks) - before) / 10)) interval=200ms containers=1"
edgehost pause well > /dev/null

# What it gives back once it has nothing to do is still work.
sleep 3
before=$(ticks)
sleep 5
echo "IDLE ticks=$(($(ticks) - before))"
edgehost unpause well > /dev/null
edgehost rm -f well > /dev/null
echo "GONE cgroups=$(find /sys/fs/cgroup -path "*/$name/*" -type d | wc -l)"
