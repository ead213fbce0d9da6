using System.Security.Cryptography;
using System.Text;
using EdgeHost.Errors;
using EdgeHost.Linux;

namespace EdgeHost.Mqtt;

/// <summary>The device's name in topics, fixed at the first start: a renamed host is still the same device.</summary>
public static class DeviceId
{
    private const int MaximumLength = 64;

    /// <summary>Finds the name: the configured one, else the one of the first start, else the host name and eight hex digits derived from the machine id.</summary>
    /// <param name="configured"><c>device.id</c> of the configuration, or null.</param>
    /// <param name="dataDirectory">Where the name is kept, in the file <c>device-id</c>.</param>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Invalid"/>: not <c>[A-Za-z0-9_-]{1,64}</c>; or the file cannot be written.</exception>
    public static string Resolve(string? configured, string dataDirectory)
    {
        var path = Path.Combine(dataDirectory, "device-id");
        if (configured is not null)
        {
            return IsValid(configured)
                ? configured
                : throw new EdgeHostException(ErrorKind.Invalid, $"device.id \"{configured}\" is not 1 to {MaximumLength} of letters, digits, _ and -");
        }

        if (File.Exists(path) && File.ReadAllText(path).Trim() is var kept && IsValid(kept))
        {
            return kept;
        }

        var made = Derive(Environment.MachineName, SystemIdentity.DerivedMachineId() ?? Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(4)));
        DurableFile.Write(path, Encoding.ASCII.GetBytes(made + "\n"));
        return made;
    }

    /// <summary>Puts host name and machine together.</summary>
    internal static string Derive(string hostName, string machine)
    {
        var name = new StringBuilder();
        foreach (var c in hostName.Split('.')[0])
        {
            name.Append(char.IsAsciiLetterOrDigit(c) || c is '_' or '-' ? c : '-');
        }

        name.Length = Math.Min(name.Length, MaximumLength - machine.Length - 1);
        return name.Length == 0 ? machine : $"{name}-{machine}";
    }

    private static bool IsValid(string name) =>
        name.Length is >= 1 and <= MaximumLength && name.All(static c => char.IsAsciiLetterOrDigit(c) || c is '_' or '-');
}
