using System.Globalization;
using EdgeHost.Errors;
using EdgeHost.Linux;
using EdgeHost.Oci;
using EdgeHost.Runtime.Cgroups;
using EdgeHost.Runtime.Launch;

namespace EdgeHost.Engine;

/// <summary>Refuses what no container can have, before anything of it is made.</summary>
internal static class ContainerSpecCheck
{
    private const long SmallestNanoCpus = 10_000_000;

    // PID_MAX_LIMIT of the kernel; its pids controller takes no more.
    private const long MostPids = 4 * 1024 * 1024;

    // sethostname(2) takes 64 bytes.
    private const int LongestHostname = 64;

    /// <summary>Checks what was asked for.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Invalid"/>; <see cref="ErrorKind.Infeasible"/>: more than this board has.</exception>
    internal static void Require(ContainerSpec spec)
    {
        // The kernel ends a string at a zero byte: the program would get another one than was asked for.
        RefuseZero("entrypoint", spec.Entrypoint);
        RefuseZero("command", spec.Command);
        RefuseZero("environment", spec.Environment);
        RefuseZero("working directory", [spec.WorkingDirectory ?? string.Empty]);
        RefuseZero("mount", spec.Mounts.SelectMany(mount => new[] { mount.Source, mount.Target, mount.Options ?? string.Empty }));
        RefuseZero("device", spec.Devices);
        if (spec.Hostname is { } name && (System.Text.Encoding.UTF8.GetByteCount(name) > LongestHostname || name.Any(c => char.IsControl(c) || char.IsWhiteSpace(c) || c == '/')))
        {
            throw new EdgeHostException(ErrorKind.Invalid, $"hostname \"{new string([.. name.Select(c => char.IsControl(c) ? '?' : c)])}\" must be at most {LongestHostname} bytes without blanks and slashes");
        }

        foreach (var device in spec.Devices)
        {
            HostDevices.Parse(device);
        }

        foreach (var rule in spec.DeviceRules)
        {
            HostDevices.ParseRule(rule);
        }

        foreach (var mount in spec.Mounts)
        {
            if (mount is { Kind: ContainerMountKind.Tmpfs, Options: { } options })
            {
                CheckTmpfs(mount.Target, options);
            }
        }

        CheckLimits(spec.Limits);
        CheckHealth(spec.Health);
    }

    // The kernel says of all of them together that something is wrong (tmpfs(5)).
    private static void CheckTmpfs(string target, string options)
    {
        foreach (var option in MountOptions.Parse(new RuntimeMount { Destination = target, Options = options.Split(',', StringSplitOptions.RemoveEmptyEntries) }).Data)
        {
            var equals = option.IndexOf('=', StringComparison.Ordinal);
            var value = option[(equals + 1)..];
            var isRight = option[..Math.Max(equals, 0)] switch
            {
                "size" => IsNumber(value.TrimEnd('%') == value ? Unscaled(value) : value[..^1]),
                "nr_blocks" or "nr_inodes" => IsNumber(Unscaled(value)),
                "mode" => value.Length is > 0 and <= 5 && !value.AsSpan().ContainsAnyExceptInRange('0', '7'),
                "uid" or "gid" => uint.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out _),
                "mpol" or "huge" => value.Length > 0,
                _ => throw new EdgeHostException(ErrorKind.Invalid, $"tmpfs on {target}: invalid tmpfs option \"{option}\"; there are size, nr_blocks, nr_inodes, mode, uid, gid, mpol and huge with a value, and those of every mount, as noexec"),
            };
            if (!isRight)
            {
                throw new EdgeHostException(ErrorKind.Invalid, $"tmpfs on {target}: option \"{option}\" has a value that it cannot have; right are size=64m, nr_inodes=10k, mode=1777, uid=1000");
            }
        }

        static string Unscaled(string value) => value.Length > 1 && "kKmMgG".Contains(value[^1], StringComparison.Ordinal) ? value[..^1] : value;

