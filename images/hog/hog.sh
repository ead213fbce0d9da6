#!/bin/sh
# Takes more and more of one thing, to show that a limit holds: hog memory, hog cpu, or hog pids.

# As process 1 it must ask for the signal: the kernel gives process 1 none that it does not handle.
trap 'exit 0' TERM INT

case $1 in
  memory)
    # Twice as much each time, and said before it is asked for, since the kernel does not ask when it kills.
    text=$(head -c 65536 /dev/zero | tr '\0' x)
    while :; do
      echo "holding ${#text} bytes, asking for as many again"
      text=$text$text
    done
    ;;
  cpu)
    # One for each CPU that it may run on.
    for _ in $(seq "$(nproc)"); do
      while :; do :; done &
    done
    echo "spinning on $(nproc) CPUs"
    wait
    ;;
  pids)
    # The shell ends by itself when it cannot fork any more.
    count=0
    while :; do
      sleep 1000000 &
      count=$((count + 1))
      [ $((count % 10)) -ne 0 ] || echo "holding $count processes"
    done
    ;;
  *)
    echo "hog: memory, cpu or pids, not \"$1\"" >&2
    exit 2
    ;;
esac
