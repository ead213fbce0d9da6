using System.Text.Json;
using EdgeHost.Errors;

namespace EdgeHost.Cli;

/// <summary>Pulls an image and shows how far it is.</summary>
internal static class ImagePull
{
    /// <summary>Pulls.</summary>
    /// <param name="client">The daemon.</param>
    /// <param name="reference">As the user wrote it.</param>
    /// <param name="progress">Where progress goes; null for nowhere.</param>
    /// <param name="terminal">Whether that is a terminal, on which one line is written over and over.</param>
    /// <exception cref="EdgeHostException">The pull failed; the daemon's words.</exception>
    internal static async Task RunAsync(DaemonClient client, string reference, TextWriter? progress, bool terminal)
    {
        using var response = await client.SendAsync(HttpMethod.Post, "images/create" + Query(reference), registryAuth: await RegistryAuth.ForAsync(reference));
        await FollowAsync(response, progress, terminal);
    }

    /// <summary>Reads Docker's stream of progress to its end.</summary>
    internal static async Task FollowAsync(HttpResponseMessage response, TextWriter? progress, bool terminal)
    {
        var layers = new Dictionary<string, (string Status, long Done, long Total)>(StringComparer.Ordinal);
        var drawn = 0;
        using var lines = new StreamReader(await response.Content.ReadAsStreamAsync());
        while (await lines.ReadLineAsync() is { } line)
        {
            if (line.Length == 0)
            {
                continue;
            }

            using var document = JsonDocument.Parse(line);
            var report = document.RootElement;
            if (report.Text("error") is { Length: > 0 } error)
            {
                Erase(progress, ref drawn);
                throw new EdgeHostException(ErrorKind.Internal, error);
            }

            if (report.Text("stream") is { Length: > 0 } text)
            {
                progress?.Write(text);
                continue;
            }

            var id = report.Text("id");
            var status = report.Text("status");
            var detail = report.Member("progressDetail");
            if (detail.ValueKind != JsonValueKind.Object || id.Length == 0)
            {
                Erase(progress, ref drawn);
                progress?.WriteLine(id.Length > 0 ? $"{id}: {status}" : status);
                continue;
            }

            var before = layers.GetValueOrDefault(id);
            layers[id] = (status, detail.Number("current"), Math.Max(before.Total, detail.Number("total")));
            if (terminal)
            {
                Erase(progress, ref drawn);
                var summary = Summary(layers);
                progress?.Write(summary);
                drawn = summary.Length;
            }
            else if (before.Status != status)
            {
                progress?.WriteLine($"{id}: {status}");
            }
        }

        Erase(progress, ref drawn);
    }

    private static string Query(string reference)
    {
        // A tag is what follows the last colon, unless a slash follows it: then it is a port.
        var colon = reference.LastIndexOf(':');
        return reference.Contains('@', StringComparison.Ordinal) ? EachContainer.Query(("fromImage", reference))
            : colon > reference.LastIndexOf('/') ? EachContainer.Query(("fromImage", reference[..colon]), ("tag", reference[(colon + 1)..]))
            : EachContainer.Query(("fromImage", reference), ("tag", "latest"));
    }

    private static string Summary(Dictionary<string, (string Status, long Done, long Total)> layers)
    {
        var done = layers.Values.Count(l => l.Status is "Pull complete" or "Already exists");
        var fetching = layers.Values.Where(l => l.Status == "Downloading").ToList();
        var extracting = layers.Values.Where(l => l.Status == "Extracting").ToList();
        var text = $"{done} of {layers.Count} layers done";
        text += fetching.Count > 0 ? $", downloading {Humanly.Size(fetching.Sum(l => l.Done))} of {Humanly.Size(fetching.Sum(l => l.Total))}" : string.Empty;
        return text + (extracting.Count > 0 ? $", extracting {Humanly.Size(extracting.Sum(l => l.Done))} of {Humanly.Size(extracting.Sum(l => l.Total))}" : string.Empty);
    }

    private static void Erase(TextWriter? progress, ref int drawn)
    {
        if (drawn > 0)
        {
            progress?.Write($"\r{new string(' ', drawn)}\r");
            drawn = 0;
        }
    }
}
