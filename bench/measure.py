"""The measuring part of bench/run.sh, which says how to call it. Needs nothing but Python 3.11."""

import argparse
import contextlib
import gzip
import hashlib
import json
import os
import pathlib
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tarfile
import time

from board import BoardBench
from engines import Docker, EdgeHost, Events, Mosquitto, Mqtt, Parts, Registry, forget_peak, memory_of, peak_of
from many import ManyBench
from network import NetworkBench

PARTS = ["memory", "density", "size", "sizes", "api", "request", "burst", "oci", "deploy", "cli", "exec", "pull", "bridge", "network"]
BOARD_PARTS = ["board-idle", "board-cold", "board-hogs", "board-boot"]
MIB = 1 << 20
DOWNLOAD = pathlib.Path(__file__).parent.parent / "Edge.Tests/Board/board-download.sh"


# --- numbers ---


def quiet(numbers):
    """Median and the middle half of a list, in words."""
    ordered = sorted(numbers)
    low, high = ordered[len(ordered) // 4], ordered[(len(ordered) * 3) // 4]
    return f"{statistics.median(ordered):.1f} ({low:.1f}–{high:.1f})"


def spawn(*command, output=None):
    """Milliseconds from the start of a program to its reaping; its output goes nowhere, unless a descriptor is given."""
    words = [str(word) for word in command]
    null = [(os.POSIX_SPAWN_OPEN, fd, "/dev/null", os.O_RDWR, 0) for fd in (0, 1)]
    if output is not None:
        null.append((os.POSIX_SPAWN_DUP2, output, 1))
    begin = time.perf_counter_ns()
    pid = os.posix_spawnp(words[0], words, os.environ, file_actions=null)
    _, status = os.waitpid(pid, 0)
    took = (time.perf_counter_ns() - begin) / 1e6
    if status:
        raise SystemExit(f"bench: {' '.join(words)} ended with {os.waitstatus_to_exitcode(status)}")
    return took


def output(*command):
    """What a program prints."""
    return subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True).stdout


class Report:
    def __init__(self):
        self.rows = []

    def add(self, what, ours, theirs, ratio, goal, met):
        self.rows.append((what, ours, theirs, ratio, goal, "yes" if met else "**no**" if met is not None else ""))
        print(" | ".join(str(cell) for cell in self.rows[-1]), file=sys.stderr, flush=True)

    def print(self):
        print("| what | EdgeHost | to compare | ratio | goal | met |\n|---|---|---|---|---|---|")
        for row in self.rows:
            print("| " + " | ".join(row) + " |")


# --- what is measured ---


