#!/bin/sh
# A page with the latest reading of each topic beneath the telemetry of the board, for a browser beside it.
#
#   DASHBOARD_FILTERS   what to show, as in "climate/# sensor/#": what "mqtt": {"subscribe": […]} grants, too
#   DASHBOARD_TITLE     what stands above it (the host name)
#   DASHBOARD_PORT      where it listens (8080)

# As process 1 it must ask for the signal: the kernel gives process 1 none that it does not handle.
trap 'exit 0' TERM INT
most=100 topics=0 page=/tmp/page readings=/tmp/readings

# What a workload says is text, and nothing of the page.
text() { sed 's/&/\&amp;/g; s/</\&lt;/g; s/>/\&gt;/g'; }

draw() {
  {
    echo "<!doctype html><meta charset=utf-8><meta http-equiv=refresh content=5><title>$title</title>"
    echo '<style>body{font:16px sans-serif;margin:2em}td{padding:.3em 1em;border-bottom:1px solid #ccc}</style>'
    echo "<h1>$title</h1><table>"
    for reading in "$readings"/*; do
      [ ! -f "$reading" ] || cat "$reading"
    done
    echo "</table><p>$(date -u '+%F %T UTC')"
  } >"$page/new"
  # A browser sees the one or the other.
  mv "$page/new" "$page/index.html"
}

mkdir -p "$page" "$readings"
title=$(printf %s "${DASHBOARD_TITLE:-$(hostname)}" | text)
draw
httpd -p "${DASHBOARD_PORT:-8080}" -h "$page"
echo "the page is at port ${DASHBOARD_PORT:-8080}"

address=${EDGEHOST_MQTT_URL:?give it a broker by mqtt in the desired state}
address=${address#mqtt://} root=${EDGEHOST_MQTT_TOPIC%/*}
set -f
filters=
for filter in $DASHBOARD_FILTERS; do filters="$filters -t $root/$filter"; done
set +f
# shellcheck disable=SC2086
mosquitto_sub -h "${address%:*}" -p "${address##*:}" -u "$EDGEHOST_MQTT_USER" -P "$EDGEHOST_MQTT_PASSWORD" -i "$EDGEHOST_MQTT_CLIENT_ID" -F '%t %p' $filters |
  while read -r topic reading; do
    file=$readings/$(printf %s "$topic" | md5sum | cut -d' ' -f1)
    if [ ! -f "$file" ]; then
      [ $topics -lt $most ] || continue
      topics=$((topics + 1))
    fi
    echo "<tr><td>$(printf %s "${topic#"$root"/}" | text)<td>$(printf %s "$reading" | text)" >"$file"
    draw
  done &
wait $!
echo "the connection to the broker has ended" >&2
exit 1
