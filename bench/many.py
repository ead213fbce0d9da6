"""The parts of bench/measure.py about what a container costs beyond its program: memory, many starts at once, the way to the first instruction."""

import io
import os
import pathlib
import platform
import selectors
import socket
import statistics
import struct
import subprocess
import tarfile
import time

from engines import descendants, memory_of

# A program that writes CLOCK_MONOTONIC, as it is at its first instruction, to standard output: sixteen bytes of struct
# timespec, each as two letters of A to P, the lower half of the byte first, and a line feed.
FIRST_INSTRUCTION = {
    # _start: mov $228,%eax; mov $1,%edi; sub $64,%rsp; mov %rsp,%rsi; syscall           clock_gettime(CLOCK_MONOTONIC, %rsp)
    #         lea 16(%rsp),%rdi; mov $16,%ecx
    # 1:      lodsb; mov %al,%ah; and $15,%al; shr $4,%ah; add $0x4141,%ax; stosw; loop 1b
    #         movb $10,(%rdi); mov $1,%eax; mov %eax,%edi; lea 16(%rsp),%rsi; mov $33,%edx; syscall     write
    #         mov $60,%eax; xor %edi,%edi; syscall                                                      exit
    "x86_64": (62, "b8e4000000bf010000004883ec404889e60f05488d7c2410b910000000ac88c4240fc0ec046605414166abe2f0c6070a"
                   "b80100000089c7488d742410ba210000000f05b83c00000031ff0f05"),
    # _start: sub sp,sp,#64; mov x0,#1; mov x1,sp; mov x8,#113; svc #0                   clock_gettime(CLOCK_MONOTONIC, sp)
    #         mov x3,sp; add x4,sp,#16; mov x5,#16
    # 1:      ldrb w6,[x3],#1; and w7,w6,#15; lsr w6,w6,#4; add w7,w7,#65; add w6,w6,#65
    #         strb w7,[x4],#1; strb w6,[x4],#1; subs x5,x5,#1; b.ne 1b
    #         mov w7,#10; strb w7,[x4]; mov x0,#1; add x1,sp,#16; mov x2,#33; mov x8,#64; svc #0        write
    #         mov x0,#0; mov x8,#93; svc #0                                                             exit
    "aarch64": (183, "ff0301d1200080d2e1030091280e80d2010000d4e3030091e4430091050280d266144038c70c0012c67c0453e7040111"
                     "c60401118714003886140038a50400f101ffff544701805287000039200080d2e1430091220480d2080880d2010000d4"
                     "000080d2a80b80d2010000d4"),
}


def first_instruction():
    """The program as an ELF file of one segment, header included."""
    machine, code = FIRST_INSTRUCTION[platform.machine()]
    at, size = 0x400000, 64 + 56 + len(code) // 2
    header = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 2, machine, 1, at + 64 + 56, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, at, at, size, size, 0x1000)
    return header + segment + bytes.fromhex(code)


def moment_of(line):
    """Nanoseconds of CLOCK_MONOTONIC that the program wrote."""
    letters = line.strip()
    halves = [letter - ord("A") for letter in letters]
    seconds, nanoseconds = struct.unpack("<qq", bytes(low | high << 4 for low, high in zip(halves[::2], halves[1::2])))
    return seconds * 1_000_000_000 + nanoseconds


def at_once(path, requests):
    """Sends all requests, each on a connection of its own, and returns when every answer is there; those that are no success."""
    connections = []
    for _ in requests:
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(path))
        connections.append(connection)
    poll = selectors.DefaultSelector()
    begin = time.perf_counter_ns()
    for connection, request in zip(connections, requests):
        connection.sendall(f"POST /v1.41{request} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n".encode())
        poll.register(connection, selectors.EVENT_READ)
    failed, left = [], len(connections)
    while left:
        for key, _ in poll.select():
            answer = key.fileobj.recv(65536)
            poll.unregister(key.fileobj)
            left -= 1
            if not answer.startswith(b"HTTP/1.1 204"):
                failed.append(answer.decode(errors="replace"))
    took = (time.perf_counter_ns() - begin) / 1e6
    for connection in connections:
        connection.close()
    return took, failed


