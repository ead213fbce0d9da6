# What a person meets on a kernel that cannot make networks. Runs behind own-daemon.sh.
try() { local as=$1 said code=0; shift; said=$("$@" 2>&1) || code=$?; echo "$as rc=$code $said"; }

try CHECK edgehost check --data-dir "$work/data"
try RUN edgehost run --rm "$image" true
try PUBLISHED edgehost run --rm -p 80:80 "$image" true
try NETWORK edgehost network create somewhere
try NONE edgehost run --rm --network none "$image" echo works
try HOST edgehost run --rm --network host "$image" echo works
echo "AFTER containers=$(edgehost ps -aq | wc -l) interfaces=$(ls /sys/class/net | tr '\n' ' ')"
