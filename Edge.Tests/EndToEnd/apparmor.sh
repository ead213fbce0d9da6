# Containers under the AppArmor profile of EdgeHost, and without. Runs behind own-daemon.sh on a board whose kernel has
# AppArmor, with apparmor_parser. Prints lines "CHECK key=value ..." that the tests compare.
current() { cat /proc/"$(edgehost inspect -f '{{.State.Pid}}' "$1")"/attr/apparmor/current; }
echo "INFO $(edgehost info | sed -n 's/^AppArmor: //p') options=$(edgehost info -f '{{.SecurityOptions}}' | grep -c name=apparmor) check=$(edgehost check --data-dir "$work/data" | grep -c '^ok *AppArmor')"

# All rights, the host's users: what keeps it from mounting and from the kernel's settings is the profile.
edgehost run -d --name all --network none --init --cap-add ALL -v /proc/sys/kernel:/settings "$image" sleep 1000 > /dev/null
edgehost run -d --name none --network none --cap-add ALL --security-opt apparmor=unconfined -v /proc/sys/kernel:/settings "$image" sleep 1000 > /dev/null
edgehost run -d --name own --network none --health-cmd 'cat /proc/self/attr/apparmor/current' --health-interval 1s "$image" sleep 1000 > /dev/null
for as in all none; do
  mounts=$(edgehost exec "$as" mount -t tmpfs none /tmp 2> "$work/why" && echo yes || echo "no:$(grep -c 'ermission denied' "$work/why")")
  echo "CONFINED $as current=$(current "$as" | tr ' ' _) exec=$(edgehost exec "$as" cat /proc/self/attr/apparmor/current | tr ' ' _) inspect=$(edgehost inspect -f '{{.AppArmorProfile}}' "$as") mounts=$mounts works=$(edgehost exec "$as" sh -c 'echo x > /file && cat /file') kills=$(edgehost exec "$as" sh -c 'sleep 99 & kill $! && echo yes')"
done
until edgehost inspect -f '{{json .State.Health.Log}}' own | grep -q enforce; do sleep 0.2; done
echo "OWN current=$(current own | tr ' ' _) health=$(edgehost inspect -f '{{(index .State.Health.Log 0).Output}}' own | tr ' ' _)"
said=$(edgehost run --rm --network none --security-opt apparmor=nobody-has-this "$image" true 2>&1) && code=0 || code=$?
echo "MISSING code=$code $said"
edgehost stop -t 5 all > /dev/null
echo "STOPPED code=$(edgehost inspect -f '{{.State.ExitCode}}' all)"