def kernel_memory_of(pid):
    """What the kernel itself holds for the memory cgroup of a process, in bytes."""
    for line in pathlib.Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "memory":
            return int(pathlib.Path(f"/sys/fs/cgroup/memory{path}/memory.kmem.usage_in_bytes").read_text())
        if not controllers and (stat := pathlib.Path(f"/sys/fs/cgroup{path}/memory.stat")).exists():
            return next(int(each.split()[1]) for each in stat.read_text().splitlines() if each.startswith("kernel "))
    raise SystemExit(f"bench: process {pid} is in no memory cgroup")


class ManyBench:
    """Both engines, and runc, as bench/measure.py has brought them up."""

    def __init__(self, bench, quiet, spawn):
        self.run, self.report, self.notes = bench.parts.run, bench.report, bench.notes
        self.edgehost, self.docker, self.create, self.bundle = bench.edgehost, bench.docker, bench.create, bench.bundle
        self.engines = (self.edgehost, self.docker)
        self.quiet, self.spawn = quiet, spawn

    def start(self, engine, container):
        engine.api.call("POST", f"/containers/{container}/start")

    def remove(self, engine, containers):
        for container in containers:
            engine.api.call("DELETE", f"/containers/{container}?force=1")

    def pids(self, engine):
        return {container["Id"]: engine.api.json("GET", f"/containers/{container['Id']}/json")["State"]["Pid"] for container in engine.api.json("GET", "/containers/json")}

    # --- memory ---

    def measure_density(self):
        count = 50
        for engine in self.engines:
            container = self.create(engine, ["sleep", "1000000"])
            self.start(engine, container)
            self.remove(engine, [container])
        before = self.idle({engine.name: [] for engine in self.engines})
        running = {engine.name: [self.create(engine, ["sleep", "1000000"], Memory=16 << 20) for _ in range(count)] for engine in self.engines}
        for engine in self.engines:
            for container in running[engine.name]:
                self.start(engine, container)
        costs, lines = {}, []
        pids = {engine.name: list(self.pids(engine).values()) for engine in self.engines}
        held = self.idle(pids)
        for engine in self.engines:
            costs[engine.name] = {kind: (pss - before[engine.name].get(kind, 0)) / count / 1e3 for kind, pss in held[engine.name].items()}
            kernel = statistics.median(kernel_memory_of(pid) for pid in pids[engine.name])
            lines.append(f"{engine.name}: " + ", ".join(f"{kind} {cost:.1f}" for kind, cost in costs[engine.name].items()) + f"; the kernel holds {kernel / 1e3:.0f} for its cgroup")
            if len(pids[engine.name]) != count:
                raise SystemExit(f"bench: {len(pids[engine.name])} of {count} containers run in {engine.name}")
        for engine in self.engines:
            self.remove(engine, running[engine.name])
        ours, theirs = (sum(costs[engine.name].values()) for engine in self.engines)
        self.report.add(f"memory for each of {count} running containers, beyond its own process (PSS, 10^3 bytes)", f"{ours:.1f}", f"dockerd, containerd, shims {theirs:.0f}", f"{ours / theirs:.3f}", "≤ 100", ours <= 100)
        self.notes.append("Memory for each container, in 10^3 bytes: " + ". ".join(lines) + ".")

    def idle(self, workloads):
        """
        PSS of each kind of each engine's processes, after as long as in the part memory, in which nothing is asked of them.
        Whatever they started in or beside their containers, but these processes, is one more kind.
        """
        time.sleep(95)
        found = {}
        for engine in self.engines:
            kinds = engine.processes()
            known = {pid for pids in kinds.values() for pid in pids} | set(workloads[engine.name])
            if engine is self.edgehost:
                kinds["beside the containers"] = [pid for pid in descendants(engine.shepherd) if pid not in known]
            found[engine.name] = {kind: sum(memory_of(pid)[0] for pid in pids) for kind, pids in kinds.items()}
        return found

    # --- many at once ---

    def measure_burst(self):
        count, rounds = 100, 5
        times, failures = {"EdgeHost": [], "runc": [], "dockerd": []}, {"EdgeHost": 0, "runc": 0, "dockerd": 0}
        limits = {"Memory": 16 << 20, "PidsLimit": 100, "NanoCpus": 500_000_000}
        bundle = self.bundle("burst", ["sleep", "1000000"], {
            "memory": {"limit": limits["Memory"]}, "pids": {"limit": limits["PidsLimit"]}, "cpu": {"quota": 50_000, "period": 100_000}})
        for number in range(rounds):
            for engine in self.engines:
                containers = [self.create(engine, ["sleep", "1000000"], **limits) for _ in range(count)]
                # What a creation leaves to be written is no part of the starts.
                time.sleep(3)
                took, failed = at_once(engine.socket, [f"/containers/{container}/start" for container in containers])
                missing = count - len(self.pids(engine))
                if failed or missing:
                    self.notes.append(f"{engine.name}: {missing} of {count} do not run; {failed[:1]}")
                times[engine.name].append(took)
                failures[engine.name] += max(missing, len(failed))
                self.remove(engine, containers)
                if engine is self.edgehost:
                    took, failed = self.runc_at_once(bundle, [f"bench-burst-{number}-{index}" for index in range(count)])
                    times["runc"].append(took)
                    failures["runc"] += failed
        ratio = statistics.median(a / b for a, b in zip(times["EdgeHost"], times["runc"]))
        self.report.add(f"{count} containers started at once, until all run (ms, {rounds} pairs)", self.quiet(times["EdgeHost"]), f"{count} × runc run -d {self.quiet(times['runc'])}; dockerd {self.quiet(times['dockerd'])}", f"{ratio:.3f}", "≤ 0.25 ×", ratio <= 0.25)
        self.report.add(f"of {rounds} × {count} started at once, failed", str(failures["EdgeHost"]), f"runc {failures['runc']}, dockerd {failures['dockerd']}", "", "0", failures["EdgeHost"] == 0)

    def runc_at_once(self, bundle, names):
        root = self.run / "runc"
        null = [(os.POSIX_SPAWN_OPEN, fd, "/dev/null", os.O_RDWR, 0) for fd in (0, 1, 2)]
        begin = time.perf_counter_ns()
        pids = [os.posix_spawnp("runc", ["runc", "--root", str(root), "run", "-d", "-b", str(bundle), name], os.environ, file_actions=null) for name in names]
        failed = sum(os.waitpid(pid, 0)[1] != 0 for pid in pids)
        took = (time.perf_counter_ns() - begin) / 1e6
        for name in names:
            subprocess.run(["runc", "--root", str(root), "delete", "-f", name], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        return took, failed

    # --- the way to the first instruction ---

    def measure_request(self):
        rounds, program = 60, first_instruction()
        bundle = self.bundle("request", ["/first"])
        (bundle / "rootfs/first").write_bytes(program)
        (bundle / "rootfs/first").chmod(0o755)
        times = {"EdgeHost": [], "runc": [], "dockerd": []}
        for index in range(rounds + 3):
            took = {
                "EdgeHost": self.request(self.edgehost, program),
                "runc": self.runc_request(bundle, f"bench-request-{index}"),
                "dockerd": self.request(self.docker, program),
            }
            if index >= 3:
                for name, each in took.items():
                    times[name].append(each / 1e6)
        ratio = statistics.median(a / b for a, b in zip(times["EdgeHost"], times["runc"]))
        self.report.add(f"from the request to start a container to its program's first instruction (ms, {rounds} pairs)", self.quiet(times["EdgeHost"]), f"runc run {self.quiet(times['runc'])}; dockerd {self.quiet(times['dockerd'])}", f"{ratio:.3f}", "≤ 0.25 ×", ratio <= 0.25)

    def request(self, engine, program):
        container = self.create(engine, ["/first"])
        engine.api.call("PUT", f"/containers/{container}/archive?path=/", archive_of("first", program), content="application/x-tar")
        begin = time.monotonic_ns()
        self.start(engine, container)
        engine.api.call("POST", f"/containers/{container}/wait")
        frame = engine.api.call("GET", f"/containers/{container}/logs?stdout=1")
        self.remove(engine, [container])
        return moment_of(frame[8:]) - begin

    def runc_request(self, bundle, name):
        read, write = os.pipe()
        begin = time.monotonic_ns()
        self.spawn("runc", "--root", self.run / "runc", "run", "-b", bundle, name, output=write)
        os.close(write)
        with open(read, "rb") as pipe:
            return moment_of(pipe.read()) - begin


def archive_of(name, content):
    """A tar archive of one executable file."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode = len(content), 0o755
        tar.addfile(entry, io.BytesIO(content))
    return file.getvalue()
