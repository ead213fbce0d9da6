# What the scripts beside it begin with: a daemon of their own, with the image of the tar that is their first argument,
# and what is left of it when they end. Its broker runs where $broker says what of it. Needs: edgehost on the path, root.
set -eu
tar=$1
work=$(mktemp -d /tmp/script-XXXXXX)
name=edgehost-${work##*/}
export EDGEHOST_HOST=unix://$work/run/edgehost.sock
unified=$([ -f /sys/fs/cgroup/cgroup.controllers ] && echo yes || echo no)
daemon=
end() {
  set +e
  [ -z "$daemon" ] || { edgehost rm -f $(edgehost ps -aq) > "$work/rm" 2>&1; kill "$daemon"; wait "$daemon"; }
  shepherd=$(cat "$work/run/shepherd.lock")
  kill "$shepherd"
  tail --pid="$shepherd" -f /dev/null
  find /sys/fs/cgroup -depth -path "*/$name*" -type d -exec rmdir {} + 2> /dev/null
  echo "LEFT cgroups=$(find /sys/fs/cgroup -path "*/$name*" -type d | wc -l) mounts=$(grep -c "$work" /proc/self/mounts)"
  rm -rf "$work"
}
trap end EXIT

echo "{ \"cgroupRoot\": \"$name\", \"broker\": { ${broker:-\"enabled\": false} } }" > "$work/edgehost.json"
mkfifo "$work/log"
edgehost daemon --config "$work/edgehost.json" --data-dir "$work/data" --run-dir "$work/run" 2> "$work/log" &
daemon=$!
exec 3< "$work/log"
while read -r line <&3; do
  case $line in *"ready; the API"*) break ;; esac
  echo "$line" >&2
done
cat <&3 >&2 &
edgehost load -i "$tar" > /dev/null
image=$(edgehost images -q)
