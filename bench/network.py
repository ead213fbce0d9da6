"""The part of bench/measure.py about networks: each engine in a network namespace of its own, and this one is the world."""

import json
import os
import pathlib
import socket
import statistics
import subprocess
import time

from engines import Docker, EdgeHost, Parts, memory_of

HOST_TOOLS = ["/usr:/usr:ro", "/lib:/lib:ro", "/lib64:/lib64:ro"]
ECHO = """
import selectors, socket
poll = selectors.DefaultSelector()
server = socket.create_server(("", 5001), backlog=256)
poll.register(server, selectors.EVENT_READ)
while True:
    for key, _ in poll.select():
        if key.fileobj is server:
            client = server.accept()[0]
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            poll.register(client, selectors.EVENT_READ)
        else:
            data = key.fileobj.recv(65536)
            if data:
                key.fileobj.sendall(data)
            else:
                poll.unregister(key.fileobj)
                key.fileobj.close()
"""


class NetworkBench:
    def __init__(self, work, binary, image, report, notes, quiet):
        self.work, self.binary, self.image = work, binary, image
        self.report, self.notes, self.quiet = report, notes, quiet
        self.spaces = {name: f"ehbench-{os.getpid()}-{name}" for name in ("e", "d")}
        self.address = {"e": "198.18.1.2", "d": "198.18.2.2"}

    def run(self, *measures):
        self.work.mkdir()
        self.parts = Parts(self.work)
        self.edgehost = self.docker = None
        try:
            for name, space in self.spaces.items():
                self.make(name, space)
            self.edgehost = EdgeHost(self.parts, self.binary, space=self.spaces["e"])
            self.docker = Docker(self.parts, space=self.spaces["d"])
            self.engines = {"e": self.edgehost, "d": self.docker}
            self.load()
            for measure in measures:
                getattr(self, "measure_" + measure)()
        finally:
            for engine in filter(None, (self.edgehost, self.docker)):
                for container in engine.api.json("GET", "/containers/json?all=1"):
                    engine.api.call("DELETE", f"/containers/{container['Id']}?force=1")
            if self.edgehost:
                self.edgehost.end()
            self.parts.end()
            for space in self.spaces.values():
                subprocess.run(["ip", "netns", "delete", space], check=False)

    def make(self, name, space):
        here = self.address[name][:-1] + "1"
        for command in (
            f"netns add {space}",
            f"link add ehbw{name} type veth peer name eth0 netns {space}",
            f"address add {here}/24 dev ehbw{name}",
            f"link set ehbw{name} up",
            f"-n {space} address add {self.address[name]}/24 dev eth0",
            f"-n {space} link set eth0 up",
            f"-n {space} link set lo up",
            f"-n {space} route add default via {here}",
        ):
            subprocess.run(["ip", *command.split()], check=True)

    def load(self):
        """Both get the image from the same archive, of the form that both know."""
        archive = self.work / "busybox.tar"
        subprocess.run(["skopeo", "--insecure-policy", "copy", "--quiet", f"oci-archive:{self.image}:latest", f"docker-archive:{archive}:busybox:latest"], check=True)
        for engine in self.engines.values():
            engine.api.call("POST", "/images/load", archive.read_bytes(), content="application/x-tar")

    def create(self, engine, command, network="bridge", ports=(), binds=(), **more):
        body = {
            "Image": "busybox:latest", "Cmd": command, "ExposedPorts": {f"{port}/tcp": {} for port in ports}, **more,
            "HostConfig": {"NetworkMode": network, "Binds": list(binds), "PortBindings": {f"{port}/tcp": [{"HostPort": str(port)}] for port in ports}},
        }
        return engine.api.json("POST", "/containers/create", body)["Id"]

    def life(self, engine, network):
        """Milliseconds of a container's whole life, and of its start."""
        begin = time.perf_counter_ns()
        container = self.create(engine, ["true"], network)
        created = time.perf_counter_ns()
        engine.api.call("POST", f"/containers/{container}/start")
        started = time.perf_counter_ns()
        engine.api.call("POST", f"/containers/{container}/wait")
        engine.api.call("DELETE", f"/containers/{container}")
        return (time.perf_counter_ns() - begin) / 1e6, (started - created) / 1e6

    def measure_start(self):
        rounds, ours, theirs, added = 40, [], [], []
        for index in range(rounds + 3):
            mine, other, alone = self.life(self.edgehost, "bridge"), self.life(self.docker, "bridge"), self.life(self.edgehost, "none")
            if index >= 3:
                ours.append(mine[0])
                theirs.append(other[0])
                added.append(mine[1] - alone[1])
        ratio = statistics.median(a / b for a, b in zip(ours, theirs))
        self.report.add(f"API create + start + wait + remove of `true` in the default bridge (ms, {rounds} pairs)", self.quiet(ours), "dockerd " + self.quiet(theirs), f"{ratio:.3f}", "≤ 0.04 ×", ratio <= 0.04)
        self.report.add(f"a start in the default bridge, above one without a network (ms, {rounds} pairs)", self.quiet(added), "", "", "≤ 5", statistics.median(added) <= 5)

    def measure_ports(self):
        for engine in self.engines.values():
            for command, port in ((["/usr/bin/iperf3", "-s"], 5201), (["/usr/bin/python3", "-c", ECHO], 5001)):
                container = self.create(engine, command, ports=[port], binds=HOST_TOOLS)
                engine.api.call("POST", f"/containers/{container}/start")
        for address in self.address.values():
            for port in (5201, 5001):
                self.until_listening(address, port)
        for connections in (1, 100):
            pairs = [(self.throughput("e", connections), self.throughput("d", connections)) for _ in range(15)]
            ours, theirs = zip(*pairs)
            ratio = statistics.median(a / b for a, b in pairs)
            self.report.add(f"published port, TCP, {connections} connection{'s' * (connections > 1)}: throughput (Gbit/s, 15 pairs)", self.quiet(ours), "dockerd " + self.quiet(theirs), f"{ratio:.2f}", "≥ 1.0 ×", ratio >= 0.995)
        for connections in (1, 100):
            pairs = [(self.latency("e", connections), self.latency("d", connections)) for _ in range(31)]
            ours, theirs = zip(*pairs)
            ratio = statistics.median(b / a for a, b in pairs)
            self.report.add(f"published port, TCP, {connections} connection{'s' * (connections > 1)}: a byte there and back (µs, 31 pairs)", self.quiet(ours), "dockerd " + self.quiet(theirs), f"{ratio:.2f}", "≥ 1.0 × as fast", ratio >= 0.995)
        for engine in self.engines.values():
            for container in engine.api.json("GET", "/containers/json"):
                engine.api.call("DELETE", f"/containers/{container['Id']}?force=1")

    @staticmethod
    def until_listening(address, port):
        deadline = time.monotonic() + 30
        while True:
            with socket.socket() as probe:
                probe.settimeout(5)
                if probe.connect_ex((address, port)) == 0:
                    return
            if time.monotonic() > deadline:
                raise SystemExit(f"bench: nothing listens at {address}:{port}")
            time.sleep(0.1)

    def throughput(self, name, connections):
        run = subprocess.run(["iperf3", "-J", "-c", self.address[name], "-t", "2", "-P", str(connections)], capture_output=True, text=True)
        result = json.loads(run.stdout)
        if "error" in result:
            raise SystemExit(f"bench: iperf3: {result['error']}")
        return result["end"]["sum_received"]["bits_per_second"] / 1e9

    def latency(self, name, connections, rounds=2000):
        """Microseconds from a byte sent to its return, one after the other over so many connections."""
        sockets = []
        for _ in range(connections):
            one = socket.create_connection((self.address[name], 5001))
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sockets.append(one)
        times = []
        for index in range(rounds):
            one = sockets[index % connections]
            begin = time.perf_counter_ns()
            one.send(b"x")
            one.recv(1)
            times.append((time.perf_counter_ns() - begin) / 1e3)
        for one in sockets:
            one.close()
        return statistics.median(times)

    def measure_many(self):
        count, engine = 200, self.edgehost
        daemon, shepherd = engine.process.pid, engine.shepherd
        self.life(engine, "bridge")
        memory = self.idle_memory(daemon)
        before = self.traces()
        shepherd_memory = memory_of(shepherd)[1]
        begin = time.perf_counter()
        containers = []
        for _ in range(count):
            container = self.create(engine, ["sleep", "1000000"], StopSignal="SIGKILL")
            engine.api.call("POST", f"/containers/{container}/start")
            containers.append(container)
        started = time.perf_counter() - begin
        running = len(engine.api.json("GET", "/containers/json"))
        grown = (self.idle_memory(daemon) - memory) / count / 1024
        shepherd_grown = (memory_of(shepherd)[1] - shepherd_memory) / count / 1024
        held = self.traces()
        begin = time.perf_counter()
        for container in containers:
            engine.api.call("DELETE", f"/containers/{container}?force=1")
        removed = time.perf_counter() - begin
        after = self.until_equal(before)
        self.report.add(f"{count} containers on one bridge: how many run, started one after the other", str(running), "", "", f"{count}", running == count)
        self.report.add("memory of the daemon for each of them (private, KiB)", f"{grown:.0f}", "", "", "≤ 100", grown <= 100)
        self.report.add("what is left of them after their removal (descriptors, mounts, cgroups, namespaces, interfaces, rules)", "nothing" if after == before else str({key: (before[key], after[key]) for key in before if before[key] != after[key]}), "", "", "nothing", after == before)
        self.notes.append(f"{count} containers: started in {started:.1f} s ({started / count * 1000:.1f} ms each), removed in {removed:.1f} s; the shepherd grew by {shepherd_grown:.0f} KiB for each. "
                          + "Before, with them, after: " + "; ".join(f"{key} {before[key]}, {held[key]}, {after[key]}" for key in before) + ".")

    def idle_memory(self, pid):
        """Private memory once it has given back what its last work took, which it does after a quiet half minute."""
        time.sleep(65)
        return memory_of(pid)[1]

    def until_equal(self, wanted):
        """The kernel takes a moment to let go of a namespace and its interfaces."""
        deadline = time.monotonic() + 30
        while (found := self.traces()) != wanted and time.monotonic() < deadline:
            time.sleep(0.5)
        return found

    def traces(self):
        space, engine = self.spaces["e"], self.edgehost
        links = subprocess.run(["ip", "-n", space, "-o", "link"], capture_output=True, text=True, check=True).stdout
        rules = subprocess.run(["nsenter", f"--net=/run/netns/{space}", "nft", "list", "ruleset"], capture_output=True, text=True, check=True).stdout
        cgroups = sum(len(folders) for root in pathlib.Path("/sys/fs/cgroup").glob(f"*/{engine.name_on_disk}") for _, folders, _ in os.walk(root))
        return {
            "descriptors of the daemon": len(os.listdir(f"/proc/{engine.process.pid}/fd")),
            "of the shepherd": len(os.listdir(f"/proc/{engine.shepherd}/fd")),
            "of the logger": sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in engine.processes()["logger"]),
            "mounts": len(pathlib.Path(f"/proc/{engine.process.pid}/mountinfo").read_text().splitlines()),
            "cgroups": cgroups,
            "interfaces": links.count("\n"),
            "lines of nftables": rules.count("\n"),
        }
