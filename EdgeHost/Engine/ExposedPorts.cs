using System.Globalization;
using EdgeHost.Networks;

namespace EdgeHost.Engine;

/// <summary>Ports that a container is said to listen at, as images and <c>--expose</c> write them: <c>80</c>, <c>53/udp</c>, <c>8000-8003/tcp</c>.</summary>
internal static class ExposedPorts
{
    /// <summary>The ports that are published: those that were asked for, and with <c>-P</c> all others that are exposed.</summary>
    /// <param name="spec">What was asked for.</param>
    /// <param name="ofImage">What the image says.</param>
    internal static IReadOnlyList<PortBinding> Publish(ContainerSpec spec, IEnumerable<string> ofImage)
    {
        if (!spec.PublishAll || spec.Network != NetworkMode.Bridge)
        {
            return spec.Ports;
        }

        List<PortBinding> ports = [.. spec.Ports];
        foreach (var text in (string[])[.. spec.Exposed, .. ofImage])
        {
            foreach (var exposed in Parse(text))
            {
                if (!ports.Any(each => each.ContainerPort == exposed.ContainerPort && each.Protocol == exposed.Protocol))
                {
                    ports.Add(exposed);
                }
            }
        }

        return ports;
    }

    /// <summary>The ports of one text; none where it is none, or of another protocol than TCP and UDP.</summary>
    private static List<PortBinding> Parse(string text)
    {
        var found = new List<PortBinding>();
        var parts = text.Split('/', 2);
        var ends = parts[0].Split('-', 2);
        var known = parts.Length > 1 && parts[1] == "udp" ? PortProtocol.Udp : PortProtocol.Tcp;
        if ((parts.Length == 1 || parts[1] is "tcp" or "udp")
            && ushort.TryParse(ends[0], NumberStyles.None, CultureInfo.InvariantCulture, out var from) && from > 0
            && ushort.TryParse(ends[^1], NumberStyles.None, CultureInfo.InvariantCulture, out var to))
        {
            for (int port = from; port <= to; port++)
            {
                found.Add(new PortBinding((ushort)port, known, 0));
            }
        }

        return found;
    }
}