class Bench:
    def __init__(self, options):
        self.work = pathlib.Path(options.work)
        self.binary = options.binary
        self.report = Report()
        self.parts = Parts(self.work)
        self.notes = []
        self.wanted = options.part or PARTS
        self.options = options
        self.edgehost = self.docker = self.board = None

    def measure_bridge(self):
        self.network("bridge").run("start")

    def measure_network(self):
        self.network("network").run("ports", "many")

    def network(self, name):
        return NetworkBench(self.work / name, self.binary, self.options.image, self.report, self.notes, quiet)

    def measure_board_idle(self):
        self.board.measure_idle()

    def measure_board_cold(self):
        self.board.measure_cold()

    def measure_board_hogs(self):
        self.board.measure_hogs()

    def measure_board_boot(self):
        self.board.measure_boot()

    def measure_density(self):
        ManyBench(self, quiet, spawn).measure_density()

    def measure_burst(self):
        ManyBench(self, quiet, spawn).measure_burst()

    def measure_request(self):
        ManyBench(self, quiet, spawn).measure_request()

    def run(self):
        load = os.getloadavg()
        try:
            if {"memory", "density", "api", "request", "burst", "deploy", "cli", "exec", "pull"} & set(self.wanted):
                self.mosquitto = Mosquitto(self.parts)
                self.registry = Registry(self.parts)
                self.busybox = self.registry.push(f"oci-archive:{self.options.image}:latest", "busybox:latest")
                self.edgehost = EdgeHost(self.parts, self.binary, self.mosquitto, self.registry)
            if {"memory", "density", "api", "request", "burst", "pull", "cli", "exec"} & set(self.wanted):
                self.docker = Docker(self.parts)
            if set(BOARD_PARTS) & set(self.wanted):
                self.board = BoardBench(self, Mosquitto(self.parts, "board"), quiet)
            for engine in filter(None, (self.edgehost, self.docker)):
                self.pull(engine, self.busybox)
            for part in PARTS + BOARD_PARTS:
                if part in self.wanted:
                    getattr(self, "measure_" + part.replace("-", "_"))()
        finally:
            if self.board:
                self.board.end()
            if self.docker:
                for container in self.docker.api.json("GET", "/containers/json?all=1"):
                    self.docker.api.call("DELETE", f"/containers/{container['Id']}?force=1")
            if self.edgehost:
                self.edgehost.end()
            self.parts.end()
        self.print(load)

    def print(self, load):
        model = next((line.split(":")[1].strip() for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), platform.machine())
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20
        cgroups = "v2" if pathlib.Path("/sys/fs/cgroup/cgroup.controllers").exists() else "v1"
        versions, packages = [], ["mosquitto"]
        if set(PARTS) & set(self.wanted):
            versions.append(subprocess.run([self.binary, "--version"], capture_output=True, text=True).stdout.strip())
            packages = ["docker.io", "containerd", "runc", "docker-registry", "mosquitto"]
        for package in packages:
            version = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", package], capture_output=True, text=True).stdout
            versions.append(f"{package} {version}")
        print(f"`{' '.join(['bench/run.sh', *self.options.part])}` at {time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC, {platform.machine()}, {model}, "
              f"{os.cpu_count()} CPUs, {memory} MiB, Linux {platform.release()}, cgroup {cgroups}. "
              f"Load average at the start {load[0]:.1f}, at the end {os.getloadavg()[0]:.1f}. "
              f"{'; '.join(versions)}. Medians; in brackets the middle half.\n")
        self.report.print()
        for note in self.notes:
            print(f"\n{note}")

    def pull(self, engine, reference):
        name, _, tag = reference.rpartition(":")
        answer = engine.api.call("POST", f"/images/create?fromImage={name}&tag={tag}")
        if b'"error"' in answer:
            raise SystemExit(f"bench: {engine.name} cannot pull {reference}: {answer.decode()[-500:]}")

    def create(self, engine, command, **host):
        body = {"Image": self.busybox, "Cmd": command, "HostConfig": {"NetworkMode": "none", **host}}
        return engine.api.json("POST", "/containers/create", body)["Id"]

    def measure_memory(self):
        mqtt = Mqtt(self.mosquitto.port, "bench", self.mosquitto.password)
        workloads = {name: {"image": self.busybox, "command": ["sleep", "1000000"], "stop_signal": "SIGKILL", "mem_limit": "16m", "cpus": 0.1} for name in ("a", "b", "c")}
        self.deploy(mqtt, 1, workloads)
        containers = [self.create(self.docker, ["sleep", "1000000"], Memory=16 * MIB) for _ in range(3)]
        for container in containers:
            self.docker.api.call("POST", f"/containers/{container}/start")
        # Nothing is asked of either for so long: what start-up took is given back by then, where it is given back at all.
        time.sleep(95)
        totals, lines = {}, []
        for engine in (self.edgehost, self.docker):
            found = {kind: [memory_of(pid) for pid in pids] for kind, pids in engine.processes().items()}
            totals[engine.name] = sum(pss for sizes in found.values() for pss, _ in sizes)
            lines.append(f"{engine.name}: " + ", ".join(
                f"{kind}{f' × {len(sizes)}' if len(sizes) > 1 else ''} {sum(p for p, _ in sizes) / MIB:.1f} MiB (private {sum(p for _, p in sizes) / MIB:.1f})"
                for kind, sizes in found.items()))
        print("\n".join(lines), file=sys.stderr)
        for container in containers:
            self.docker.api.call("DELETE", f"/containers/{container}?force=1")
        self.deploy(mqtt, 2, {})
        ours, theirs = totals["EdgeHost"] / 1e6, totals["dockerd"] / 1e6
        self.report.add("memory of all its processes after 95 s of idling, 3 containers, connected to mosquitto (PSS, 10^6 bytes)", f"{ours:.1f}", f"dockerd, containerd, shims {theirs:.1f}", f"{ours / theirs:.2f}", "≤ 20", ours <= 20)
        self.notes.append("Memory: " + "; ".join(lines) + ".")

    def measure_size(self):
        ours = os.path.getsize(self.binary)
        theirs = sum(os.path.getsize(path) for path in map(shutil.which, ("dockerd", "docker", "containerd", "containerd-shim-runc-v2", "runc")) if path)
        self.report.add("binary (10^6 bytes)", f"{ours / 1e6:.1f}", f"dockerd, docker, containerd, shim, runc {theirs / 1e6:.1f}", f"{ours / theirs:.2f}", "≤ 20", ours <= 20e6)

    def measure_sizes(self):
        """Packages, beside Debian's of the same architecture that do as much; what else these depend on is not counted."""
        peers = ("docker.io, containerd, runc", "podman, conmon, crun, netavark, aardvark-dns")
        for package in self.options.package:
            fields = dict(line.split(": ", 1) for line in output("dpkg-deb", "-f", package, "Architecture", "Installed-Size").splitlines())
            architecture = fields["Architecture"]
            known = {}
            for record in output(DOWNLOAD, architecture, "--show", *", ".join(peers).split(", ")).split("\n\n"):
                of = dict(line.split(": ", 1) for line in record.splitlines() if ": " in line and line[0] != " ")
                if of:
                    known[of["Package"]] = of
            # Debian counts what is installed in KiB, what is downloaded in bytes.
            for what, ours, field, unit, most in (("package", os.path.getsize(package), "Size", 1, 8e6), ("installed", int(fields["Installed-Size"]) * 1024, "Installed-Size", 1024, 22e6)):
                theirs = {names: sum(int(known[name][field]) * unit for name in names.split(", ")) for names in peers}
                self.report.add(f"{what}, {architecture} (10^6 bytes)", f"{ours / 1e6:.1f}", "; ".join(f"{names} {size / 1e6:.1f}" for names, size in theirs.items()),
                                ", ".join(f"{ours / size:.2f}" for size in theirs.values()), f"≤ {most / 1e6:.0f}", ours <= most)

    def measure_api(self):
        engines, rounds = (self.edgehost, self.docker), 40
        steps = {engine.name: [] for engine in engines}
        for index in range(rounds + 3):
            for engine in engines:
                marks = [time.perf_counter_ns()]
                container = self.create(engine, ["true"])
                marks.append(time.perf_counter_ns())
                engine.api.call("POST", f"/containers/{container}/start")
                marks.append(time.perf_counter_ns())
                engine.api.call("POST", f"/containers/{container}/wait")
                marks.append(time.perf_counter_ns())
                engine.api.call("DELETE", f"/containers/{container}")
                marks.append(time.perf_counter_ns())
                if index >= 3:
                    steps[engine.name].append([(b - a) / 1e6 for a, b in zip(marks, marks[1:])])
        whole = {name: [sum(each) for each in times] for name, times in steps.items()}
        ratio = statistics.median(a / b for a, b in zip(whole["EdgeHost"], whole["dockerd"]))
        self.report.add(f"API create + start + wait + remove of `true`, no network (ms, {rounds} pairs)", quiet(whole["EdgeHost"]), "dockerd " + quiet(whole["dockerd"]), f"{ratio:.3f}", "≤ 0.025 ×", ratio <= 0.025)
        for name, times in steps.items():
            self.notes.append(f"API, {name}: " + ", ".join(f"{step} {statistics.median(column):.1f} ms" for step, column in zip(("create", "start", "wait", "remove"), zip(*times))) + ".")

    def bundle(self, name, arguments, resources=None):
        """A bundle of busybox with what `runc spec` writes, but for the program and limits."""
        bundle = self.work / f"bundle-{name}"
        subprocess.run(["umoci", "unpack", "--image", f"{self.unpacked_layout()}:latest", str(bundle)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        (bundle / "config.json").unlink()
        subprocess.run(["runc", "spec"], cwd=bundle, check=True)
        spec = json.loads((bundle / "config.json").read_text())
        spec["process"].update(terminal=False, args=arguments)
        spec["linux"]["resources"].update(resources or {})
        (bundle / "config.json").write_text(json.dumps(spec))
        return bundle

    def measure_oci(self):
        bundle = self.bundle("oci", ["true"])
        ours, theirs, rounds = [], [], 60
        for index in range(rounds + 3):
            pair = (
                spawn(self.binary, "oci", "--root", self.parts.run / "oci", "run", "-b", bundle, f"bench-e-{index}"),
                spawn("runc", "--root", self.parts.run / "runc", "run", "-b", bundle, f"bench-r-{index}"),
            )
            if index >= 3:
                ours.append(pair[0])
                theirs.append(pair[1])
        ratio = statistics.median(a / b for a, b in zip(ours, theirs))
        self.report.add(f"`oci run` of `true`, the bundle of `runc spec` (ms, {rounds} pairs)", quiet(ours), "runc run " + quiet(theirs), f"{ratio:.2f}", "≤ 0.6 ×", ratio <= 0.6)

    def unpacked_layout(self):
        layout = self.work / "layout"
        if not layout.exists():
            layout.mkdir()
            with tarfile.open(self.options.image) as tar:
                tar.extractall(layout)
        return layout

    def deploy(self, mqtt, version, workloads):
        mqtt.subscribe("edgehost/v1/bench/reported")
        mqtt.publish("edgehost/v1/bench/desired", json.dumps({"version": version, "workloads": workloads}).encode())
        while True:
            reported = json.loads(mqtt.message())
            deployment = reported["deployment"]
            if deployment.get("failure", {}).get("version") == version:
                raise SystemExit(f"bench: version {version}: {deployment['failure']['reason']}")
            states = [each["state"] for each in reported["workloads"].values()]
            if deployment["version"] == version and deployment["phase"] == "running" and states == ["running"] * len(workloads):
                return

    def measure_deploy(self):
        mqtt = Mqtt(self.mosquitto.port, "bench", self.mosquitto.password)
        workload = {"image": self.busybox, "command": ["sleep", "1000000"], "stop_signal": "SIGKILL", "mem_limit": "16m", "cpus": 0.5, "pids_limit": 10}
        events, times, rounds = Events(self.edgehost.socket), [], 25
        for index in range(rounds + 2):
            version = 1000 + 2 * index
            self.deploy(mqtt, version, {})
            document = json.dumps({"version": version + 1, "workloads": {"one": workload}}).encode()
            events.forget()
            begin = time.perf_counter_ns()
            mqtt.publish("edgehost/v1/bench/desired", document)
            took = (events.wait_for("start") - begin) / 1e6
            if index >= 2:
                times.append(took)
        self.deploy(mqtt, 1000 + 2 * rounds + 10, {})
        events.close()
        self.report.add(f"desired state published → its process runs, image present (ms, {rounds} times)", quiet(times), "", "", "≤ 100", statistics.median(times) <= 100)

    def measure_cli(self):
        kinds = {
            "version": ([self.binary, "version"], ["docker", "--version"]),
            "ps": ([self.binary, "-H", f"unix://{self.edgehost.socket}", "ps"], ["docker", "-H", f"unix://{self.docker.socket}", "ps"]),
        }
        baseline = []
        for name, (ours, theirs) in kinds.items():
            pairs = []
            for index in range(43):
                pair = spawn(*ours), spawn(*theirs), spawn("true")
                if index >= 3:
                    pairs.append(pair)
            mine, other, least = zip(*pairs)
            baseline += least
            ratio = statistics.median(a / b for a, b in zip(mine, other))
            self.report.add(f"`edgehost {name}` from start to end (ms, 40 pairs)", quiet(mine), f"docker {name} {quiet(other)}", f"{ratio:.2f}", "≤ 6", statistics.median(mine) <= 6)
        self.notes.append(f"Starting and reaping `true` takes {quiet(baseline)} ms here; it is in every figure of a program above.")

    def measure_exec(self):
        engines, rounds = (self.edgehost, self.docker), 40
        clients = {"EdgeHost": [self.binary, "-H", f"unix://{self.edgehost.socket}"], "dockerd": ["docker", "-H", f"unix://{self.docker.socket}"]}
        containers = {}
        for engine in engines:
            containers[engine.name] = self.create(engine, ["sleep", "1000000"])
            engine.api.call("POST", f"/containers/{containers[engine.name]}/start")
        pairs = []
        for index in range(rounds + 3):
            pair = [spawn(*clients[engine.name], "exec", containers[engine.name], "true") for engine in engines]
            if index >= 3:
                pairs.append(pair)
        mine, other = zip(*pairs)
        ratio = statistics.median(a / b for a, b in zip(mine, other))
        self.report.add(f"`edgehost exec` of `true` from start to end (ms, {rounds} pairs)", quiet(mine), "docker exec " + quiet(other), f"{ratio:.3f}", "≤ 0.15 ×", ratio <= 0.15)
        megabytes = 500
        produce = ["sh", "-c", f"dd if=/dev/zero bs=64k count={megabytes * 16} 2> /dev/null"]
        kinds = {
            "exec": lambda engine: ["exec", containers[engine.name], *produce],
            "run in the foreground": lambda engine: ["run", "--rm", "--network", "none", self.busybox, *produce],
        }
        for what, command in kinds.items():
            rates = {engine.name: [] for engine in engines}
            for _ in range(5):
                for engine in engines:
                    rates[engine.name].append(megabytes * MIB / 1e3 / spawn(*clients[engine.name], *command(engine)))
            self.report.add(f"output through {what} (MB/s, {megabytes} MiB, 5 pairs)", quiet(rates["EdgeHost"]), "docker " + quiet(rates["dockerd"]), f"{statistics.median(rates['EdgeHost']) / statistics.median(rates['dockerd']):.2f}", "≥ 300", statistics.median(rates["EdgeHost"]) >= 300)
        # Within what is kept of a log unless more is configured.
        logged, rates = {}, {engine.name: [] for engine in engines}
        for engine in engines:
            logged[engine.name] = self.create(engine, ["sh", "-c", "yes a line of some length, as programs write them into their logs | head -c 25000000"])
            engine.api.call("POST", f"/containers/{logged[engine.name]}/start")
            engine.api.call("POST", f"/containers/{logged[engine.name]}/wait")
        for _ in range(10):
            for engine in engines:
                rates[engine.name].append(25_000_000 / 1e3 / spawn(*clients[engine.name], "logs", logged[engine.name]))
        self.report.add("output through logs, lines of 60 bytes (MB/s, 25 MB, 10 pairs)", quiet(rates["EdgeHost"]), "docker " + quiet(rates["dockerd"]), f"{statistics.median(rates['EdgeHost']) / statistics.median(rates['dockerd']):.2f}", "≥ 300", statistics.median(rates["EdgeHost"]) >= 300)
        for engine in engines:
            for each in (containers, logged):
                engine.api.call("DELETE", f"/containers/{each[engine.name]}?force=1")

    def measure_pull(self):
        reference, compressed = self.large_image()
        engines = (self.edgehost, self.docker)
        times, peaks = {engine.name: [] for engine in engines}, {engine.name: [] for engine in engines}
        rounds = 3
        for _ in range(rounds):
            for engine in engines:
                os.sync()
                pids = [pid for kind, found in engine.processes().items() if kind in ("daemon", "dockerd", "containerd") for pid in found]
                for pid in pids:
                    forget_peak(pid)
                begin = time.perf_counter_ns()
                self.pull(engine, reference)
                times[engine.name].append((time.perf_counter_ns() - begin) / 1e9)
                peaks[engine.name].append(sum(peak_of(pid) for pid in pids) / MIB)
                engine.api.call("DELETE", f"/images/{reference}?force=1")
        ratio = statistics.median(a / b for a, b in zip(times["EdgeHost"], times["dockerd"]))
        self.report.add(f"pull and unpack of {compressed / 1e6:.0f} MB (compressed, 5 layers) from a registry on the loopback (s, {rounds} pairs)", quiet(times["EdgeHost"]), "dockerd " + quiet(times["dockerd"]), f"{ratio:.2f}", "≤ 1.0 ×", ratio <= 1.0)
        peak = max(peaks["EdgeHost"])
        self.report.add("peak memory of the daemon in it (VmHWM, MiB)", f"{peak:.1f}", f"dockerd and containerd {max(peaks['dockerd']):.1f}", f"{peak / max(peaks['dockerd']):.2f}", "≤ 60", peak <= 60)

    def large_image(self):
        """Five layers of this machine's own /usr, about 40 MB each when compressed."""
        layout = self.work / "large"
        blobs = layout / "blobs" / "sha256"
        blobs.mkdir(parents=True)
        files = (
            os.path.join(directory, name)
            for root in ("/usr/lib", "/usr/share", "/usr/bin") for directory, folders, names in os.walk(root) if folders.sort() is None
            for name in sorted(names))
        layers, diffs, compressed = [], [], 0
        for number in range(5):
            path = self.work / "layer"
            count = Counted(open(path, "wb"))
            with gzip.GzipFile(fileobj=count, mode="wb", compresslevel=6, mtime=0) as zipped:
                plain = Hashed(zipped)
                with tarfile.open(fileobj=plain, mode="w|", format=tarfile.PAX_FORMAT) as tar:
                    for file in files:
                        with contextlib.suppress(OSError):
                            tar.add(file, recursive=False)
                        if count.total > 42e6:
                            break
            count.file.close()
            digest = hashlib.file_digest(open(path, "rb"), "sha256").hexdigest()
            compressed += count.total
            path.rename(blobs / digest)
            layers.append({"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": f"sha256:{digest}", "size": count.total})
            diffs.append(f"sha256:{plain.hash.hexdigest()}")

        def blob(document):
            data = json.dumps(document).encode()
            digest = hashlib.sha256(data).hexdigest()
            (blobs / digest).write_bytes(data)
            return {"digest": f"sha256:{digest}", "size": len(data)}

        architecture = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
        config = blob({"architecture": architecture, "os": "linux", "config": {"Cmd": ["true"]}, "rootfs": {"type": "layers", "diff_ids": diffs}})
        manifest = blob({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                         "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **config}, "layers": layers})
        (layout / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
        (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [
            {"mediaType": "application/vnd.oci.image.manifest.v1+json", **manifest, "annotations": {"org.opencontainers.image.ref.name": "latest"}}]}))
        reference = self.registry.push(f"oci:{layout}:latest", "large:latest")
        shutil.rmtree(layout)
        return reference, compressed


class Counted:
    """A file that counts what is written to it."""

    def __init__(self, file):
        self.file, self.total = file, 0

    def write(self, data):
        self.total += len(data)
        return self.file.write(data)

    def flush(self):
        self.file.flush()


class Hashed(Counted):
    """A file that hashes what is written to it."""

    def __init__(self, file):
        super().__init__(file)
        self.hash = hashlib.sha256()

    def write(self, data):
        self.hash.update(data)
        return super().write(data)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", required=True)
    parser.add_argument("--image", required=True)
    parser.add_argument("--work", required=True)
    parser.add_argument("--board-binary")
    parser.add_argument("--board-image")
    parser.add_argument("--board-cache")
    parser.add_argument("--package", action="append", default=[])
    parser.add_argument("part", nargs="*", choices=PARTS + BOARD_PARTS + [[]])
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    Bench(options).run()


main()
