using System.Globalization;
using System.Text.Json;
using EdgeHost.Engine;

namespace EdgeHost.Deployments;

/// <summary>Reads volumes and tmpfs, in Compose's short and long forms.</summary>
internal static class MountParser
{
    private const string ShortForm = "NAME:/path, /host/path:/path or /path, with :ro, :rw or :idmap=none";

    internal static ContainerMount Volume(JsonNode value) => value.Kind == JsonValueKind.String ? Short(value) : Long(value);

    internal static ContainerMount Tmpfs(JsonNode value)
    {
        var text = value.Text("/path or /path:options");
        var colon = text.IndexOf(':', StringComparison.Ordinal);
        return new ContainerMount(
            ContainerMountKind.Tmpfs,
            string.Empty,
            Target(value, colon < 0 ? text : text[..colon]),
            Options: colon < 0 ? null : text[(colon + 1)..]);
    }

    private static ContainerMount Short(JsonNode value)
    {
        var parts = value.Text(ShortForm).Split(':');
        switch (parts.Length)
        {
            case 1:
                return new ContainerMount(ContainerMountKind.Volume, string.Empty, Target(value, parts[0]));
            case 2:
                return WithSource(value, parts[0], parts[1]);
            case 3:
                var mount = WithSource(value, parts[0], parts[1]);
                foreach (var option in parts[2].Split(','))
                {
                    mount = option switch
                    {
                        "ro" => mount with { ReadOnly = true },
                        "rw" => mount,
                        "idmap=none" => mount with { HostIds = true },
                        _ => throw value.Fail($"option \"{option}\" is not ro, rw or idmap=none"),
                    };
                }

                return mount;
            default:
                throw value.Wrong(ShortForm);
        }
    }

    private static ContainerMount WithSource(JsonNode value, string source, string target)
    {
        if (source.StartsWith('.') || source.StartsWith('~'))
        {
            throw value.Fail($"{source} is relative, and a board has no project directory; give an absolute path or a volume's name");
        }

        return new ContainerMount(
            source.StartsWith('/') ? ContainerMountKind.Bind : ContainerMountKind.Volume,
            source.StartsWith('/') ? source : Name(value, source),
            Target(value, target));
    }

    private static ContainerMount Long(JsonNode value)
    {
        string? type = null, source = null, target = null, options = null;
        var (readOnly, hostIds) = (false, false);
        foreach (var (name, item) in value.Properties(ShortForm + ", or an object"))
        {
            switch (name)
            {
                case "type":
                    type = item.Text("volume, bind or tmpfs");
                    break;
                case "source":
                    source = item.Text("a volume's name or a path of the host");
                    break;
                case "target":
                    target = Target(item, item.Text("an absolute path"));
                    break;
                case "read_only":
                    readOnly = item.Boolean();
                    break;
                case "idmap":
                    hostIds = item.Text("none") == "none" ? true : throw item.Wrong("none");
                    break;
                case "tmpfs":
                    options = TmpfsOptions(item);
                    break;
                default:
                    item.Unknown();
                    break;
            }
        }

        if (target is null)
        {
            throw value.Fail("target is missing");
        }

        if (options is not null && type != "tmpfs")
        {
            throw value.Fail("tmpfs options on a mount of another type");
        }

        if (hostIds && type == "tmpfs")
        {
            throw value.Fail("idmap on a tmpfs, whose files are the container's own");
        }

        return type switch
        {
            "volume" => new ContainerMount(ContainerMountKind.Volume, source is null ? string.Empty : Name(value, source), target, readOnly, HostIds: hostIds),
            "bind" when source?.StartsWith('/') == true => new ContainerMount(ContainerMountKind.Bind, source, target, readOnly, HostIds: hostIds),
            "bind" => throw value.Fail("source must be an absolute path of the host"),
            "tmpfs" when source is not null => throw value.Fail("a tmpfs has no source"),
            "tmpfs" => new ContainerMount(ContainerMountKind.Tmpfs, string.Empty, target, readOnly, options),
            _ => throw value.Fail("type must be volume, bind or tmpfs"),
        };
    }

    private static string? TmpfsOptions(JsonNode value)
    {
        string? options = null;
        foreach (var (name, item) in value.Properties("an object with size and mode"))
        {
            var option = name switch
            {
                "size" when ComposeUnits.TryParseBytes(item.Kind == JsonValueKind.Number ? item.RawText : item.Text("a size"), out var bytes) && bytes > 0 =>
                    $"size={bytes.ToString(CultureInfo.InvariantCulture)}",
                "size" => throw item.Wrong("a size, as in \"16m\""),
                "mode" when item.Integer("permission bits") is >= 0 and <= 4095 and var mode => $"mode={Convert.ToString(mode, 8)}",
                "mode" => throw item.Wrong("permission bits as a number"),
                _ => null,
            };
            if (option is null)
            {
                item.Unknown();
            }

            options = options is null ? option : $"{options},{option}";
        }

        return options;
    }

    private static string Target(JsonNode value, string path)
    {
        if (!path.StartsWith('/') || path.Trim('/').Length == 0)
        {
            throw value.Fail($"\"{path}\" is not an absolute path beneath / inside the container");
        }

        return path.Split('/').Contains("..") ? throw value.Fail($"{path} contains \"..\"") : path;
    }

    private static string Name(JsonNode value, string name) =>
        name.Length is >= 2 and <= 128 && char.IsAsciiLetterOrDigit(name[0]) && name.All(static c => char.IsAsciiLetterOrDigit(c) || c is '_' or '.' or '-')
            ? name
            : throw value.Fail($"\"{name}\" is not a volume's name ([a-zA-Z0-9][a-zA-Z0-9_.-]+)");
}
