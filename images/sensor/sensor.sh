#!/bin/sh
# A sensor that every machine has: prints a reading per interval as a line of JSON, until it is told to stop. Where it
# is told of a broker (EDGEHOST_MQTT_*: "mqtt": true in the desired state), it publishes each there, too.
#
#   SENSOR_NAME       what the readings are called (temperature)
#   SENSOR_INTERVAL   seconds between two readings (1)
name=${SENSOR_NAME:-temperature} interval=${SENSOR_INTERVAL:-1} zone=/sys/class/thermal/thermal_zone0/temp steps=0

byte() { printf "\\$(printf %03o "$1")"; }

text() { # two bytes of length, and the text
  size=$(printf %s "$1" | wc -c)
  byte $((size / 256))
  byte $((size % 256))
  printf %s "$1"
}

packet() { # TYPE, and the rest from standard input: MQTT 3.1.1, section 2.2
  byte "$1"
  set -- $(od -An -v -to1)
  if [ $# -lt 128 ]; then byte $#; else byte $(($# % 128 + 128)); byte $(($# / 128)); fi
  for octal; do printf "\\$octal"; done
}

publish() { # TOPIC TEXT, retained: a connection for each
  address=${EDGEHOST_MQTT_URL#mqtt://}
  {
    { text MQTT; byte 4; byte 194; byte 0; byte 60; text "$EDGEHOST_MQTT_CLIENT_ID"; text "$EDGEHOST_MQTT_USER"; text "$EDGEHOST_MQTT_PASSWORD"; } | packet 16
    { text "$1"; printf %s "$2"; } | packet 49
    byte 224
    byte 0
  } | nc -w 5 "${address%:*}" "${address##*:}" >/dev/null || echo '{"event":"not published"}'
}

# As process 1 it must ask for the signal: the kernel gives process 1 none that it does not handle.
trap 'kill $! 2>/dev/null; echo "{\"event\":\"stopped\",\"readings\":$steps}"; exit 0' TERM INT

echo "{\"event\":\"started\",\"sensor\":\"$name\",\"interval\":$interval}"
while :; do
  steps=$((steps + 1))
  if [ -r "$zone" ]; then
    milli=$(cat "$zone")
  else
    # No thermometer: a slow triangle between 20 and 24 degrees.
    phase=$((steps % 80))
    [ $phase -lt 40 ] || phase=$((80 - phase))
    milli=$((20000 + phase * 100))
  fi
  reading=$(printf '{"time":"%s","sensor":"%s","reading":%d,"celsius":%d.%03d}' \
    "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$name" $steps $((milli / 1000)) $((milli % 1000)))
  echo "$reading"
  [ -z "$EDGEHOST_MQTT_URL" ] || publish "$EDGEHOST_MQTT_TOPIC/$name" "$reading"
  # In the background, so that a signal ends the waiting at once.
  sleep "$interval" &
  wait $!
done