        static bool IsNumber(string value) => long.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out _);
    }

    // Docker's rules and words; of a test that is not known, which Docker never runs, it says nothing.
    private static void CheckHealth(HealthCheck? check)
    {
        if (check is null)
        {
            return;
        }

        RefuseZero("Healthcheck.Test", check.Test);
        if (check.Test is [not (HealthCheck.None or HealthCheck.Command or HealthCheck.ShellCommand), ..])
        {
            throw new EdgeHostException(ErrorKind.Invalid, $"Healthcheck.Test: \"{check.Test[0]}\" is not one of NONE, CMD and CMD-SHELL");
        }

        if (check.Test is [HealthCheck.Command or HealthCheck.ShellCommand] or [HealthCheck.Command, "", ..])
        {
            throw new EdgeHostException(ErrorKind.Invalid, $"Healthcheck.Test: {check.Test[0]} is given without the command to run");
        }

        Duration("Interval", check.Interval);
        Duration("Timeout", check.Timeout);
        Duration("StartPeriod", check.StartPeriod);
        Duration("StartInterval", check.StartInterval);
        if (check.Retries < 0)
        {
            throw new EdgeHostException(ErrorKind.Invalid, "Retries in Healthcheck cannot be negative");
        }

        static void Duration(string name, long nanoseconds)
        {
            if (nanoseconds is not 0 and < 1_000_000)
            {
                throw new EdgeHostException(ErrorKind.Invalid, $"{name} in Healthcheck cannot be less than 1ms");
            }
        }
    }

    private static void RefuseZero(string what, IEnumerable<string>? texts)
    {
        foreach (var text in texts ?? [])
        {
            if (text.Contains('\0', StringComparison.Ordinal))
            {
                throw new EdgeHostException(ErrorKind.Invalid, $"{what} \"{text.Replace('\0', '?')}\" has a zero byte in it");
            }
        }
    }

    private static void CheckLimits(ResourceLimits limits)
    {
        var memory = SystemMemory.TotalBytes;
        if (limits.MemoryBytes is { } bytes)
        {
            if (bytes < ResourceLimits.SmallestMemoryBytes)
            {
                throw new EdgeHostException(ErrorKind.Invalid, $"memory limit {bytes} bytes: at least {ResourceLimits.SmallestMemoryBytes} are needed to start a program");
            }

            if (bytes > memory)
            {
                throw new EdgeHostException(ErrorKind.Infeasible, $"memory limit {bytes} bytes: this board has {memory}");
            }
        }

        if (limits.MemoryAndSwapBytes is { } both and not -1 && !(both >= limits.MemoryBytes))
        {
            throw new EdgeHostException(ErrorKind.Invalid, $"limit of memory and swap {both} bytes: it cannot be less than that of memory, {limits.MemoryBytes?.ToString(CultureInfo.InvariantCulture) ?? "which is not given"}");
        }

        if (limits.MemoryReservationBytes is { } kept && (kept < 0 || kept > limits.MemoryBytes))
        {
            throw new EdgeHostException(ErrorKind.Invalid, $"memory reservation {kept} bytes: it cannot be more than the memory limit, {limits.MemoryBytes}");
        }

        if (limits.NanoCpus is { } cpus)
        {
            if (cpus < SmallestNanoCpus)
            {
                throw new EdgeHostException(ErrorKind.Invalid, $"CPU limit {cpus / 1e9:0.###}: at least 0.01 is needed");
            }

            if (cpus > Environment.ProcessorCount * 1_000_000_000L)
            {
                throw new EdgeHostException(ErrorKind.Infeasible, $"CPU limit {cpus / 1e9:0.###}: Range of CPUs is from 0.01 to {Environment.ProcessorCount}.00, as there are only {Environment.ProcessorCount} CPUs available");
            }
        }

        if (limits.Pids is < 1 or > MostPids)
        {
            throw new EdgeHostException(ErrorKind.Invalid, limits.Pids < 1 ? $"process limit {limits.Pids}: at least 1 is needed" : $"process limit {limits.Pids}: a kernel has {MostPids} at most; leave it out for none");
        }

        if (limits.CpusetCpus is { } list && !Cgroup.ExpandList(list).IsSubsetOf(Enumerable.Range(0, Environment.ProcessorCount)))
        {
            throw new EdgeHostException(ErrorKind.Infeasible, $"CPUs {list}: this board has 0-{Environment.ProcessorCount - 1}");
        }
    }
}
