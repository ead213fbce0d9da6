#!/bin/sh
# A sensor that every machine has: prints a reading per interval as a line of JSON, until it is told to stop.
#
#   SENSOR_NAME       what the readings are called (temperature)
#   SENSOR_INTERVAL   seconds between two readings (1)
name=${SENSOR_NAME:-temperature} interval=${SENSOR_INTERVAL:-1} zone=/sys/class/thermal/thermal_zone0/temp steps=0

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
  printf '{"time":"%s","sensor":"%s","reading":%d,"celsius":%d.%03d}\n' \
    "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$name" $steps $((milli / 1000)) $((milli % 1000))
  # In the background, so that a signal ends the waiting at once.
  sleep "$interval" &
  wait $!
done
