#!/usr/bin/env python3
"""Writes EdgeHost/Order.txt: the methods that a quiet EdgeHost runs, and then those that a container's start needs.

    ./cross-build.sh && sudo bench/order.py dist/linux-x64/edgehost

The compiler puts these side by side in the program (ILC, --method-layout:Explicit). The kernel maps sixteen pages around
each one that is touched, so that methods which lie scattered keep megabytes mapped, and a start after a while of quiet
faults them in again. Names that a later build does not have are passed over: it is made anew when `memory` of
bench/run.sh has grown, not with each change. x86_64 alone, whose order serves the other architecture as well.

Each method's first instruction is made a breakpoint (ptrace(2)), in the daemon, the shepherd and the logger; the first
process that comes there takes it away again.
"""

import ctypes
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import traceback

from engines import EdgeHost, Mosquitto, Mqtt, Parts, Registry

QUIET_SECONDS = 75  # a report each minute, a look at the memory each half
WALL = 0x40000000
GETREGS, SETREGS, CONT, DETACH, SEIZE, INTERRUPT = 12, 13, 7, 17, 0x4206, 0x4207
FOLLOW = 0x02 | 0x04 | 0x08  # forks, vforks and clones
INSTRUCTION_POINTER = 16 * 8

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long


def ptrace(request, thread, data=0):
    return libc.ptrace(request, thread, 0, data)


def methods(binary):
    """Address → the names of the method that begins there; equal code has one address."""
    found = {}
    listing = subprocess.run(["readelf", "-sW", f"{binary}.dbg"], capture_output=True, text=True, check=True).stdout
    sections = subprocess.run(["readelf", "-SW", binary], capture_output=True, text=True, check=True).stdout
    fields = next(line for line in sections.splitlines() if " __managedcode " in line).split("__managedcode")[1].split()
    start, end = int(fields[1], 16), int(fields[1], 16) + int(fields[3], 16)
    for line in listing.splitlines():
        words = line.split()
        if len(words) >= 8 and words[3] == "FUNC" and start <= int(words[1], 16) < end:
            found.setdefault(int(words[1], 16), []).append(words[7])
    return found


class Trace:
    """Follows a process, in one of its own, and writes down what was come to, in order."""

    def __init__(self, pid, addresses, output):
        self.output = output
        self.tracer = os.fork()
        if self.tracer == 0:
            try:
                self.follow(pid, addresses)
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(1)

    def end(self):
        os.kill(self.tracer, signal.SIGTERM)
        os.waitpid(self.tracer, 0)
        return [int(line, 16) for line in self.output.read_text().split()]

    def follow(self, pid, addresses):
        ended = False

        def on_signal(*_):
            nonlocal ended
            ended = True

        signal.signal(signal.SIGTERM, on_signal)
        for thread in os.listdir(f"/proc/{pid}/task"):
            ptrace(SEIZE, int(thread), FOLLOW)
        ptrace(INTERRUPT, pid)
        os.waitpid(pid, WALL)
        first, last = addresses[0], addresses[-1] + 1
        self.memory = {pid: os.open(f"/proc/{pid}/mem", os.O_RDWR)}
        before = os.pread(self.memory[pid], last - first, first)
        trapped = bytearray(before)
        for address in addresses:
            trapped[address - first] = 0xCC
        os.pwrite(self.memory[pid], trapped, first)
        ptrace(CONT, pid)
        seen, registers = set(), ctypes.create_string_buffer(27 * 8)
        is_method = set(addresses).__contains__
        with open(self.output, "w") as output:
            while not ended:
                try:
                    thread, status = os.waitpid(-1, WALL | os.WNOHANG)
                except ChildProcessError:
                    break
                if thread == 0:
                    time.sleep(0.0005)
                    continue
                if not os.WIFSTOPPED(status):
                    continue
                stop = os.WSTOPSIG(status)
                if stop == signal.SIGTRAP and status >> 16 == 0 and (address := self.trapped_at(thread, registers, is_method)):
                    os.pwrite(self.memory_of(thread), before[address - first:address - first + 1], address)
                    if address not in seen:
                        seen.add(address)
                        output.write(f"{address:x}\n")
                        output.flush()
                    stop = 0
                ptrace(CONT, thread, stop if status >> 16 == 0 and stop != signal.SIGTRAP else 0)
        os.pwrite(self.memory[pid], before, first)
        for thread in os.listdir(f"/proc/{pid}/task"):
            thread = int(thread)
            ptrace(INTERRUPT, thread)
            _, status = os.waitpid(thread, WALL)
            if os.WIFSTOPPED(status) and os.WSTOPSIG(status) == signal.SIGTRAP and status >> 16 == 0:
                self.trapped_at(thread, registers, is_method)
            ptrace(DETACH, thread)

    def memory_of(self, thread):
        process = next(int(line.split()[1]) for line in open(f"/proc/{thread}/status") if line.startswith("Tgid:"))
        if process not in self.memory:
            self.memory[process] = os.open(f"/proc/{process}/mem", os.O_RDWR)
        return self.memory[process]

    @staticmethod
    def trapped_at(thread, registers, is_method):
        """The method whose breakpoint the thread is at, which it will begin anew; or none."""
        ptrace(GETREGS, thread, ctypes.addressof(registers))
        address = int.from_bytes(registers[INSTRUCTION_POINTER:INSTRUCTION_POINTER + 8], "little") - 1
        if not is_method(address):
            return None
        registers[INSTRUCTION_POINTER:INSTRUCTION_POINTER + 8] = address.to_bytes(8, "little")
        ptrace(SETREGS, thread, ctypes.addressof(registers))
        return address


