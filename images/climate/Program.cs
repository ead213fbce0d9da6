using System.Device.Gpio;
using System.Device.Gpio.Drivers;
using System.Device.I2c;
using System.Globalization;
using System.Runtime.InteropServices;
using Iot.Device.Bmxx80;
using MQTTnet;
using MQTTnet.Protocol;

// Reads temperature and pressure from a BMP280 on the I2C bus, lights an LED while a button is held, and publishes each
// reading. The broker and its credential are told by EdgeHost ("mqtt": true); without, readings go to the log alone.
const string Chip = "/dev/gpiochip";
const int ThisBus = 1, Button = 0, Led = 1;
using var stop = new CancellationTokenSource();
using var terminated = PosixSignalRegistration.Create(PosixSignal.SIGTERM, signal =>
{
    signal.Cancel = true;
    stop.Cancel();
});

try
{
    var interval = TimeSpan.FromSeconds(Number("CLIMATE_INTERVAL", 1));
    using var bus = I2cDevice.Create(new I2cConnectionSettings(Number("CLIMATE_BUS", ThisBus), Number("CLIMATE_ADDRESS", Bmx280Base.SecondaryI2cAddress)));
    using var sensor = new Bmp280(bus);
    using var gpio = Gpio();
    using var broker = await ConnectAsync();
    while (true)
    {
        var reading = sensor.Read();
        var pressed = gpio?.Read(Number("CLIMATE_BUTTON", Button)) == PinValue.High;
        gpio?.Write(Number("CLIMATE_LED", Led), pressed);
        var text = string.Create(
            CultureInfo.InvariantCulture,
            $$"""{"celsius":{{reading.Temperature?.DegreesCelsius:0.00}},"hectopascals":{{reading.Pressure?.Hectopascals:0.00}},"button":{{(pressed ? "true" : "false")}}}""");
        Console.WriteLine(text);
        await PublishAsync(broker, text);
        await Task.Delay(interval, stop.Token);
    }
}
catch (OperationCanceledException)
{
    return 0;
}
catch (Exception failure)
{
    // One line; its restart policy starts it again, when the device is there again.
    Console.Error.WriteLine($"climate: {failure.GetType().Name}: {failure.Message}");
    return 1;
}

static int Number(string variable, int otherwise) => Environment.GetEnvironmentVariable(variable) is { Length: > 0 } text ? Convert.ToInt32(text, CultureInfo.InvariantCulture) : otherwise;

// The chip that the container was given, whatever its number; without one there is neither button nor LED.
static GpioController? Gpio()
{
    if (Directory.GetFiles("/dev", Path.GetFileName(Chip) + "*") is not [var chip, ..])
    {
        return null;
    }

    var gpio = new GpioController(new LibGpiodDriver(int.Parse(chip.AsSpan(Chip.Length), CultureInfo.InvariantCulture)));
    gpio.OpenPin(Number("CLIMATE_BUTTON", Button), PinMode.Input);
    gpio.OpenPin(Number("CLIMATE_LED", Led), PinMode.Output, PinValue.Low);
    return gpio;
}

async Task<IMqttClient?> ConnectAsync()
{
    if (Environment.GetEnvironmentVariable("EDGEHOST_MQTT_URL") is not { } url)
    {
        return null;
    }

    var broker = new Uri(url);
    var client = new MqttClientFactory().CreateMqttClient();
    await client.ConnectAsync(
        new MqttClientOptionsBuilder()
            .WithTcpServer(broker.Host, broker.Port)
            .WithClientId(Environment.GetEnvironmentVariable("EDGEHOST_MQTT_CLIENT_ID"))
            .WithCredentials(Environment.GetEnvironmentVariable("EDGEHOST_MQTT_USER"), Environment.GetEnvironmentVariable("EDGEHOST_MQTT_PASSWORD"))
            .Build(),
        stop.Token);
    return client;
}

async Task PublishAsync(IMqttClient? client, string text)
{
    if (client is not null)
    {
        await client.PublishAsync(
            new MqttApplicationMessageBuilder()
                .WithTopic($"{Environment.GetEnvironmentVariable("EDGEHOST_MQTT_TOPIC")}/climate")
                .WithPayload(text)
                .WithRetainFlag()
                .WithQualityOfServiceLevel(MqttQualityOfServiceLevel.AtLeastOnce)
                .Build(),
            stop.Token);
    }
}
