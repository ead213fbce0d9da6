using System.Globalization;
using Microsoft.Extensions.Logging;
using MQTTnet.Diagnostics.Logger;

namespace EdgeHost.Mqtt;

/// <summary>Lets what goes wrong inside MQTTnet reach the log: it catches exceptions of handlers and says so only here.</summary>
internal sealed partial class MqttNetLog(ILogger log) : IMqttNetLogger
{
    public bool IsEnabled => true;

    public void Publish(MqttNetLogLevel level, string source, string message, object[] parameters, Exception exception)
    {
        if (level < MqttNetLogLevel.Warning)
        {
            return;
        }

        var text = parameters is { Length: > 0 } ? string.Format(CultureInfo.InvariantCulture, message, parameters) : message;
        if (level == MqttNetLogLevel.Error && exception is not (MQTTnet.Exceptions.MqttCommunicationException or MQTTnet.Exceptions.MqttProtocolViolationException))
        {
            LogError(log, source, text, exception);
        }
        else
        {
            // What clients do wrong, and connections that break.
            LogTrouble(log, source, text, exception?.Message);
        }
    }

    [LoggerMessage(Level = LogLevel.Error, Message = "MQTTnet {Source}: {Text}")]
    private static partial void LogError(ILogger log, string source, string text, Exception? exception);

    [LoggerMessage(Level = LogLevel.Debug, Message = "MQTTnet {Source}: {Text} {Reason}")]
    private static partial void LogTrouble(ILogger log, string source, string text, string? reason);
}
