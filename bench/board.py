"""The parts of bench/measure.py on the emulated arm64 board of the tests: EdgeHost beside what Debian has, each with its data on a disk of its own."""

import json
import os
import pathlib
import shutil
import socket
import statistics
import subprocess
import time

from engines import Mqtt

BOARDS = pathlib.Path(__file__).resolve().parent.parent / "Edge.Tests/Board"
MEMORY, CPUS, WORKLOADS, SETTLED = 1024, 2, 5, 105

# So many that they fall at different times of what happens once a minute.
LOOKS = 7

# At the head of each script that has to do with an engine. The program lies on the disk, as the peers' do.
PREPARE = r"""
set -eu
await() {
  local tries
  for ((tries = 0; tries < 240; tries++)); do
    ! "$@" > /dev/null 2>&1 || return 0
    busybox usleep 500000
  done
  echo "not within two minutes: $*" >&2
  cat /tmp/said >&2
  exit 1
}
if ! mountpoint -q /mnt/data; then
  mount /dev/vdb /mnt/data
  test -e /mnt/data/bin/edgehost || install -D /usr/local/bin/edgehost /mnt/data/bin/edgehost
fi
"""

# Each process that is no thread of the kernel: pid, PSS and private memory in KiB, ticks on a CPU with those of the
# children that it has waited for, command. Nothing is executed for it.
PROCESSES = r"""
read -r uptime _ < /proc/uptime
echo "uptime $uptime"
for process in /proc/[0-9]*; do
  words=() pss=0 private=0
  mapfile -d '' words < "$process/cmdline"
  [[ -n ${words[0]:-} ]] || continue
  while read -r key value _; do
    case $key in
      Pss:) pss=$value ;;
      Private_*:) private=$((private + value)) ;;
    esac
  done < "$process/smaps_rollup"
  IFS= read -r line < "$process/stat"
  fields=(${line##*) })
  echo "${process##*/} $pss $private $((fields[11] + fields[12] + fields[13] + fields[14])) ${words[*]:0:4}"
done 2> /dev/null
"""


