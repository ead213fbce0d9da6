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

/// <summary>A workload's credential as it is kept.</summary>
/// <param name="Workload">Whose it is.</param>
/// <param name="Hash">HMAC-SHA256 of the password, hex: the password has 256 random bits, so nothing slower is gained by a slower function.</param>
internal sealed record WorkloadCredential(string Workload, string Hash);

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
/// <param name="Workload">The workload's name; empty for the others.</param>
internal sealed record BrokerIdentity(BrokerRole Role, string Workload = "");

/// <summary>A client id in use.</summary>
/// <param name="Identity">Whose it is.</param>
/// <param name="IsV5">Whether it speaks MQTT 5, which has reasons.</param>
internal sealed record BrokerClient(BrokerIdentity Identity, bool IsV5);

/// <summary>The broker's users. The device's password is made at each start and never leaves the process.</summary>
internal sealed class BrokerCredentials
{
    internal const string DeviceUser = "edgehost";
    internal const string OperatorUser = "operator";
    internal const string WorkloadPrefix = "workload.";

    private const int MaximumFileBytes = 256 * 1024;

    private readonly string _directory;
    private readonly Lock _lock = new();
    private readonly Dictionary<string, WorkloadCredential> _workloads = new(StringComparer.Ordinal);

    internal BrokerCredentials(string directory, string groupName, string url, out bool isGroupMissing)
    {
        _directory = directory;
        var group = SystemGroup.Find(groupName);
        isGroupMissing = group is null;

        // The group passes through to its credential; retained messages and hashes stay root's.
        SharedDirectory.Create(directory, group is null ? 0x1C0u : 0x1E8u, group);
        Operator = ReadOperator(url) ?? new OperatorCredential(OperatorUser, NewPassword(), url);
        WriteOperator(group);
        if (CheckedFile.Read(CredentialsFile, MaximumFileBytes) is { } bytes)
        {
            foreach (var workload in JsonSerializer.Deserialize(bytes, MqttJson.Default.ListWorkloadCredential) ?? [])
            {
                _workloads[workload.Workload] = workload;
            }
        }
    }

    internal string OperatorFile => Path.Combine(_directory, "operator.json");

    internal OperatorCredential Operator { get; }

    internal string DevicePassword { get; } = NewPassword();

    private string CredentialsFile => Path.Combine(_directory, "credentials");

    /// <summary>Gives a workload a new password; the one before is void.</summary>
    internal (string User, string Password) Issue(string workload)
    {
        var password = NewPassword();
        lock (_lock)
        {
            _workloads[workload] = new WorkloadCredential(workload, Hash(workload, password));
            Write();
        }

        return (WorkloadPrefix + workload, password);
    }

    /// <summary>Takes a workload's credential away.</summary>
    internal void Revoke(string workload)
    {
        lock (_lock)
        {
            if (_workloads.Remove(workload))
            {
                Write();
            }
        }
    }

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
        WorkloadCredential? known;
        lock (_lock)
        {
            known = _workloads.GetValueOrDefault(workload);
        }

        return known is not null && IsEqual(Encoding.ASCII.GetBytes(Hash(workload, Encoding.UTF8.GetString(password))), known.Hash)
            ? new BrokerIdentity(BrokerRole.Workload, workload)
            : null;
    }

    private static string NewPassword() => Base64Url.EncodeToString(RandomNumberGenerator.GetBytes(32));

    private static string Hash(string workload, string password) =>
        Convert.ToHexStringLower(HMACSHA256.HashData(Encoding.UTF8.GetBytes(workload), Encoding.UTF8.GetBytes(password)));

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

    private void Write() => CheckedFile.Write(
        CredentialsFile,
        JsonSerializer.SerializeToUtf8Bytes(_workloads.Values.OrderBy(static workload => workload.Workload, StringComparer.Ordinal).ToList(), MqttJson.Default.ListWorkloadCredential));
}
