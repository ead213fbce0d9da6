using System.Diagnostics;
using System.Text;
using System.Threading.Channels;
using Xunit;

namespace Edge.Tests.Mqtt;

/// <summary>A message as mosquitto_sub saw it.</summary>
internal sealed record Heard(string Topic, bool Retained, int Qos, string ContentType, string Correlation, string Payload);

/// <summary>A running mosquitto_sub that has its subscription.</summary>
internal sealed class Subscription : IAsyncDisposable
{
    private readonly Process _process;
    private readonly Channel<Heard> _heard = Channel.CreateUnbounded<Heard>();
    private readonly TaskCompletionSource _subscribed = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly StringBuilder _log = new();
    private readonly Task _reading;

    private Subscription(IReadOnlyList<string> arguments)
    {
        // Into a pipe it writes only full blocks otherwise.
        _process = Process.Start(new ProcessStartInfo("stdbuf", ["-oL", "mosquitto_sub", .. arguments]) { RedirectStandardOutput = true, RedirectStandardError = true })
            ?? throw new InvalidOperationException("mosquitto_sub did not start");
        _reading = Task.WhenAll(ReadAsync(_process.StandardOutput), ReadAsync(_process.StandardError));
    }

    /// <summary>Subscribes as the operator.</summary>
    public static async Task<Subscription> StartAsync(BrokerUnderTest broker, params string[] topics)
    {
        var subscription = new Subscription([
            "-d", .. broker.Arguments.Split(' '), "-V", "mqttv5", "-q", "1", "-F", "~%t|%r|%q|%C|%D|%p", .. topics.SelectMany(topic => new[] { "-t", topic }),
        ]);
        await Task.WhenAny(subscription._subscribed.Task, subscription._reading).WaitAsync(BrokerUnderTest.Patience);
        Assert.True(subscription._subscribed.Task.IsCompleted, $"not subscribed: {subscription._log}");
        return subscription;
    }

    /// <summary>The next message that fits.</summary>
    public async Task<Heard> UntilAsync(Func<Heard, bool> fits)
    {
        using var timeout = new CancellationTokenSource(BrokerUnderTest.Patience);
        try
        {
            await foreach (var heard in _heard.Reader.ReadAllAsync(timeout.Token))
            {
                if (fits(heard))
                {
                    return heard;
                }
            }
        }
        catch (OperationCanceledException)
        {
            Assert.Fail($"not heard; what was: {_log}");
        }

        throw new InvalidOperationException($"mosquitto_sub ended: {_log}");
    }

    public async ValueTask DisposeAsync()
    {
        _process.Kill();
        await _process.WaitForExitAsync();
        await _reading;
        _process.Dispose();
    }

    private async Task ReadAsync(StreamReader output)
    {
        while (await output.ReadLineAsync() is { } line)
        {
            lock (_log)
            {
                _log.AppendLine(line);
            }

            if (line.StartsWith('~'))
            {
                var parts = line[1..].Split('|', 6);
                _heard.Writer.TryWrite(new Heard(parts[0], parts[1] == "1", parts[2][0] - '0', parts[3], parts[4], parts[5]));
            }
            else if (line.StartsWith("Subscribed (", StringComparison.Ordinal))
            {
                _subscribed.TrySetResult();
            }
        }
    }
}
