using System.Net.Sockets;
using System.Text.Json.Nodes;
using Xunit;

namespace Edge.Tests.Board;

/// <summary>What is plugged into a board while it runs, by qemu's own monitor (QMP).</summary>
internal sealed partial class EmulatedBoard
{
    private string Monitor => Path.Combine(_work.FullName, "qmp");

    /// <summary>Plugs a device in.</summary>
    /// <param name="device">As after <c>-device</c>, with an id: <c>usb-serial,id=modem,bus=xhci.0,chardev=line</c>.</param>
    internal Task PlugInAsync(string device)
    {
        var parts = device.Split(',');
        var arguments = new JsonObject { ["driver"] = parts[0] };
        foreach (var part in parts[1..])
        {
            arguments[part.Split('=')[0]] = part.Split('=')[1];
        }

        return TellMonitorAsync("device_add", arguments);
    }

    /// <summary>Pulls a device out.</summary>
    /// <param name="id">Its id.</param>
    internal Task PullOutAsync(string id) => TellMonitorAsync("device_del", new JsonObject { ["id"] = id });

    private async Task TellMonitorAsync(string command, JsonObject arguments)
    {
        using var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        await socket.ConnectAsync(new UnixDomainSocketEndPoint(Monitor), TestContext.Current.CancellationToken);
        await using var stream = new NetworkStream(socket);
        using var answers = new StreamReader(stream);
        await using var orders = new StreamWriter(stream) { AutoFlush = true };
        foreach (var order in (JsonObject[])[new() { ["execute"] = "qmp_capabilities" }, new() { ["execute"] = command, ["arguments"] = arguments }])
        {
            await orders.WriteLineAsync(order.ToJsonString());

            // Its greeting and events come between.
            JsonNode? answer;
            do
            {
                answer = JsonNode.Parse((await answers.ReadLineAsync(TestContext.Current.CancellationToken))!);
            }
            while (answer!["return"] is null && answer["error"] is null);
            Assert.True(answer["error"] is null, $"{order.ToJsonString()}: {answer.ToJsonString()}");
        }
    }
}
