using System.Globalization;
using EdgeHost.Engine;
using EdgeHost.Errors;

namespace EdgeHost.Api;

/// <summary>
/// What of <c>HostConfig.LogConfig</c> is held: how much of the output is kept. Where it is kept is our own matter, so
/// that Docker's two drivers that keep it in files both mean that.
/// </summary>
internal static class LogOptions
{
    private const string Field = "HostConfig.LogConfig";
    private const string MaxSize = "max-size";
    private const string MaxFile = "max-file";

    /// <summary>Adds to what was asked for.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Unsupported"/>: another driver or option; <see cref="ErrorKind.Invalid"/>: a value that it cannot have.</exception>
    internal static ContainerSpec Add(ContainerSpec spec, LogConfigBody? asked)
    {
        if (asked is null)
        {
            return spec;
        }

        if (asked.Type is not (null or "" or "json-file" or "local"))
        {
            throw new EdgeHostException(ErrorKind.Unsupported, $"{Field}: log driver {asked.Type} is not in this version; json-file and local are");
        }

        foreach (var (name, value) in asked.Config ?? [])
        {
            spec = name switch
            {
                MaxSize => spec with { LogBytes = Size(value) },
                MaxFile => spec with { LogFiles = Number(value) },
                _ => throw new EdgeHostException(ErrorKind.Unsupported, $"{Field}: log option {name} is not in this version; {MaxSize} and {MaxFile} are"),
            };
        }

        return spec;
    }

    /// <summary>As it was asked for.</summary>
    internal static Dictionary<string, string> Of(ContainerSpec spec)
    {
        var options = new Dictionary<string, string>(StringComparer.Ordinal);
        if (spec.LogBytes is { } bytes)
        {
            options[MaxSize] = bytes.ToString(CultureInfo.InvariantCulture);
        }

        if (spec.LogFiles is { } files)
        {
            options[MaxFile] = files.ToString(CultureInfo.InvariantCulture);
        }

        return options;
    }

    private static int Number(string text) => int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var files) && files is > 0 and <= LogLimits.MostFiles
        ? files
        : throw new EdgeHostException(ErrorKind.Invalid, $"{Field}: {MaxFile}={text} is not a number from 1 to {LogLimits.MostFiles}");

    // Factors of 1024, as Docker reads them.
    private static long Size(string text)
    {
        var number = text.TrimEnd('b', 'B');
        var factor = number.Length == 0 ? 1 : char.ToLowerInvariant(number[^1]) switch { 'k' => 1L << 10, 'm' => 1L << 20, 'g' => 1L << 30, _ => 1 };
        number = factor > 1 ? number[..^1] : number;
        return decimal.TryParse(number, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var amount)
            && amount <= LogLimits.MostBytes && (long)(amount * factor) is >= LogLimits.LeastBytes and <= LogLimits.MostBytes and var bytes
            ? bytes
            : throw new EdgeHostException(ErrorKind.Invalid, $"{Field}: {MaxSize}={text} is not a size from 64k to 1g");
    }
}
