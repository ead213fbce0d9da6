using System.Diagnostics;
using System.Text.RegularExpressions;
using Edge.Tests.Fixtures;

namespace Edge.Tests.Images;

/// <summary>Debian's docker-registry with a data directory of its own, on a free port of the loopback where none is given.</summary>
public sealed partial class RegistryFixture : IAsyncDisposable
{
    private readonly TemporaryDirectory _directory;
    private readonly Process _process;
    private readonly string[] _before;
    private bool _stopped;

    private RegistryFixture(Process process, string[] before, TemporaryDirectory directory, string host, TestAuthority? authority)
    {
        _process = process;
        _before = before;
        _directory = directory;
        Host = host;
        Authority = authority;
    }

    /// <summary>127.0.0.1 and the port.</summary>
    public string Host { get; }

    public int Port => int.Parse(Host.Split(':')[1]);

    public TestAuthority? Authority { get; }

    /// <summary>Starts one.</summary>
    /// <param name="user">With this user and the password <c>secret</c>; null for everybody.</param>
    /// <param name="tls">With a certificate of a private authority.</param>
    /// <param name="network">The file of the network namespace that it is in; null for the machine's.</param>
    /// <param name="port">Where it listens.</param>
    public static async Task<RegistryFixture> StartAsync(string? user = null, bool tls = false, string? network = null, int port = 0)
    {
        string[] before = network is null ? [] : ["nsenter", "--net=" + network];
        await Packages.NeedAsync("docker-registry", "skopeo");
        var directory = new TemporaryDirectory();
        var authority = tls ? TestAuthority.Make(directory.Path) : null;
        var configuration = $"""
            version: 0.1
            log: {"{level: info}"}
            storage:
              filesystem: {"{"}rootdirectory: {directory.Sub("data")}{"}"}
              delete: {"{enabled: true}"}
            http:
              addr: 127.0.0.1:{port}
            {(authority is null ? string.Empty : $"  tls: {{certificate: {authority.CertificateFile}, key: {authority.KeyFile}}}")}
            """;
        if (user is not null)
        {
            await File.WriteAllTextAsync(directory.Sub("htpasswd"), $"{user}:{SecretHash}\n");
            configuration += $"\nauth:\n  htpasswd: {{realm: test, path: {directory.Sub("htpasswd")}}}\n";
        }

        await File.WriteAllTextAsync(directory.Sub("config.yml"), configuration);
        string[] command = [.. before, "docker-registry", "serve", directory.Sub("config.yml")];
        var process = Process.Start(new ProcessStartInfo(command[0], command[1..])
        {
            RedirectStandardError = true,
            RedirectStandardOutput = true,
            Environment = { ["OTEL_TRACES_EXPORTER"] = "none" },
        })!;
        var host = new TaskCompletionSource<string>(TaskCreationOptions.RunContinuationsAsynchronously);
        var log = new System.Text.StringBuilder();
        void Read(object sender, DataReceivedEventArgs line)
        {
            if (line.Data is null)
            {
                host.TrySetException(new InvalidOperationException($"docker-registry ended: {log}"));
            }
            else if (ListeningOn().Match(line.Data) is { Success: true } match)
            {
                host.TrySetResult(match.Groups[1].Value);
            }
            else if (!host.Task.IsCompleted)
            {
                log.AppendLine(line.Data);
            }
        }

        process.ErrorDataReceived += Read;
        process.OutputDataReceived += Read;
        process.BeginErrorReadLine();
        process.BeginOutputReadLine();
        return new RegistryFixture(process, before, directory, await host.Task, authority);
    }

    /// <summary>Pushes an image of an OCI layout.</summary>
    public async Task PushAsync(string layout, string name, string? credentials = null, string? format = null)
    {
        string[] login = credentials is null ? [] : ["--dest-creds", credentials];
        string[] command =
        [
            .. _before, "skopeo", "--insecure-policy", "copy", "--quiet", "--all", .. (string[])(format is null ? ["--preserve-digests"] : ["--format", format]), "--dest-tls-verify=false", .. login, $"oci:{layout}", $"docker://{Host}/{name}",
        ];
        await Tool.RunAsync(command[0], command[1..]);
    }

    public async ValueTask DisposeAsync()
    {
        if (_stopped)
        {
            return;
        }

        _stopped = true;
        _process.Kill();
        await _process.WaitForExitAsync();
        _process.Dispose();
        _directory.Dispose();
    }

    // bcrypt of "secret", cost 5.
    private const string SecretHash = "$2b$05$IYi1vg7iEXNjZ403DKDRi.Yr6RMQE/T.SrBdM5RKc7dgg14jymd9.";

    [GeneratedRegex(@"listening on (127\.0\.0\.1:\d+)")]
    private static partial Regex ListeningOn();
}
