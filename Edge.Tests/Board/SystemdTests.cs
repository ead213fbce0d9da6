using Xunit;

namespace Edge.Tests.Board;

/// <summary>
/// A board with a real systemd (user-mode Linux: x86_64, cgroup v2), installed, cut off
/// and booted again on the same disk.
/// </summary>
public sealed class SystemdTests : IDisposable
{
    private readonly SystemdBoard _board = new();

    public void Dispose() => _board.Dispose();

    [Fact]
    public async Task What_ran_on_an_installed_board_runs_again_after_a_power_cut_without_network_and_with_a_wrong_clock()
    {
        await _board.BuildAsync();

        (await _board.BootAsync("""
            echo '/mnt/data /var/lib/edgehost none bind 0 0' >>/etc/fstab
            mkdir -p /var/lib/edgehost
            mount /var/lib/edgehost
            install -m755 /mnt/share/edgehost /usr/local/bin/edgehost

            : "install says what it does, and the second time there is nothing to do"
            edgehost install >said
            grep -x 'wrote /etc/systemd/system/edgehost.service' said
            grep -x 'started edgehost.service and edgehost-shepherd.service' said
            test "$(edgehost install)" = 'everything is installed and runs'
            systemd-analyze verify /etc/systemd/system/edgehost*.service

            : "who may not use the socket reads who may"
            test $(su nobody -s /bin/sh -c 'edgehost ps' 2>refused; echo $?) = 1
            grep 'a member of the group edgehost' refused

            edgehost load -i /mnt/share/busybox.tar
            run() { name=$1; shift; edgehost run -d --name $name --network none "$@"; }
            run polite --restart always -m 16m localhost/busybox:latest sh -c 'trap "exit 0" TERM; while :; do sleep 0.2; done'
            run deaf --restart unless-stopped --stop-timeout 1 localhost/busybox:latest sh -c 'trap "" TERM; while :; do sleep 1; done'
            run once localhost/busybox:latest sleep 1000
            id() { edgehost ps -aq --no-trunc --filter name=$1; }

            : "containers are in the delegated cgroup, with their limits, and what the daemon and shepherd keep is not theirs"
            cd /sys/fs/cgroup/edgehost.slice
            test $(cat edgehost-containers.service/all/$(id polite)/memory.max) = 16777216
            test $(($(cat edgehost.service/memory.min) + $(cat edgehost-shepherd.service/memory.min))) = $(cat memory.min)
            cd /

            : "each has users of its own, which this kernel can give"
            edgehost info | grep -x 'User Namespaces: on'
            maps=$(for name in polite deaf once; do cat /proc/$(edgehost inspect -f '{{.State.Pid}}' $name)/uid_map; done)
            test $(echo "$maps" | awk '$1 == 0 && $2 >= 65536 { print $2 }' | sort -u | wc -l) = 3

            : "a stop of the daemon stops the daemon alone, and says so"
            systemctl stop edgehost
            systemctl is-active edgehost-shepherd
            test $(cat /sys/fs/cgroup/edgehost.slice/edgehost-containers.service/all/*/init/cgroup.procs | wc -l) -ge 3
            journalctl -u edgehost | grep 'stopping; containers go on'
            systemctl start edgehost
            test $(edgehost ps -q | wc -l) = 3

            : "a container that counts, whatever is done to who holds it"
            run counting localhost/busybox:latest sh -c 'i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done'
            main() { systemctl show -P MainPID edgehost-shepherd; }
            logger() { pgrep -P $(main) -f 'edgehost logger'; }
            pids() { cat /sys/fs/cgroup/edgehost.slice/edgehost-containers.service/all/$(id $1)/init/cgroup.procs | head -1; }
            grows() { last=$(edgehost logs counting 2>/dev/null | tail -1); [ -n "$last" ]; until [ "$(edgehost logs counting 2>/dev/null | tail -1)" -gt "$last" ]; do sleep 0.2; done; }
            # systemd ends the daemon before it starts the next shepherd, so who answers from then on is the next daemon.
            again() { until now=$(main); [ $now != 0 ] && [ $now != $was ] && edgehost ps -q >all && [ $(wc -l <all) = 4 ]; do sleep 0.2; done; }
            counted() { edgehost logs counting 2>/dev/null | awk '$1 != NR { print "line " NR " is " $1; exit 1 }'; }
            before="$(pids polite) $(pids deaf) $(pids once) $(pids counting)"
            grows

            : "another file at its path: install reloads the shepherd in place and restarts the daemon"
            was=$(main) logged=$(logger)
            cp /usr/local/bin/edgehost /usr/local/bin/new
            mv /usr/local/bin/new /usr/local/bin/edgehost
            edgehost install >said
            grep '^reloaded edgehost-shepherd.service: ' said
            grep '^restarted edgehost.service; ' said
            test "$(edgehost install)" = 'everything is installed and runs'
            test $(main) = $was
            test $(stat -Lc %i /proc/$was/exe) = $(stat -c %i /usr/local/bin/edgehost)
            test $(logger) != $logged
            grows

            : "a shepherd that died is followed by another, which takes everything back"
            kill -9 $was
            again
            journalctl -u edgehost-shepherd | grep '4 containers are taken back'
            grows
            counted

            : "also where its logger died with it: systemd has kept the pipes"
            was=$(main) logged=$(logger)
            kill -STOP $was
            kill -9 $logged $was
            again
            grows
            edgehost logs counting 2>&1 | grep 'may be missing here'
            test "$(pids polite) $(pids deaf) $(pids once) $(pids counting)" = "$before"
            edgehost kill counting once

            mkdir -p /etc/systemd/system/edgehost-shepherd.service.d
            printf '[Service]\nExecStartPre=/bin/date -s 1971-01-01\n' >/etc/systemd/system/edgehost-shepherd.service.d/clock.conf
            """)).Succeeds();

        (await _board.BootAsync("""
            test $(date +%Y) = 1971
            until [ $(edgehost ps -q | wc -l) = 2 ]; do sleep 0.2; done
            edgehost ps -a --no-trunc
            id() { edgehost ps -aq --no-trunc --filter name=$1 | cut -c1-12; }
            polite=$(id polite) deaf=$(id deaf)

            : "the end of the shepherd is the end of the containers, each in its own way"
            systemctl stop edgehost-shepherd
            test "$(systemctl is-active edgehost)" = inactive
            test ! -e /sys/fs/cgroup/edgehost.slice/edgehost-containers.service/all || test $(cat /sys/fs/cgroup/edgehost.slice/edgehost-containers.service/all/*/init/cgroup.procs | wc -l) = 0
            journalctl -b -u edgehost-shepherd >said
            grep "container $polite ended with 0," said
            grep "container $deaf has not ended [0-9]* ms after signal 15: it is killed" said
            test $(grep -c 'remains running after unit stopped' said) = 0

            edgehost uninstall
            test ! -e /etc/systemd/system/edgehost.service
            test -e /var/lib/edgehost/state.db
            edgehost uninstall --purge
            test -z "$(ls -A /var/lib/edgehost)"
            test -z "$(getent group edgehost)"
            """)).Succeeds();
    }
}
