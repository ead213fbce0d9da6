using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using EdgeHost.Errors;
using MQTTnet;
using MQTTnet.Formatter;

namespace EdgeHost.Mqtt;

/// <summary>What is asked of the broker, with secrets and certificates read anew for each connection.</summary>
internal sealed partial class BrokerConnection
{
    private static MqttClientOptions Build(MqttOptions options, string clientId, Action<MqttClientOptionsBuilder, bool>? configure, bool isV5)
    {
        var (host, port, tls) = options.Endpoint();
        var builder = new MqttClientOptionsBuilder()
            .WithTcpServer(host, port)
            .WithClientId(clientId)
            .WithProtocolVersion(isV5 ? MqttProtocolVersion.V500 : MqttProtocolVersion.V311)
            .WithNoKeepAlive()
            .WithTimeout(options.ConnectTimeout);
        if (options.User is { } user)
        {
            builder.WithCredentials(user, ReadPassword(options));
        }

        if (tls)
        {
            builder.WithTlsOptions(ReadTls(options));
        }

        if (isV5)
        {
            builder.WithMaximumPacketSize(MaximumPacketBytes).WithReceiveMaximum(16);
        }

        configure?.Invoke(builder, isV5);
        return builder.Build();
    }

    private static string? ReadPassword(MqttOptions options)
    {
        if (options.PasswordFile is not { } path)
        {
            return options.Password;
        }

        try
        {
            using var reader = new StreamReader(path);
            return reader.ReadLine() ?? string.Empty;
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException)
        {
            throw new EdgeHostException(ErrorKind.Invalid, $"the broker's password file {path} cannot be read: {failure.Message}", failure);
        }
    }

    private static MqttClientTlsOptions ReadTls(MqttOptions options)
    {
        var tls = new MqttClientTlsOptions
        {
            UseTls = true,
            // A private authority rarely has a revocation service, and a board without time or route could never ask it; as in mosquitto.
            RevocationMode = X509RevocationMode.NoCheck,
        };
        try
        {
            if (options.CaFile is { } authorities)
            {
                tls.TrustChain = [];
                tls.TrustChain.ImportFromPemFile(authorities);
                if (tls.TrustChain.Count == 0)
                {
                    throw new EdgeHostException(ErrorKind.Invalid, $"the broker's CA file {authorities} has no certificate in PEM form");
                }
            }

            if (options.CertificateFile is { } certificate)
            {
                tls.ClientCertificatesProvider = new DefaultMqttCertificatesProvider(
                    new X509Certificate2Collection(X509Certificate2.CreateFromPemFile(certificate, options.KeyFile ?? certificate)));
            }
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException or CryptographicException)
        {
            throw new EdgeHostException(ErrorKind.Invalid, $"the broker's certificates cannot be read: {failure.Message}", failure);
        }

        return tls;
    }
}