class Board:
    """A booted board, with the peers in its root; what the tests use of Edge.Tests/Board, in the same way."""

    def __init__(self, bench, name, disk):
        self.work = bench.work / name
        self.share = self.work / "share"
        (self.share / "run").mkdir(parents=True)
        (self.share / "bin").mkdir()
        shutil.copy(bench.options.board_binary, self.share / "bin/edgehost")
        for file in bench.files:
            shutil.copy(file, self.share)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self.work / "ctl"))
        listener.listen()
        environment = {
            "BOARD_CACHE": bench.options.board_cache, "BOARD_TIMEOUT": "5400", "BOARD_CONSOLE": str(self.work / "console"), "BOARD_NET": "1",
            "BOARD_DATA": f"file={disk},format=raw,cache=writeback",
            "BOARD_QEMU": f"-chardev socket,id=ctl,path={self.work}/ctl -device virtserialport,chardev=ctl,name=board.ctl -qmp unix:{self.work}/qmp,server=on,wait=off"}
        self.process = subprocess.Popen(
            [str(BOARDS / "board-run.sh"), "arm64", (BOARDS / "board-serve").read_text(), str(self.share), str(MEMORY), str(CPUS)],
            stdin=subprocess.DEVNULL, stdout=open(self.work / "said", "wb"), stderr=subprocess.STDOUT, env={**os.environ, **environment}, start_new_session=True)
        bench.boards.append(self)
        self.scripts, self.line = 0, None
        try:
            listener.settimeout(60)
            self.line = listener.accept()[0]
            self.answers = self.line.makefile()
            self.line.settimeout(240)
            if self.answers.readline() != "ready\n":
                raise OSError("it is not ready")
        except OSError as error:
            raise SystemExit(f"bench: the board did not come up: {error}\n{self.state()}")

    def state(self):
        console = self.work / "console"
        return (self.work / "said").read_text(errors="replace")[-2000:] + (console.read_text(errors="replace")[-4000:] if console.exists() else "")

    def run(self, script, seconds=180):
        self.scripts += 1
        run = self.share / "run" / str(self.scripts)
        run.with_suffix(".sh").write_text(script)
        self.line.settimeout(seconds + 60)
        self.line.sendall(f"{self.scripts} {seconds}\n".encode())
        try:
            answer = self.answers.readline()
        except OSError as error:
            answer = str(error)
        if answer != f"{self.scripts} 0\n":
            said = "".join(run.with_suffix(kind).read_text(errors="replace")[-2000:] for kind in (".out", ".err") if run.with_suffix(kind).exists())
            raise SystemExit(f"bench: the board answered {answer!r} to:\n{script}\n{said}\n{self.state()}")
        return run.with_suffix(".out").read_text()

    def writes(self):
        """Writes to the data disk, their bytes and flushes since the boot, as qemu has counted them."""
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.settimeout(30)
            monitor.connect(str(self.work / "qmp"))
            answers = monitor.makefile()
            answers.readline()
            for command in ("qmp_capabilities", "query-blockstats"):
                monitor.sendall(json.dumps({"execute": command}).encode())
                while "return" not in (answer := json.loads(answers.readline())):
                    pass
        stats = next(each["stats"] for each in answer["return"] if each.get("device") == "data")
        return [stats[name] for name in ("wr_operations", "wr_bytes", "flush_operations")]

    def processes(self, kind_of):
        """Uptime in seconds, and of each kind what its processes have: (PSS, private, seconds on a CPU)."""
        first, *lines = self.run(PROCESSES).splitlines()
        found = {}
        for line in lines:
            pid, pss, private, ticks, command = line.split(" ", 4)
            if kind := kind_of(command):
                found.setdefault(kind, []).append((int(pss) * 1024, int(private) * 1024, int(ticks) / 100))
        return float(first.split()[1]), found

    def end(self):
        """Hung up on, the board turns itself off."""
        if self.line:
            self.answers.close()
            self.line.close()
        try:
            self.process.wait(30 if self.line else 0)
        except subprocess.TimeoutExpired:
            self.process.terminate()
            self.process.wait()
        self.line = None


class Engine:
    """An engine on a board: how it is started, its client, the kinds of its processes, and how it is ended once its daemon is."""

    def __init__(self, name, kinds, start, client, rest=""):
        self.name, self.kinds, self.start, self.client, self.rest = name, kinds, start, client, rest

    def kind_of(self, command):
        words = command.split()
        program = words[0].rpartition("/")[2]
        if program == "edgehost" and len(words) > 1:
            program = words[1]
        return program if program in self.kinds else None

    def bring_up(self):
        return f"""{PREPARE}
            setsid {self.start} > /tmp/said 2>&1 &
            await {self.client} ps
            {self.client} load -i /mnt/share/busybox.tar > /dev/null
            """


EDGEHOST = Engine(
    "EdgeHost", ("daemon", "shepherd", "logger"),
    "/mnt/data/bin/edgehost daemon --config /mnt/share/edgehost.json --data-dir /mnt/data/edgehost", "edgehost",
    'shepherd=$(< /run/edgehost/shepherd.lock); kill "$shepherd"; await test ! -e "/proc/$shepherd"')
DOCKER = Engine(
    "dockerd", ("dockerd", "containerd", "containerd-shim-runc-v2"),
    "dockerd --data-root /mnt/data/docker --exec-root /run/docker --log-level error", "docker")
PODMAN_CLIENT = "podman --root /mnt/data/podman --runroot /run/podman --cgroup-manager cgroupfs --events-backend file --runtime crun --log-level error"
PODMAN = Engine("podman", ("conmon", "podman"), f"{PODMAN_CLIENT} system service -t 0 unix:///run/podman.sock", PODMAN_CLIENT)

