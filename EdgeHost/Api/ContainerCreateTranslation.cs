using System.Globalization;
using System.Runtime.InteropServices;
using System.Text.Json;
using EdgeHost.Engine;
using EdgeHost.Errors;

namespace EdgeHost.Api;

/// <summary>
/// Turns Docker's create body into what the engine is asked for. A pure function. Nothing that was asked for is dropped
/// in silence: it is held, or it is an error that names the field, or (where the container is safer without it, or
/// Docker's own clients always send it) a warning.
/// </summary>
internal static class ContainerCreateTranslation
{
    // Of Docker, whose clients know it. Of what EdgeHost starts itself ResourceLimits has the least.
    private const long SmallestMemoryBytes = 6 << 20;

    // Values of fields that are not held, which ask for what a container gets anyway.
    private static readonly string[] HeldAnyway =
    [
        "HostConfig.MemorySwappiness=-1",
        "HostConfig.OomScoreAdj=0",
        "HostConfig.Isolation=default",
        "HostConfig.IpcMode=private",
        "HostConfig.CgroupnsMode=private",
        "HostConfig.Runtime=runc",
        "HostConfig.Runtime=edgehost",
        "HostConfig.ShmSize=67108864",
        "HostConfig.VolumeDriver=local",
        "Mounts.VolumeOptions.DriverConfig.Name=local",
        "Mounts.BindOptions.Propagation=rprivate",
        "Mounts.BindOptions.CreateMountpoint=true",
        "Mounts.BindOptions.ReadOnlyForceRecursive=true",
    ];

    internal static (ContainerSpec Spec, List<string> Warnings) Translate(string? name, string? platform, ContainerCreateBody body)
    {
        var host = body.HostConfig ?? new HostConfigBody();
        var warnings = new List<string>();
        RefuseNulls(body, host);
        RefuseRest(string.Empty, body.Rest);
        RefuseRest("HostConfig.", host.Rest);
        RefuseUnmasked(host);
        RefuseOtherPlatform(platform);
        if (host.MemorySwap is not 0 and not -1 && host.Memory == 0)
        {
            throw new EdgeHostException(ErrorKind.Invalid, "HostConfig.MemorySwap is given without Memory; set both");
        }

        var spec = new ContainerSpec
        {
            Name = string.IsNullOrEmpty(name) ? null : name.TrimStart('/'),
            Image = string.IsNullOrEmpty(body.Image)
                ? throw new EdgeHostException(ErrorKind.Invalid, "no image: Image must name one")
                : body.Image,
            // Docker's --entrypoint "" arrives as [""] and clears the image's.
            Entrypoint = body.Entrypoint is { Count: 1 } single && single[0].Length == 0 ? [] : NullIfEmpty(body.Entrypoint),
            Command = NullIfEmpty(body.Cmd),
            Environment = Environment(body.Env),
            WorkingDirectory = NullIfEmpty(body.WorkingDir),
            User = NullIfEmpty(body.User),
            Hostname = NullIfEmpty(body.Hostname),
            Labels = body.Labels ?? [],
            Mounts = Mounts(body, host),
            Limits = Limits(host, warnings),
            Restart = Restart(host),
            StopSignal = NullIfEmpty(body.StopSignal),
            StopGrace = Grace(body.StopTimeout),
            ReadOnlyRoot = host.ReadonlyRootfs,
            Users = host.UsernsMode switch
            {
                null or "" => UserNamespaceMode.Default,
                "host" => UserNamespaceMode.Host,
                "auto" => UserNamespaceMode.Auto,
                var other => throw new EdgeHostException(ErrorKind.Invalid, $"invalid userns mode: {other}; it is host or auto"),
            },
            Privileged = host.Privileged,
            AppArmor = SecurityOptions(host.SecurityOpt),
            AddCapabilities = host.CapAdd ?? [],
            DropCapabilities = host.CapDrop ?? [],
            Devices = [.. (host.Devices ?? []).Select(Device)],
            DeviceRules = host.DeviceCgroupRules ?? [],
            AutoRemove = host.AutoRemove,
            Health = body.Healthcheck,
            Init = host.Init.ValueKind == JsonValueKind.True,
            Terminal = body.Tty,
            TerminalRows = Lines(host.ConsoleSize, 0),
            TerminalColumns = Lines(host.ConsoleSize, 1),
            OpenInput = body.OpenStdin,
            InputOnce = body.StdinOnce,
        };
        return (ContainerNetworkTranslation.Add(LogOptions.Add(spec, host.LogConfig), body, host, warnings), warnings);
    }

