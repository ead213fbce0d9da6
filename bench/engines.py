"""What bench/measure.py starts and asks: engines, brokers, registries, and their clients. Needs nothing but Python 3.11."""

import base64
import contextlib
import http.client
import json
import os
import pathlib
import select
import signal
import socket
import struct
import subprocess
import threading
import time



# --- parts that are started, and ended in reverse ---


class Parts:
    """Everything that was started, with its log, ended in reverse. What lives in /run on a board has a tmpfs here, as /run is one."""

    def __init__(self, work):
        self.work = work
        self.run = work / "run"
        self.run.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", str(self.run)], check=True)
        self.processes = []

    def start(self, name, *command, env=None, space=None):
        """Starts a program, in a network namespace when one is named: only that one is another then, unlike with ip netns exec."""
        command = ["nsenter", f"--net=/run/netns/{space}", *command] if space else command
        log = open(self.work / f"{name}.log", "ab")
        process = subprocess.Popen(
            [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True, env={**os.environ, **(env or {})})
        process.name = name
        self.processes.append(process)
        return process

    def until(self, process, what, ready, seconds=60):
        deadline = time.monotonic() + seconds
        while not ready():
            if process.poll() is not None or time.monotonic() > deadline:
                log = (self.work / f"{process.name}.log").read_text(errors="replace")
                raise SystemExit(f"bench: {what} did not come up:\n{log[-2000:]}")
            time.sleep(0.05)

    def end(self):
        for process in reversed(self.processes):
            end(process.pid, wait=process.wait)
        subprocess.run(["umount", "--recursive", str(self.run)], check=True)


def end(pid, wait=None, seconds=30):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    if wait:
        try:
            wait(seconds)
        except subprocess.TimeoutExpired:
            os.kill(pid, signal.SIGKILL)
            wait()
        return
    deadline = time.monotonic() + seconds
    while alive(pid):
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


def alive(pid):
    try:
        state = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state != "Z"
    except FileNotFoundError:
        return False


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def listening(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


# --- the one HTTP client, for both engines ---


class Api(http.client.HTTPConnection):
    """Docker's API over a unix socket, one connection kept open."""

    def __init__(self, path):
        super().__init__("localhost", timeout=600)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(600)
        self.sock.connect(self.path)

    def call(self, method, path, body=None, headers=None, content="application/json"):
        data = json.dumps(body).encode() if isinstance(body, (dict, list)) else body
        if self.sock and select.select([self.sock], [], [], 0)[0]:
            # Either engine closes a connection on which it heard nothing for two minutes.
            self.close()
        self.request(method, "/v1.41" + path, body=data, headers={"Content-Type": content, **(headers or {})})
        response = self.getresponse()
        answer = response.read()
        if response.status >= 400:
            raise SystemExit(f"bench: {self.path}: {method} {path}: {response.status} {answer.decode(errors='replace')}")
        return answer

    def json(self, method, path, body=None):
        return json.loads(self.call(method, path, body) or b"null")

    def answers(self):
        try:
            self.call("GET", "/_ping")
            return True
        except (OSError, http.client.HTTPException):
            self.close()
            return False


class Mqtt:
    """As much of MQTT 3.1.1 as publishes with QoS 1 and hears what was subscribed."""

    def __init__(self, port, user, password):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.number = 0
        body = self.text("MQTT") + bytes([4, 0xC2]) + struct.pack(">H", 0) + self.text("bench") + self.text(user) + self.text(password)
        self.send(0x10, body)
        kind, answer = self.receive()
        if kind >> 4 != 2 or answer[1]:
            raise SystemExit(f"bench: the broker refuses {user}: {answer}")

    @staticmethod
    def text(value):
        data = value.encode()
        return struct.pack(">H", len(data)) + data

    def send(self, kind, body):
        length, rest = bytearray(), len(body)
        while True:
            rest, byte = divmod(rest, 128)
            length.append(byte | (0x80 if rest else 0))
            if not rest:
                break
        self.socket.sendall(bytes([kind]) + bytes(length) + body)

    def read(self, count):
        data = b""
        while len(data) < count:
            more = self.socket.recv(count - len(data))
            if not more:
                raise SystemExit("bench: the broker hung up")
            data += more
        return data

    def receive(self):
        kind, shift, length = self.read(1)[0], 0, 0
        while True:
            byte = self.read(1)[0]
            length |= (byte & 127) << shift
            shift += 7
            if not byte & 128:
                return kind, self.read(length)

    def subscribe(self, topic):
        self.number += 1
        self.send(0x82, struct.pack(">H", self.number) + self.text(topic) + b"\0")
        while self.receive()[0] >> 4 != 9:
            pass

    def publish(self, topic, payload):
        self.number += 1
        self.send(0x33, self.text(topic) + struct.pack(">H", self.number) + payload)

    def message(self):
        """The payload of the next message on a subscribed topic."""
        while True:
            kind, body = self.receive()
            if kind >> 4 == 3:
                return body[2 + struct.unpack(">H", body[:2])[0]:]


# --- memory ---


def memory_of(pid):
    """Proportional and private memory of a process in bytes."""
    sizes = {}
    for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, _, value = line.partition(":")
        sizes[name] = int(value.split()[0]) * 1024
    return sizes["Pss"], sizes["Private_Clean"] + sizes["Private_Dirty"]


def peak_of(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise SystemExit(f"bench: no VmHWM of {pid}")


def forget_peak(pid):
    pathlib.Path(f"/proc/{pid}/clear_refs").write_text("5")


def descendants(pid):
    children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children]


# --- the two engines ---


class EdgeHost:
    name = "EdgeHost"

    def __init__(self, parts, binary, mosquitto=None, registry=None, space=None):
        self.binary, self.parts = binary, parts
        self.name_on_disk = f"edgehost-bench-{os.getpid()}{'-' + space if space else ''}"
        self.data, self.run = parts.work / f"e{space or ''}", parts.run / f"e{space or ''}"
        configuration = {"device": {"id": "bench"}, "cgroupRoot": self.name_on_disk, "network": {"bridge": "ehbench0"}}
        if mosquitto:
            (parts.work / "secret").write_text(mosquitto.password)
            configuration["mqtt"] = {"url": f"mqtt://127.0.0.1:{mosquitto.port}", "user": "bench", "passwordFile": str(parts.work / "secret")}
        if registry:
            configuration["registries"] = {registry.host: {"plainHttp": True}}
        config = parts.work / f"edgehost{space or ''}.json"
        config.write_text(json.dumps(configuration))
        self.process = parts.start(
            f"edgehost{space or ''}", binary, "daemon", "--config", config, "--data-dir", self.data, "--run-dir", self.run, space=space)
        self.socket = self.run / "edgehost.sock"
        parts.until(self.process, "edgehost daemon", lambda: self.socket.exists() and Api(self.socket).answers())
        self.api = Api(self.socket)

    @property
    def shepherd(self):
        return int((self.run / "shepherd.lock").read_text())

    def processes(self):
        shepherd = self.shepherd
        loggers = [pid for pid in descendants(shepherd) if b"logger" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()]
        return {"daemon": [self.process.pid], "shepherd": [shepherd], "logger": loggers}

    def end(self):
        shepherd = self.shepherd
        end(self.process.pid, wait=self.process.wait)
        end(shepherd)
        for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
            fields, tail = line.split(" - ")[0].split(), line.split(" - ")[1].split()
            if tail[0] in ("cgroup", "cgroup2"):
                root = pathlib.Path(fields[4]) / self.name_on_disk
                for directory, _, _ in os.walk(root, topdown=False):
                    os.rmdir(directory)


class Docker:
    name = "dockerd"

    def __init__(self, parts, space=None):
        work, own = parts.work, space or ""
        self.socket, self.address = work / f"d{own}.sock", work / f"c{own}.sock"
        self.containerd = parts.start(
            f"containerd{own}", "containerd", "--root", work / f"c{own}", "--state", parts.run / f"c{own}", "--address", self.address, "--log-level", "error", space=space)
        parts.until(self.containerd, "containerd", self.address.exists)
        # In a namespace of its own it has its bridge and its rules, as on a board.
        network = [] if space else ["--iptables=false", "--ip6tables=false", "--bridge=none"]
        self.process = parts.start(
            f"dockerd{own}", "dockerd", "--containerd", self.address, *network,
            "--data-root", work / f"d{own}", "--exec-root", parts.run / f"d{own}", "--pidfile", work / f"d{own}.pid", "-H", f"unix://{self.socket}", space=space)
        parts.until(self.process, "dockerd", lambda: self.socket.exists() and Api(self.socket).answers())
        self.api = Api(self.socket)

    def processes(self):
        shims = []
        for entry in pathlib.Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    words = (entry / "cmdline").read_bytes().split(b"\0")
                    if b"containerd-shim" in words[0] and str(self.address).encode() in words:
                        shims.append(int(entry.name))
        return {"dockerd": [self.process.pid], "containerd": [self.containerd.pid], "containerd-shim": shims}


class Mosquitto:
    def __init__(self, parts, name="mosquitto"):
        self.port, self.password = free_port(), base64.b16encode(os.urandom(12)).decode()
        directory = parts.work / name
        directory.mkdir()
        passwords = directory / "passwords"
        passwords.write_text(f"bench:{self.password}\n")
        subprocess.run(["mosquitto_passwd", "-U", str(passwords)], check=True)
        (directory / "mosquitto.conf").write_text(
            f"user root\nlistener {self.port} 127.0.0.1\nallow_anonymous false\npassword_file {passwords}\n")
        process = parts.start(name, "mosquitto", "-c", directory / "mosquitto.conf")
        parts.until(process, "mosquitto", lambda: listening(self.port))


class Registry:
    def __init__(self, parts):
        port = free_port()
        self.host = f"127.0.0.1:{port}"
        config = parts.work / "registry.yml"
        config.write_text(
            f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {parts.work}/registry}}}}\nhttp: {{addr: \"{self.host}\"}}\n")
        process = parts.start("registry", "docker-registry", "serve", config, env={"OTEL_TRACES_EXPORTER": "none"})
        parts.until(process, "docker-registry", lambda: listening(port))

    def push(self, source, name):
        subprocess.run(
            ["skopeo", "--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false", source, f"docker://{self.host}/{name}"],
            check=True)
        return f"{self.host}/{name}"


class Events:
    """The events of an engine with the moment at which each was heard."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(path))
        self.socket.sendall(b"GET /v1.41/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        self.heard, self.condition = [], threading.Condition()
        threading.Thread(target=self.listen, daemon=True).start()
        time.sleep(0.5)

    def listen(self):
        buffer = b""
        with contextlib.suppress(OSError):
            while data := self.socket.recv(65536):
                now = time.perf_counter_ns()
                buffer += data
                *lines, buffer = buffer.split(b"\n")
                with self.condition:
                    for line in lines:
                        if line.startswith(b"{"):
                            self.heard.append((json.loads(line).get("Action"), now))
                    self.condition.notify_all()

    def forget(self):
        with self.condition:
            self.heard.clear()

    def wait_for(self, action):
        with self.condition:
            while True:
                for heard, moment in self.heard:
                    if heard == action:
                        return moment
                if not self.condition.wait(60):
                    raise SystemExit(f"bench: no event {action} within a minute; heard {self.heard}")

    def close(self):
        self.socket.shutdown(socket.SHUT_RDWR)