# The program of the workload says when it was executed, before it has started another.
FIRST = """'read -r at _ < /proc/uptime; echo "$at" > /mark/started; exec sleep 1000000'"""
MARK = """
mkdir -p /mnt/data/mark
test -p /mnt/data/mark/started || mkfifo -m 666 /mnt/data/mark/started
exec 5<> /mnt/data/mark/started
"""

HOGS = {
    "memory": {"command": ["sh", "-c", "sleep 1; tail /dev/zero"], "mem_limit": "24m", "pids_limit": 16, "restart": "always"},
    "cpu": {"command": ["sh", "-c", "while :; do :; done & while :; do :; done"], "mem_limit": "16m", "pids_limit": 16},
    "forks": {"command": ["awk", 'BEGIN { while (1) system("sleep 1000 &") }'], "mem_limit": "16m", "pids_limit": 20},
}


class BoardBench:
    def __init__(self, bench, mosquitto, quiet):
        self.bench, self.report, self.notes, self.options, self.quiet = bench, bench.report, bench.notes, bench.options, quiet
        self.work, self.boards, self.described = bench.work / "boards", [], False
        self.work.mkdir()
        archive, config, secret = self.work / "busybox.tar", self.work / "edgehost.json", self.work / "secret"
        subprocess.run(["skopeo", "--insecure-policy", "copy", "--quiet", f"oci-archive:{self.options.board_image}:latest", f"docker-archive:{archive}:busybox:latest"], check=True)
        secret.write_text(mosquitto.password)
        config.write_text(json.dumps({"device": {"id": "bench"}, "mqtt": {"url": f"mqtt://10.0.2.2:{mosquitto.port}", "user": "bench", "passwordFile": "/mnt/share/secret"}}))
        self.files = [archive, config, secret]
        self.mqtt = Mqtt(mosquitto.port, "bench", mosquitto.password)
        self.mqtt.socket.settimeout(300)

    def boot(self, name, disk=None):
        board = Board(self, name, disk or self.disk(f"{name}.disk"))
        if not self.described:
            self.described = True
            versions = board.run("uname -sr; for each in edgehost dockerd containerd runc podman conmon crun; do $each --version | head -1; done").splitlines()
            emulator = subprocess.run(["qemu-system-aarch64", "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]
            self.notes.append(f"The board: {emulator} without KVM, cortex-a53, {CPUS} CPUs, {MEMORY} MiB, cgroup v2, the data on ext4; {'; '.join(versions)}.")
        return board

    def disk(self, name):
        """Nothing is left for the kernel to initialise while the board idles."""
        path = self.work / name
        with open(path, "wb") as file:
            file.truncate(2 << 30)
        subprocess.run(["mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", str(path)], check=True)
        return path

    def end(self):
        for board in self.boards:
            board.end()
        self.boards.clear()
        # What it is told here is for the board that it was told to.
        self.mqtt.publish("edgehost/v1/bench/desired", b"")

    # --- idle ---

    def measure_idle(self):
        seconds, engines, boards = int(os.environ.get("IDLE", "600")), (EDGEHOST, DOCKER, PODMAN), {}
        for engine in engines:
            board = boards[engine.name] = self.boot(f"idle-{engine.name}")
            board.run(engine.bring_up())
            if engine is EDGEHOST:
                workload = {"image": "busybox:latest", "command": ["sleep", "1000000"], "mem_limit": "16m", "cpus": 0.1, "pull_policy": "never"}
                self.bench.deploy(self.mqtt, 1, {f"w{number}": workload for number in range(WORKLOADS)})
            else:
                board.run(f"{PREPARE}\nfor each in {{1..{WORKLOADS}}}; do {engine.client} run -d --memory 16m --cpus 0.1 busybox sleep 1000000; done", 300)
        time.sleep(SETTLED)
        written = {engine.name: boards[engine.name].writes() for engine in engines}
        looks = {engine.name: [boards[engine.name].processes(engine.kind_of)] for engine in engines}
        for _ in range(LOOKS):
            time.sleep(seconds / LOOKS)
            now = {engine.name: boards[engine.name].writes() for engine in engines}
            for engine in engines:
                looks[engine.name].append(boards[engine.name].processes(engine.kind_of))
        memory, shares, writes, lines = {}, {}, {}, []
        for engine in engines:
            (begin, first), (end, last) = looks[engine.name][0], looks[engine.name][-1]
            memory[engine.name] = {kind: [sum(pss for pss, _, _ in found[kind]) / 1e6 for _, found in looks[engine.name]] for kind in first}
            used = {kind: sum(cpu for _, _, cpu in last[kind]) - sum(cpu for _, _, cpu in first[kind]) for kind in first}
            shares[engine.name] = 100 * sum(used.values()) / (end - begin)
            writes[engine.name] = [late - early for late, early in zip(now[engine.name], written[engine.name])]
            lines.append(f"{engine.name}: " + ", ".join(
                f"{kind}{f' × {len(first[kind])}' if len(first[kind]) > 1 else ''} {statistics.median(memory[engine.name][kind]):.1f} "
                f"(private {sum(private for _, private, _ in last[kind]) / 1e6:.1f}; {used[kind]:.1f} s)" for kind in first)
                + "; {} writes of {} bytes, {} flushes".format(*writes[engine.name]))
        # Without its service podman starts nothing that it is asked for from elsewhere; the conmons are all that must be there.
        ours, docker, podman = ([sum(each) for each in zip(*memory[engine.name].values())] for engine in engines)
        middle = statistics.median(ours)
        self.report.add(
            f"memory of all its processes from {SETTLED} s of idling on, {WORKLOADS} containers, connected to mosquitto (PSS, 10^6 bytes, {LOOKS + 1} times)", f"{self.quiet(ours)}, most {max(ours):.1f}",
            f"dockerd, containerd, shims {self.quiet(docker)}; conmons {self.quiet(memory['podman']['conmon'])}, with podman's service {self.quiet(podman)}",
            f"{middle / statistics.median(docker):.2f}", "≤ 18", middle <= 18)
        self.report.add(
            f"writes to the disk in {seconds} s of idling, counted by qemu", str(writes["EdgeHost"][0]), "; ".join(f"{engine.name} {writes[engine.name][0]}" for engine in engines[1:]), "",
            "0", writes["EdgeHost"][0] == 0)
        self.report.add(
            f"CPU in these {seconds} s (% of an emulated core)", f"{shares['EdgeHost']:.2f}", "; ".join(f"{engine.name} {shares[engine.name]:.2f}" for engine in engines[1:]),
            f"{shares['EdgeHost'] / shares['dockerd']:.2f}", "< 0.5", shares["EdgeHost"] < 0.5)
        self.notes.append("Idle on the board (PSS in 10^6 bytes; time on a CPU): " + ". ".join(lines) + ".")
        self.end()

    # --- cold start ---

    def measure_cold(self):
        rounds, engines, disk = 5, (EDGEHOST, DOCKER), self.disk("cold.disk")
        board = self.boot("cold", disk)
        for engine in engines:
            board.run(f"""{engine.bring_up()}{MARK}
                {engine.client} run -d --restart always --stop-signal KILL -v /mnt/data/mark:/mark busybox sh -c {FIRST}
                read -r -t 60 at <&5
                kill $(jobs -p)
                wait || true
                {engine.rest}
                sync""", 300)
        board.end()
        times = {engine.name: [] for engine in engines}
        for number in range(rounds):
            for engine in engines:
                board = self.boot(f"cold-{engine.name}-{number}", disk)
                begin, at = board.run(f"""{PREPARE}{MARK}
                    sync
                    echo 3 > /proc/sys/vm/drop_caches
                    read -r begin _ < /proc/uptime
                    setsid {engine.start} > /tmp/said 2>&1 5>&- &
                    read -r -t 120 at <&5 || {{ cat /tmp/said >&2; exit 1; }}
                    echo "$begin $at"
                    kill $(jobs -p)
                    wait || true
                    {engine.rest}
                    umount /mnt/data || sync""", 240).split()
                board.end()
                times[engine.name].append(float(at) - float(begin))
        ratio = statistics.median(a / b for a, b in zip(times["EdgeHost"], times["dockerd"]))
        self.report.add(
            f"cold start: from the start of the daemon after a boot until the program of its first workload runs (s, {rounds} pairs)", two_digits(times["EdgeHost"]),
            f"dockerd {two_digits(times['dockerd'])}", f"{ratio:.2f}", "≤ 0.25 ×", ratio <= 0.25)

    # --- three hogs ---

    def measure_hogs(self):
        board = self.boot("hogs")
        board.run(EDGEHOST.bring_up())
        self.mqtt.subscribe("edgehost/v1/bench/responses/bench")
        calm = [self.ask()[0] for _ in range(30)]
        hogs = {name: {"image": "busybox:latest", "cpus": 0.5, "network_mode": "none", "pull_policy": "never", **hog} for name, hog in HOGS.items()}
        self.mqtt.publish("edgehost/v1/bench/desired", json.dumps({"version": 2, "workloads": hogs}).encode())
        answers, left, deadline = [], 60, time.monotonic() + 300
        while left:
            took, stats = self.ask()
            answers.append(took)
            if all(name in stats for name in hogs) and stats["memory"].get("restarts", 0) >= 2 and stats["cpu"]["use"]["throttled_seconds"] > 1 and stats["forks"]["use"]["pids"] == 20 or left < 60:
                left -= 1
            elif time.monotonic() > deadline:
                raise SystemExit(f"bench: the hogs have not come to their limits: {stats}")
            time.sleep(0.25)
        board.end()
        self.report.add(
            f"answer to a command over MQTT while a fork bomb, a memory hog and a CPU hog are at their limits (ms, {len(answers)} times)",
            f"{self.quiet(answers)}, longest {max(answers):.0f}", f"without them {self.quiet(calm)}, longest {max(calm):.0f}", "", "answered", True)

    def ask(self):
        """Milliseconds until `stats` was answered, and what it says of each workload; a command without an answer ends the measurement."""
        begin = time.perf_counter_ns()
        self.mqtt.publish("edgehost/v1/bench/commands/stats", json.dumps({"correlation": str(begin), "response_topic": "edgehost/v1/bench/responses/bench"}).encode())
        while (answer := json.loads(self.mqtt.message())).get("correlation") != str(begin):
            pass
        return (time.perf_counter_ns() - begin) / 1e6, answer["stats"]

    # --- boot ---

    def measure_boot(self):
        """The board of the tests: without the peers, the memory that tests give it."""
        rounds, times, kernel = 7, [], []
        environment = {**os.environ, "BOARD_TIMEOUT": "120"}
        subprocess.run([str(BOARDS / "board-build.sh"), "arm64"], stdout=subprocess.DEVNULL, check=True)
        for _ in range(rounds):
            begin = time.perf_counter_ns()
            with subprocess.Popen(
                    [str(BOARDS / "board-run.sh"), "arm64", "cut -d' ' -f1 /proc/uptime"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, env=environment) as board:
                kernel.append(float(board.stdout.readline() or "nan"))
                times.append((time.perf_counter_ns() - begin) / 1e9)
        median = statistics.median(times)
        self.report.add(f"the board's own start, until its first command runs (s, {rounds} times)", two_digits(times), "", "", "≤ 5", median <= 5)
        self.notes.append(f"Of the board's start {statistics.median(kernel):.2f} s are since its kernel runs; what is before is qemu's start and the initramfs.")


def two_digits(seconds):
    ordered = sorted(seconds)
    return f"{statistics.median(ordered):.2f} ({ordered[len(ordered) // 4]:.2f}–{ordered[len(ordered) * 3 // 4]:.2f})"