    /// <summary>What <c>POST /containers/ID/update</c> asks for, in the words of a container's HostConfig; null is to stay as it is.</summary>
    internal static (ResourceLimits Limits, RestartPolicy? Restart, List<string> Warnings) TranslateUpdate(HostConfigBody body)
    {
        RefuseRest(string.Empty, body.Rest);
        if (body is { Binds.Count: > 0 } or { Mounts.Count: > 0 } or { Tmpfs.Count: > 0 } or { CapAdd.Count: > 0 } or { CapDrop.Count: > 0 } or { Devices.Count: > 0 } or { DeviceCgroupRules.Count: > 0 } or { SecurityOpt.Count: > 0 } or { AutoRemove: true } or { Privileged: true } or { ReadonlyRootfs: true } or { NetworkMode.Length: > 0 } or { LogConfig.Config.Count: > 0 } || BlockRates(body) is not null)
        {
            throw new EdgeHostException(ErrorKind.Invalid, "only limits but those of disks and the restart policy of a container can be changed; make it anew for anything else");
        }

        if (body.PidsLimit is <= 0 || body.CpuQuota < 0)
        {
            throw new EdgeHostException(ErrorKind.Unsupported, "taking a limit away from a container is not in this version; make it anew without");
        }

        var warnings = new List<string>();
        return (Limits(body, warnings), string.IsNullOrEmpty(body.RestartPolicy?.Name) ? null : Restart(body), warnings);
    }

    private static string Device(Dictionary<string, string> mapping)
    {
        var source = mapping.GetValueOrDefault("PathOnHost", string.Empty);
        var path = mapping.GetValueOrDefault("PathInContainer") is { Length: > 0 } given && given != source ? $":{given}" : string.Empty;
        var access = mapping.GetValueOrDefault("CgroupPermissions") is { Length: > 0 } asked ? $":{asked}" : string.Empty;
        return source + path + access;
    }

    /// <summary>A bind in the short form, <c>source:target[:options]</c>, or a volume when the source is no path.</summary>
    internal static ContainerMount Bind(string text)
    {
        var parts = text.Split(':');
        if (parts.Length is < 2 or > 3 || parts[0].Length == 0 || !parts[1].StartsWith('/'))
        {
            throw new EdgeHostException(
                ErrorKind.Invalid,
                $"bind \"{text}\" is not SOURCE:TARGET[:OPTIONS] with an absolute target");
        }

        var isVolume = !parts[0].StartsWith('/');
        var readOnly = false;
        var noCopy = false;
        var hostIds = false;
        foreach (var option in parts.Length == 3 ? parts[2].Split(',') : [])
        {
            noCopy |= option == "nocopy";
            hostIds |= option == "idmap=none";
            readOnly = option switch
            {
                "ro" => true,
                "nocopy" when isVolume => readOnly,
                "nocopy" => throw new EdgeHostException(ErrorKind.Invalid, $"bind \"{text}\": nocopy is for volumes; nothing is copied into a path of the host"),
                // z and Z relabel for SELinux, which is not there; rprivate is how every mount is made; how far a copy may
                // lag behind is a matter of Docker's virtual machines on other systems.
                "rw" or "z" or "Z" or "rprivate" or "cached" or "delegated" or "consistent" or "idmap=none" or "" => readOnly,
                _ => throw new EdgeHostException(ErrorKind.Unsupported, $"bind \"{text}\": option {option} is not in this version"),
            };
        }

        return new ContainerMount(
            isVolume ? ContainerMountKind.Volume : ContainerMountKind.Bind,
            parts[0],
            parts[1],
            readOnly,
            NoCopy: noCopy,
            HostIds: hostIds,
            MakesSource: isVolume ? null : true);
    }