def cycle(api, image):
    for network in ("none", "bridge"):
        made = api.json("POST", "/containers/create", {"Image": image, "Cmd": ["true"], "HostConfig": {"NetworkMode": network}})
        api.call("POST", f"/containers/{made['Id']}/start")
        api.call("POST", f"/containers/{made['Id']}/wait")
        api.call("DELETE", f"/containers/{made['Id']}")


def main():
    binary = str(pathlib.Path(sys.argv[1]).resolve())
    names = methods(binary)
    addresses = sorted(names)
    work = pathlib.Path(tempfile.mkdtemp(dir="/var/tmp", prefix="edgehost-order-"))
    parts = Parts(work)
    order = []
    try:
        mosquitto, registry = Mosquitto(parts), Registry(parts)
        image = registry.push(f"oci-archive:{pathlib.Path(binary).parents[1]}/images/busybox-amd64.tar:latest", "busybox:latest")
        engine = EdgeHost(parts, binary, mosquitto, registry)
        engine.api.call("POST", f"/images/create?fromImage={image.rpartition(':')[0]}&tag=latest")
        ids = []
        for _ in range(3):
            made = engine.api.json("POST", "/containers/create", {"Image": image, "Cmd": ["sleep", "1000000"], "HostConfig": {"NetworkMode": "bridge"}})
            engine.api.call("POST", f"/containers/{made['Id']}/start")
            ids.append(made["Id"])
        for _ in range(2):
            cycle(engine.api, image)
        processes = engine.processes()
        for seconds in (QUIET_SECONDS, 0):
            time.sleep(5)
            traces = [Trace(processes[kind][0], addresses, work / kind) for kind in ("shepherd", "logger", "daemon")]
            time.sleep(5 + seconds)
            if not seconds:
                cycle(engine.api, image)
            for trace in traces:
                order += trace.end()
        for each in ids:
            engine.api.call("DELETE", f"/containers/{each}?force=1")
        engine.end()
    finally:
        parts.end()
        subprocess.run(["rm", "-rf", "--one-file-system", str(work)], check=True)
    lines = [name for address in dict.fromkeys(order) for name in names[address]]
    target = pathlib.Path(__file__).resolve().parents[1] / "EdgeHost" / "Order.txt"
    target.write_text("\n".join(lines) + "\n")
    print(f"{target}: {len(lines)} methods")


main()
