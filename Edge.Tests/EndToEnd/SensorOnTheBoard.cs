using System.Buffers.Binary;
using System.Globalization;
using System.Text.Json.Nodes;
using Edge.Tests.Board;
using Edge.Tests.Fixtures;
using Edge.Tests.Mqtt;
using Xunit;

namespace Edge.Tests.EndToEnd;

/// <summary>
/// images/climate on a board to which a sensor is plugged in while it runs: to the kernel, the program and everything
/// between them it is an I2C device, a button and an LED (board_bus.c).
/// </summary>
public sealed class SensorOnTheBoard
{
    // Files that can be owned by other users than the host's: on the board's own root no user namespace works.
    private const string Prepare = """
        set -e
        modprobe -a i2c-dev loop
        truncate -s 256M /root/disk
        mkfs.ext4 -q /root/disk
        mkdir /root/data
        mount -o loop /root/disk /root/data
        mkfifo /root/log
        setsid edgehost daemon --config /mnt/share/edgehost.json --data-dir /root/data --run-dir /run/edgehost 2>/root/log &
        exec 3</root/log
        while read -r line <&3; do
          case $line in *"ready; the API"*) break ;; esac
        done
        setsid cat <&3 >/root/said &
        edgehost load -i /mnt/share/climate.tar
        """;

    [Fact]
    public async Task A_workload_waits_for_a_sensor_reads_it_and_publishes_what_it_read_to_a_broker_elsewhere()
    {
        await using var broker = await MosquittoUnderTest.StartAsync();
        await using var person = await Operator.ConnectAsync(broker);
        const string Telemetry = $"edgehost/v1/{BrokerUnderTest.Device}/telemetry/climate";
        await using var readings = await Subscription.StartAsync(broker, Telemetry + "/#");
        await using var board = await EmulatedBoard.StartAsync(new BoardSpec { Network = true, Memory = 768 });
        var module = (await CommandRun.RunAsync(Repository.PathOf("Edge.Tests", "Board", "board-module.sh"), ["arm64"], patience: TimeSpan.FromMinutes(5))).Succeeds().Output.Trim();
        File.Copy(module, Path.Combine(board.Share, "board_bus.ko"));
        File.Copy(await SampleImage.PathAsync("climate", "arm64"), Path.Combine(board.Share, "climate.tar"));
        var url = string.Create(CultureInfo.InvariantCulture, $"mqtt://10.0.2.2:{broker.Port}");
        var (user, password) = (broker.DeviceConnection.User!, broker.DeviceConnection.Password!);
        await File.WriteAllTextAsync(Path.Combine(board.Share, "password"), password + "\n", TestContext.Current.CancellationToken);
        await File.WriteAllTextAsync(
            Path.Combine(board.Share, "edgehost.json"),
            new JsonObject
            {
                ["device"] = new JsonObject { ["id"] = BrokerUnderTest.Device },
                ["mqtt"] = new JsonObject { ["url"] = url, ["user"] = user, ["passwordFile"] = "/mnt/share/password" },
                ["broker"] = new JsonObject { ["enabled"] = false },
            }.ToJsonString(),
            TestContext.Current.CancellationToken);
        (await board.RunAsync(Prepare)).Succeeds();

        await person.PublishAsync(new JsonObject
        {
            ["version"] = 1,
            ["workloads"] = new JsonObject
            {
                ["climate"] = new JsonObject
                {
                    ["image"] = "localhost/climate:latest",
                    ["pull_policy"] = "never",
                    ["mem_limit"] = "48m",
                    ["cpus"] = 1,
                    ["restart"] = "always",
                    ["devices"] = new JsonArray("i2c=board bus:/dev/i2c-1:rw", "gpioline=button:rw"),
                    ["environment"] = new JsonObject
                    {
                        ["EDGEHOST_MQTT_URL"] = url,
                        ["EDGEHOST_MQTT_CLIENT_ID"] = "climate",
                        ["EDGEHOST_MQTT_USER"] = user,
                        ["EDGEHOST_MQTT_PASSWORD"] = password,
                        ["EDGEHOST_MQTT_TOPIC"] = Telemetry,
                    },
                },
            },
        }.ToJsonString());
        var report = await person.ReportAsync(each => (string?)each["workloads"]?["climate"]?["state"] == "waiting");
        Assert.Equal("on", (string?)report["board"]!["user_namespaces"]);
        Assert.Equal("waits for device i2c=board bus, which is not there", (string?)report["workloads"]!["climate"]!["error"]);

        // Plugged in.
        (await board.RunAsync($"insmod /mnt/share/board_bus.ko registers={Registers()}")).Succeeds();
        report = await person.RunsAsync(1, "climate");
        var reading = JsonNode.Parse((await readings.UntilAsync(static _ => true)).Payload)!;
        TestContext.Current.TestOutputHelper?.WriteLine(reading.ToJsonString());
        Assert.Equal((25.08, 1006.53, false), ((double)reading["celsius"]!, (double)reading["hectopascals"]!, (bool)reading["button"]!));

        // Pressed: the LED is lit before the reading is published.
        (await board.RunAsync("echo 1 > /sys/module/board_bus/parameters/button")).Succeeds();
        await readings.UntilAsync(static heard => (bool)JsonNode.Parse(heard.Payload)!["button"]!);
        Assert.Equal("1\n", (await board.RunAsync("cat /sys/module/board_bus/parameters/led")).Succeeds().Output);

        // Its nodes are its own: of its root, and of the devices that it was given, whatever they are called on the host.
        var look = await board.RunAsync(
            $"""
            pid=$(edgehost inspect -f {"{{.State.Pid}}"} {(string)report["workloads"]!["climate"]!["container"]!})
            root=$(stat -c %u /proc/$pid)
            [ "$root" -ge 65536 ] || echo "it runs as the host's user $root"
            stat -c '%n %u %t:%T' /proc/$pid/root/dev/i2c-1 /proc/$pid/root/dev/gpiochip1 | sed "s,/proc/$pid/root,,; s, $root , root ,"
            stat -c 'host %t:%T' /dev/i2c-0 /dev/gpiochip1
            ls /proc/$pid/root/dev | grep -c -e i2c -e gpio
            """);
        Assert.Equal("/dev/i2c-1 root 59:0\n/dev/gpiochip1 root fe:1\nhost 59:0\nhost fe:1\n2\n", look.Succeeds().Output);
    }

    /// <summary>A BMP280 as its data sheet's example has it (revision 1.14, section 3.12), which gives 25.08 °C and 1006.53 hPa.</summary>
    private static string Registers()
    {
        const int Calibration = 0x88, Identity = 0xD0, Pressure = 0xF7, Temperature = 0xFA;
        var registers = new byte[256];
        short[] calibration = [27504, 26435, -1000, unchecked((short)36477), -10685, 3024, 2855, 140, -7, 15500, -14600, 6000];
        for (var i = 0; i < calibration.Length; i++)
        {
            BinaryPrimitives.WriteInt16LittleEndian(registers.AsSpan(Calibration + (2 * i)), calibration[i]);
        }

        registers[Identity] = 0x58;
        Put(Pressure, 415148);
        Put(Temperature, 519888);
        return Convert.ToHexStringLower(registers);

        // 20 bits from the left.
        void Put(int register, int raw)
        {
            (registers[register], registers[register + 1], registers[register + 2]) = ((byte)(raw >> 12), (byte)(raw >> 4), (byte)(raw << 4));
        }
    }
}