    private static List<ContainerMount> Mounts(ContainerCreateBody body, HostConfigBody host)
    {
        var mounts = new List<ContainerMount>();
        foreach (var bind in host.Binds ?? [])
        {
            mounts.Add(Bind(bind));
        }

        foreach (var mount in host.Mounts ?? [])
        {
            RefuseRest("Mounts.", mount.Rest);
            RefuseRest("Mounts.TmpfsOptions.", mount.TmpfsOptions?.Rest);
            RefuseRest("Mounts.VolumeOptions.", mount.VolumeOptions?.Rest);
            var target = mount.Target is ['/', ..]
                ? mount.Target
                : throw new EdgeHostException(ErrorKind.Invalid, $"mount target \"{mount.Target}\" is not an absolute path");
            var hostIds = mount.IdMap switch
            {
                null or "" => false,
                "none" when mount.Type is "bind" or "volume" => true,
                "none" => throw new EdgeHostException(ErrorKind.Invalid, $"mount {target}: idmap is for binds and volumes"),
                var other => throw new EdgeHostException(ErrorKind.Invalid, $"mount {target}: idmap \"{other}\" is not none"),
            };
            mounts.Add(mount.Type switch
            {
                "bind" when mount.Source is ['/', ..] => new(ContainerMountKind.Bind, mount.Source, target, mount.ReadOnly, HostIds: hostIds, MakesSource: MakesSource(mount)),
                "bind" => throw new EdgeHostException(ErrorKind.Invalid, $"mount source \"{mount.Source}\" of {target} is not an absolute path"),
                "volume" => new(ContainerMountKind.Volume, mount.Source ?? string.Empty, target, mount.ReadOnly, NoCopy: mount.VolumeOptions?.NoCopy == true, HostIds: hostIds),
                "tmpfs" => new(ContainerMountKind.Tmpfs, string.Empty, target, mount.ReadOnly, TmpfsOptions(mount.TmpfsOptions)),
                _ => throw new EdgeHostException(ErrorKind.Unsupported, $"mount type \"{mount.Type}\" of {target} is not in this version; bind, volume and tmpfs are"),
            });
        }

        foreach (var (target, options) in host.Tmpfs ?? [])
        {
            mounts.Add(new ContainerMount(ContainerMountKind.Tmpfs, string.Empty, target, false, NullIfEmpty(options)));
        }

        foreach (var target in body.Volumes?.Keys ?? Enumerable.Empty<string>())
        {
            // docker-compose names a bind's target here once more.
            if (!mounts.Exists(m => m.Target == target))
            {
                mounts.Add(new ContainerMount(ContainerMountKind.Volume, string.Empty, target));
            }
        }

        foreach (var same in mounts.GroupBy(m => m.Target.TrimEnd('/'), StringComparer.Ordinal))
        {
            if (same.Count() > 1)
            {
                throw new EdgeHostException(ErrorKind.Invalid, $"duplicate mount point: {same.First().Target}");
            }
        }

        return mounts;
    }

    // Compose's word for what the short form does anyway.
    private static bool? MakesSource(MountBody mount) => mount.Rest?.GetValueOrDefault("BindOptions") is { ValueKind: JsonValueKind.Object } options
        && options.TryGetProperty("CreateMountpoint", out var makes) && makes.ValueKind == JsonValueKind.True ? true : null;

