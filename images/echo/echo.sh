#!/bin/sh
# Says back each line that it hears at TOPIC/ask, at TOPIC/answer: what is between two programs that speak MQTT works.

# As process 1 it must ask for the signal: the kernel gives process 1 none that it does not handle.
trap 'exit 0' TERM INT

address=${EDGEHOST_MQTT_URL:?give it a broker by mqtt in the desired state}
address=${address#mqtt://}
broker() { # PROGRAM, and what else: a connection of its own
  program=$1
  shift
  "$program" -h "${address%:*}" -p "${address##*:}" -u "$EDGEHOST_MQTT_USER" -P "$EDGEHOST_MQTT_PASSWORD" -i "$EDGEHOST_MQTT_CLIENT_ID/$program" -q 1 "$@"
}

echo "listening at $EDGEHOST_MQTT_TOPIC/ask"
broker mosquitto_sub -t "$EDGEHOST_MQTT_TOPIC/ask" | broker mosquitto_pub -l -t "$EDGEHOST_MQTT_TOPIC/answer" &
wait $!
echo "the connection to the broker has ended" >&2
exit 1
