#!/bin/bash
# Runs on an amd64 board whose disk /dev/vdb is recorded: the scenarios whose cuts are replayed, each a few lines.
#
#   promise THING VALUE          from here on it must be so, whatever happens: it was acknowledged
#   allow THING VALUE            from here on it may be so, too: it was asked for
#   becomes THING VALUE COMMAND  allow, the command, promise
#
# THING is image/NAME (whole), container/NAME (running, exited, created), volume/NAME and network/NAME (there), device
# (its id), password (the operator's) and deployment (its version and what runs of it); VALUE is - for what is not there. What no scenario has
# told of must not be there. Promises.cs reads this again.
set -eu -o pipefail
exec 2>&1
set -x
share=/mnt/share data=/mnt/data/edgehost registry=127.0.0.1:5000 after=$((256 << 11))

tell() {
  { set +x; } 2>/dev/null
  printf '%-511s\n' "$1 $2 $3" >/tmp/told
  # Past the page cache, as one write of one sector.
  dd if=/tmp/told of=/dev/vdb bs=512 count=1 seek=$after oflag=direct conv=notrunc status=none
  set -x
}
promise() { tell promise "$1" "$2"; }
allow() { tell allow "$1" "$2"; }
becomes() {
  local thing=$1 value=$2
  shift 2
  allow "$thing" "$value"
  "$@"
  promise "$thing" "$value"
}
scenario() { tell scenario "$1" begins; }

start() {
  edgehost daemon --data-dir $data >/tmp/daemon.log 2>&1 &
  daemon=$!
  until grep -q 'Connected to broker' /tmp/daemon.log && edgehost info >/dev/null 2>&1; do
    kill -0 $daemon
    sleep 0.05
  done
}
stop() {
  kill -TERM $daemon
  wait $daemon
}
# deploy VERSION NAME=N@TAG…, in the order of their names: workload NAME of image app:TAG with N in its environment. As
# process 1, sleep hears no SIGTERM.
deploy() {
  local version=$1 each name number separator='' workloads='' value=$1
  shift
  for each in "$@"; do
    name=${each%%=*} number=${each#*=}
    workloads+="$separator\"$name\": {\"image\": \"$registry/app:${each#*@}\", \"environment\": {\"N\": \"${number%@*}\"}, \"command\": [\"sleep\", \"100000\"],
      \"mem_limit\": \"16m\", \"cpus\": 0.2, \"stop_signal\": \"SIGKILL\"}"
    value+=/$each separator=,
  done
  echo "{\"version\": $version, \"workloads\": {$workloads}}" >/tmp/desired.json
  becomes deployment "$value" edgehost deploy /tmp/desired.json
}
run() { # NAME OPTIONS…
  allow "container/$1" created
  becomes "container/$1" running edgehost run -d --network none --name "$@"
}

trap 'cat /tmp/daemon.log' EXIT
install -D $share/edgehost /usr/local/bin/edgehost
install -D $share/edgehost.json /etc/edgehost/edgehost.json
mount -o noatime /dev/vdb /mnt/data
# What nobody flushes is written soon, too, so that there is more to lose and to tear.
echo 50 >/proc/sys/vm/dirty_writeback_centisecs
echo 100 >/proc/sys/vm/dirty_expire_centisecs
# The registry beside the board has the same name here and where a cut is replayed.
echo 1 >/proc/sys/net/ipv4/conf/all/route_localnet
nft "table ip registry {
  chain out { type nat hook output priority -100; ip daddr 127.0.0.1 tcp dport 5000 dnat to 10.0.2.2; }
  chain back { type nat hook postrouting priority 100; ip daddr 10.0.2.2 masquerade; }
}"
mkdir $data
sync

scenario first-start
start
promise device "$(cat $data/device-id)"
promise password "$(grep -o '"password":"[^"]*"' $data/broker/operator.json)"

scenario pull
becomes image/$registry/app:1 whole edgehost pull -q $registry/app:1
becomes image/$registry/app:2 whole edgehost pull -q $registry/app:2

scenario unpack
becomes image/localhost/busybox:latest whole edgehost load -q -i $share/busybox.tar

scenario deployment-switch
deploy 1 other=1@1 web=1@1
deploy 2 other=1@1 web=2@2
deploy 3 more=1@2 web=3@1

scenario stop-and-removal
run kept --restart unless-stopped $registry/app:1 sleep 1000
becomes container/kept exited edgehost stop -t 0 kept
becomes container/kept running edgehost start kept
run again --restart always $registry/app:2 sleep 1000
becomes container/again - edgehost rm -f again
becomes volume/box there edgehost volume create box
becomes network/inner there edgehost network create --internal inner
becomes network/inner - edgehost network rm inner
becomes volume/box - edgehost volume rm box

scenario image-removal
becomes image/$registry/app:3 whole edgehost pull -q $registry/app:3
becomes image/$registry/app:3 - edgehost rmi $registry/app:3
becomes image/localhost/busybox:latest - edgehost rmi localhost/busybox:latest

scenario database
for i in 1 2 3 4; do
  # Without a restart policy it is written with the next batch.
  for value in created -; do allow container/plain$i $value; done
  edgehost create --name plain$i --network none $registry/app:1 true
  sleep 0.3
done
stop
for i in 1 2 3 4; do promise container/plain$i created; done
start
allow container/plain1 -
edgehost rm plain1
stop
promise container/plain1 -
start

scenario log-rotation
run chatty --restart always $registry/app:1 \
  sh -c 'i=0; while [ $i -lt 6000 ]; do i=$((i+1)); echo "line $i of a log that is rotated"; done; exec sleep 1000'
until edgehost logs --tail 1 chatty | grep -q 'line 6000 '; do sleep 0.1; done

scenario second-boot
# Nothing of what ran is left, and the next daemon sees another boot: its own writes are cut off, too.
shepherd=$(cat /run/edgehost/shepherd.lock)
kill -KILL $daemon $shepherd $(pgrep -P $shepherd)
wait $daemon || :
rm -rf /run/edgehost
cat /proc/sys/kernel/random/uuid >/tmp/boot
mount --bind /tmp/boot /proc/sys/kernel/random/boot_id
start
until [ "$(edgehost ps -q | wc -l)" = 4 ]; do sleep 0.1; done

scenario end
sync
trap - EXIT