    private static string? TmpfsOptions(TmpfsOptionsBody? options)
    {
        var parts = new List<string>();
        if (options is { SizeBytes: > 0 })
        {
            parts.Add(string.Create(CultureInfo.InvariantCulture, $"size={options.SizeBytes}"));
        }

        if (options is { Mode: > 0 })
        {
            parts.Add($"mode={Convert.ToString(options.Mode, 8)}");
        }

        return parts.Count == 0 ? null : string.Join(',', parts);
    }

    private static ResourceLimits Limits(HostConfigBody host, List<string> warnings)
    {
        RefuseNegative("Memory", host.Memory);
        if (host.Memory is > 0 and < SmallestMemoryBytes)
        {
            throw new EdgeHostException(ErrorKind.Invalid, $"Minimum memory limit allowed is 6MB, and HostConfig.Memory={host.Memory} is less; a desired state may go below");
        }

        RefuseNegative("MemoryReservation", host.MemoryReservation);
        RefuseNegative("NanoCpus", host.NanoCpus);
        RefuseNegative("CpuPeriod", host.CpuPeriod);
        if (host.MemorySwap is not 0 and not -1 && host.MemorySwap < host.Memory)
        {
            throw new EdgeHostException(
                ErrorKind.Invalid,
                $"HostConfig.MemorySwap={host.MemorySwap} is memory and swap together and cannot be less than Memory={host.Memory}");
        }

        long? nano = host.NanoCpus > 0 ? host.NanoCpus : null;
        if (host.CpuQuota > 0)
        {
            if (nano is not null)
            {
                throw new EdgeHostException(ErrorKind.Invalid, "HostConfig.NanoCpus and CpuQuota exclude each other");
            }

            var period = host.CpuPeriod > 0 ? host.CpuPeriod : 100_000;
            if (period is < 1_000 or > 1_000_000)
            {
                throw new EdgeHostException(ErrorKind.Invalid, $"HostConfig.CpuPeriod={period} is not between 1000 and 1000000 microseconds");
            }

            nano = (long)Math.Min(host.CpuQuota * (decimal)1_000_000_000 / period, long.MaxValue);
        }
        else if (host.CpuPeriod > 0)
        {
            throw new EdgeHostException(ErrorKind.Unsupported, "HostConfig.CpuPeriod is given without CpuQuota; use NanoCpus (--cpus)");
        }

        return new ResourceLimits
        {
            MemoryBytes = host.Memory > 0 ? host.Memory : null,
            MemoryAndSwapBytes = host.MemorySwap == 0 ? null : host.MemorySwap,
            MemoryReservationBytes = host.MemoryReservation > 0 ? host.MemoryReservation : null,
            NanoCpus = nano,
            // 0 and -1 are Docker's ways to say "no limit".
            Pids = host.PidsLimit > 0 ? host.PidsLimit : null,
            CpusetCpus = NullIfEmpty(host.CpusetCpus),
            BlockRates = BlockRates(host),
        };
    }

    private static List<string>? BlockRates(HostConfigBody host)
    {
        List<string>? rates = null;
        JsonElement[] given = [host.BlkioDeviceReadBps, host.BlkioDeviceWriteBps, host.BlkioDeviceReadIOps, host.BlkioDeviceWriteIOps];
        for (var kind = 0; kind < given.Length; kind++)
        {
            if (given[kind].ValueKind is JsonValueKind.Undefined or JsonValueKind.Null)
            {
                continue;
            }

            var field = "HostConfig." + BlockRate.DockerFields[kind];
            if (given[kind].ValueKind != JsonValueKind.Array)
            {
                throw new EdgeHostException(ErrorKind.Invalid, $"{field} is not a list");
            }

            foreach (var item in given[kind].EnumerateArray())
            {
                if (item.ValueKind != JsonValueKind.Object
                    || !item.TryGetProperty("Path", out var path) || path.ValueKind != JsonValueKind.String
                    || !item.TryGetProperty("Rate", out var rate) || rate.ValueKind != JsonValueKind.Number || !rate.TryGetInt64(out var number))
                {
                    throw new EdgeHostException(ErrorKind.Invalid, $"{field}: {item.GetRawText()} is not an object with a Path and a Rate that is a number");
                }

                try
                {
                    (rates ??= []).Add(BlockRate.Make(kind, path.GetString()!, number));
                }
                catch (EdgeHostException e)
                {
                    throw new EdgeHostException(e.Kind, $"{field}: {e.Message}", e);
                }
            }
        }

        return rates;
    }

