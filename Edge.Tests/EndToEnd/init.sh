# The scripts of device-configs/init on a machine whose root and processes are its own: init.sh plain|openrc PROGRAM
# IMAGE-TAR FOLDER-OF-THE-SCRIPTS. Prints lines "CHECK ..." that the test compares. Needs: bash, root; for openrc Debian's
# packages.
set -eu
how=$1 program=$2 tar=$3 scripts=$4
work=$(mktemp -d /tmp/init-XXXXXX)
cgroup=edgehost-${work##*/}

# The root of this machine, of which nothing is changed.
inside() {
  mount -t tmpfs tmpfs "$work"
  mkdir "$work/upper" "$work/work" "$work/root"
  mount -t overlay -o "lowerdir=/,upperdir=$work/upper,workdir=$work/work" overlay "$work/root"
  cd "$work/root"
  mount -t proc proc proc
  mount --rbind /sys sys
  mount --rbind /dev dev
  mount -t tmpfs tmpfs run
  install -D "$program" usr/bin/edgehost
  install -D "$scripts/edgehost" usr/libexec/edgehost-init
  install -D "$tar" usr/share/image.tar
  if [ "$how" = openrc ]; then
    for package in "$1"/*.deb; do
      mkdir "$work/package"
      dpkg -x "$package" "$work/package"
      # Over the links that /lib and /sbin are.
      for folder in etc usr lib sbin; do
        [ ! -d "$work/package/$folder" ] || cp -a "$work/package/$folder/." "$folder/"
      done
      rm -r "$work/package"
    done
    install "$scripts/openrc" etc/init.d/edgehost
    printf '#!/sbin/openrc-run\nstart() { :; }\n' > etc/init.d/localmount
    chmod +x etc/init.d/localmount
    touch etc/insserv.conf
    echo 'rc_env_allow="EDGEHOST_DATA_DIR EDGEHOST_CGROUP_ROOT EDGEHOST_BROKER_ENABLED"' >> etc/rc.conf
    (cd run && mkdir openrc && cd openrc && mkdir started starting stopping stopped inactive wasinactive failed hotplugged scheduled exclusive daemons options tmp && touch softlevel)
  fi
  export EDGEHOST_DATA_DIR=/run/data EDGEHOST_CGROUP_ROOT=$cgroup EDGEHOST_BROKER_ENABLED=false
  chroot . bash -c "$(declare -f of service used); how=$how; used"
}

service() {
  case $how in
    plain) busybox sh /usr/libexec/edgehost-init "$1" ;;
    openrc) rc-service edgehost "$1" ;;
  esac
}

of() { cat "/run/edgehost/$1" 2> /dev/null || echo none; }

used() {
  set -eu
  service status > /dev/null && status=0 || status=$?
  echo "BEFORE status=$([ $status = 0 ] && echo runs || echo stopped)"
  service start >&2
  service start >&2
  service status > /dev/null && echo "STARTED status=runs"
  edgehost load -i /usr/share/image.tar > /dev/null
  id=$(edgehost run -d --network none --restart always "$(edgehost images -q)" sh -c 'trap "exit 7" TERM; while :; do sleep 0.1; done')
  pid=$(edgehost inspect -f '{{.State.Pid}}' "$id") daemon=$(of lock) shepherd=$(of shepherd.lock)
  service restart >&2
  echo "RESTARTED daemon=$([ "$daemon" = "$(of lock)" ] && echo same || echo new) shepherd=$([ "$shepherd" = "$(of shepherd.lock)" ] && echo same || echo new)" \
    "container=$([ "$pid" = "$(edgehost inspect -f '{{.State.Pid}}' "$id")" ] && echo same || echo new)"
  service stop >&2
  service status > /dev/null && status=0 || status=$?
  echo "STOPPED status=$([ $status = 0 ] && echo runs || echo stopped) container=$([ -d "/proc/$pid" ] && echo runs || echo gone)"
  grep -o "ended with 7" /var/log/edgehost.log
  service start >&2
  echo "AGAIN container=$(edgehost inspect -f '{{.State.Running}}' "$id")"
  edgehost rm -f "$id" > /dev/null
  service stop >&2
}

packages=
if [ "$how" = openrc ]; then
  packages=$(mktemp -d /tmp/init-packages-XXXXXX)
  (cd "$packages" && chmod 755 . && { apt-get -qq download openrc librc1 libeinfo1 || { apt-get -qq update && apt-get -qq download openrc librc1 libeinfo1; }; }) >&2
fi
code=0
unshare --mount --pid --fork --kill-child --propagation private bash -c "set -eu; $(declare -f inside of service used); how=$how program=$program tar=$tar scripts=$scripts work=$work cgroup=$cgroup; inside '$packages'" || code=$?
find /sys/fs/cgroup -depth -path "*/$cgroup*" -type d -exec rmdir {} + 2> /dev/null || true
echo "LEFT cgroups=$(find /sys/fs/cgroup -path "*/$cgroup*" -type d | wc -l)"
rm -rf "$work" ${packages:+"$packages"}
exit "$code"
