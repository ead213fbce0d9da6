using System.Buffers.Text;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using EdgeHost.Errors;
using EdgeHost.Linux;

namespace EdgeHost.Mqtt;

/// <summary>The operator's credential, as it stands in <c>broker/operator.json</c>.</summary>
/// <param name="User">The user.</param>
/// <param name="Password">The password.</param>
/// <param name="Url">Where the broker listens.</param>
public sealed record OperatorCredential(string User, string Password, string Url);

/// <summary>Whom the broker knows.</summary>
internal enum BrokerRole
{
    /// <summary>The daemon's own agent.</summary>
    Device,

    /// <summary>Whoever may read <c>operator.json</c>.</summary>
    Operator,

    /// <summary>A workload.</summary>
    Workload,
}

/// <summary>Somebody who was let in.</summary>
/// <param name="Role">What he may do.</param>
/// <param name="Grant">What a workload may; null for the others.</param>
internal sealed record BrokerIdentity(BrokerRole Role, WorkloadGrant? Grant = null);

/// <summary>A client id in use.</summary>
/// <param name="identity">Whose it is.</param>
/// <param name="isV5">Whether it speaks MQTT 5, which has reasons.</param>
internal sealed class BrokerClient(BrokerIdentity identity, bool isV5)
{
    internal BrokerIdentity Identity => identity;

    internal bool IsV5 => isV5;
}

/// <summary>The broker's users. The device's password is made at each start and never leaves the process.</summary>
internal sealed class BrokerCredentials
{
    internal const string DeviceUser = "edgehost";
    internal const string OperatorUser = "operator";
    internal const string WorkloadPrefix = WorkloadGrants.UserPrefix;

    private readonly string _directory;
    private readonly WorkloadGrants _grants;
    private readonly Func<IEnumerable<WorkloadGrant>> _granted;

    internal BrokerCredentials(string directory, string groupName, string url, WorkloadGrants grants, Func<IEnumerable<WorkloadGrant>> granted, out bool isGroupMissing)
    {
        _directory = directory;
        _grants = grants;
        _granted = granted;
        var group = SystemGroup.Find(groupName);
        isGroupMissing = group is null;

        // The group passes through to its credential; retained messages and hashes stay root's.
        SharedDirectory.Create(directory, group is null ? 0x1C0u : 0x1E8u, group);
        Operator = ReadOperator(url) ?? new OperatorCredential(OperatorUser, NewPassword(), url);
        WriteOperator(group);
    }

    internal string OperatorFile => Path.Combine(_directory, "operator.json");

    internal OperatorCredential Operator { get; }

    internal string DevicePassword { get; } = NewPassword();

    /// <summary>Who it is; null for a stranger.</summary>
    internal BrokerIdentity? Authenticate(string? user, byte[]? password)
    {
        if (user is null || password is null)
        {
            return null;
        }

        if (user == DeviceUser)
        {
            return IsEqual(password, DevicePassword) ? new BrokerIdentity(BrokerRole.Device) : null;
        }

        if (user == Operator.User)
        {
            return IsEqual(password, Operator.Password) ? new BrokerIdentity(BrokerRole.Operator) : null;
        }

        if (!user.StartsWith(WorkloadPrefix, StringComparison.Ordinal) || password.Length > 256)
        {
            return null;
        }

        var workload = user[WorkloadPrefix.Length..];
        foreach (var grant in _granted())
        {
            // While one container gives way to the next there are two, each with its own.
            if (grant.Workload == workload && IsEqual(password, _grants.PasswordOf(workload, grant.Container)))
            {
                return new BrokerIdentity(BrokerRole.Workload, grant);
            }
        }

        return null;
    }

    private static string NewPassword() => Base64Url.EncodeToString(RandomNumberGenerator.GetBytes(32));

    private static bool IsEqual(ReadOnlySpan<byte> given, string expected) =>
        CryptographicOperations.FixedTimeEquals(given, Encoding.UTF8.GetBytes(expected));

    /// <summary>Not again when it stands as it is: a full disk does not keep the broker from starting, and flash is not worn.</summary>
    private void WriteOperator(uint? group)
    {
        var mode = group is null ? 0x180u : 0x1A0u;
        var content = JsonSerializer.SerializeToUtf8Bytes(Operator, MqttJson.Default.OperatorCredential);
        using var directory = RootedDirectory.Open(_directory);
        if (RootedDirectory.Stat(directory.Root, Encoding.UTF8.GetBytes(Path.GetFileName(OperatorFile))) is not { } facts
            || (facts.Mode & 0xFFF) != mode
            || (group is { } wanted && facts.Gid != wanted)
            || !File.ReadAllBytes(OperatorFile).AsSpan().SequenceEqual(content))
        {
            DurableFile.Write(OperatorFile, content, mode, group);
        }
    }

    /// <summary>The password stays for good once it was made; a file that is no longer readable is made anew.</summary>
    private OperatorCredential? ReadOperator(string url)
    {
        if (!File.Exists(OperatorFile))
        {
            return null;
        }

        try
        {
            return JsonSerializer.Deserialize(File.ReadAllBytes(OperatorFile), MqttJson.Default.OperatorCredential) is
            { User.Length: > 0, Password.Length: > 0 } kept
                ? kept with { Url = url }
                : null;
        }
        catch (JsonException damaged)
        {
            throw new EdgeHostException(
                ErrorKind.Corrupt, $"{OperatorFile} is damaged ({damaged.Message}); remove it, and the next start makes a new credential", damaged);
        }
    }
}