    private static int Lines(JsonElement size, int at) => size.ValueKind != JsonValueKind.Array || size.GetArrayLength() != 2 ? 0
        : size[at].ValueKind == JsonValueKind.Number && size[at].TryGetUInt16(out var lines) ? lines
        : throw new EdgeHostException(ErrorKind.Invalid, $"HostConfig.ConsoleSize: {size[at].GetRawText()} is not a number from 0 to {ushort.MaxValue}");

    private static RestartPolicy Restart(HostConfigBody host)
    {
        var policy = host.RestartPolicy;
        var count = policy?.MaximumRetryCount ?? 0;
        var kind = policy?.Name switch
        {
            null or "" or "no" => RestartKind.No,
            "always" => RestartKind.Always,
            "on-failure" => RestartKind.OnFailure,
            "unless-stopped" => RestartKind.UnlessStopped,
            _ => throw new EdgeHostException(
                ErrorKind.Invalid,
                $"restart policy \"{policy.Name}\" is not one of no, always, on-failure, unless-stopped"),
        };
        if (count < 0 || (count > 0 && kind != RestartKind.OnFailure))
        {
            throw new EdgeHostException(ErrorKind.Invalid, $"maximum retry count {count}: it goes with on-failure and is 0 or more");
        }

        if (kind != RestartKind.No && host.AutoRemove)
        {
            throw new EdgeHostException(ErrorKind.Invalid, "a container cannot both be removed at its end (AutoRemove) and be started again (RestartPolicy)");
        }

        return new RestartPolicy(kind, count);
    }

    private static List<string> Environment(List<string>? variables)
    {
        foreach (var variable in variables ?? [])
        {
            if (variable.Length == 0 || variable[0] == '=')
            {
                throw new EdgeHostException(ErrorKind.Invalid, $"invalid environment variable: {variable}");
            }
        }

        // A name without a value takes one away in Docker; the client has resolved those of its own environment.
        return variables ?? [];
    }

    private static TimeSpan? Grace(int? seconds) => seconds switch
    {
        null => null,
        // Docker: wait for ever. A day is for ever for a board, and a number for the kernel's timers.
        < 0 => TimeSpan.FromDays(1),
        _ => TimeSpan.FromSeconds(seconds.Value),
    };

    // The profile of AppArmor; null where none is named.
    private static string? SecurityOptions(List<string>? options)
    {
        const string AppArmor = "apparmor";
        string? profile = null;
        foreach (var option in options ?? [])
        {
            if (option.StartsWith(AppArmor, StringComparison.Ordinal) && option.Length > AppArmor.Length + 1 && option[AppArmor.Length] is '=' or ':')
            {
                profile = option[(AppArmor.Length + 1)..];
                if (profile.Any(static c => char.IsControl(c) || char.IsWhiteSpace(c)))
                {
                    throw new EdgeHostException(ErrorKind.Invalid, "HostConfig.SecurityOpt: the name of an AppArmor profile has no blanks");
                }
            }
            else if (option is not ("no-new-privileges" or "no-new-privileges:true" or "no-new-privileges=true"))
            {
                // Every container runs with no_new_privs.
                throw new EdgeHostException(ErrorKind.Unsupported, $"HostConfig.SecurityOpt={option} is not in this version");
            }
        }

        return profile;
    }

    // System.Text.Json lets a null into a list of what is declared never to be one.
    private static void RefuseNulls(ContainerCreateBody body, HostConfigBody host)
    {
        (string Field, IEnumerable<object?>? Items)[] lists =
        [
            ("Env", body.Env), ("Labels", body.Labels?.Values), ("HostConfig.Binds", host.Binds), ("HostConfig.Mounts", host.Mounts),
            ("HostConfig.Tmpfs", host.Tmpfs?.Values), ("HostConfig.CapAdd", host.CapAdd), ("HostConfig.CapDrop", host.CapDrop),
            ("HostConfig.SecurityOpt", host.SecurityOpt), ("HostConfig.Devices", host.Devices), ("HostConfig.DeviceCgroupRules", host.DeviceCgroupRules),
            ("HostConfig.Dns", host.Dns), ("HostConfig.DnsSearch", host.DnsSearch), ("HostConfig.DnsOptions", host.DnsOptions),
            ("HostConfig.ExtraHosts", host.ExtraHosts), ("HostConfig.LogConfig", host.LogConfig?.Config?.Values),
        ];
        foreach (var (field, items) in lists)
        {
            if (items?.Contains(null) == true)
            {
                throw new EdgeHostException(ErrorKind.Invalid, $"{field} has a null in it");
            }
        }
    }

    // Elsewhere an empty list asks for nothing; here it asks for /proc without a mask.
    private static void RefuseUnmasked(HostConfigBody host)
    {
        foreach (var field in (string[])["MaskedPaths", "ReadonlyPaths"])
        {
            if (!host.Privileged && host.Rest?.GetValueOrDefault(field).ValueKind == JsonValueKind.Array)
            {
                throw new EdgeHostException(ErrorKind.Unsupported, $"HostConfig.{field}=[] (systempaths=unconfined) is not in this version");
            }
        }
    }

    private static void RefuseNegative(string field, long value)
    {
        if (value < 0)
        {
            throw new EdgeHostException(ErrorKind.Invalid, $"HostConfig.{field}={value} is negative");
        }
    }

    /// <summary>Refuses what is for another machine.</summary>
    internal static void RefuseOtherPlatform(string? platform)
    {
        var here = RuntimeInformation.ProcessArchitecture switch
        {
            Architecture.X64 => "linux/amd64",
            Architecture.Arm64 => "linux/arm64",
            _ => "linux/arm",
        };
        if (!string.IsNullOrEmpty(platform) && platform != here && platform != here + "/v8")
        {
            throw new EdgeHostException(ErrorKind.Infeasible, $"platform {platform} cannot run here: this machine is {here}");
        }
    }

    private static void RefuseRest(string path, Dictionary<string, JsonElement>? rest)
    {
        foreach (var (name, value) in rest ?? [])
        {
            Refuse(path + name, value);
        }
    }

    /// <summary>Refuses what nobody here understands, unless it asks for nothing.</summary>
    internal static void Refuse(string path, JsonElement value)
    {
        if (!AsksForNothing(path, value))
        {
            var text = value.GetRawText();
            throw new EdgeHostException(
                ErrorKind.Unsupported,
                $"{path} is not in this version (asked for: {(text.Length > 80 ? text[..80] + "…" : text)})");
        }
    }

    /// <summary>Whether a value that nobody here understands asks for nothing: null, false, 0, empty, or made of such.</summary>
    private static bool AsksForNothing(string path, JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.Null or JsonValueKind.False => true,
        JsonValueKind.Number when value.TryGetInt64(out var number) && number == 0 => true,
        JsonValueKind.String when value.GetString()!.Length == 0 => true,
        JsonValueKind.Array => value.EnumerateArray().All(item => AsksForNothing(path, item)),
        JsonValueKind.Object => value.EnumerateObject().All(item => AsksForNothing($"{path}.{item.Name}", item.Value)),
        _ => HeldAnyway.Contains($"{path}={value}", StringComparer.OrdinalIgnoreCase),
    };

    private static string? NullIfEmpty(string? text) => string.IsNullOrEmpty(text) ? null : text;

    private static List<string>? NullIfEmpty(List<string>? list) => list is { Count: > 0 } ? list : null;
}
