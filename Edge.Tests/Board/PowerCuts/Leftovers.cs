using System.Text.Json.Nodes;

namespace Edge.Tests.Board.PowerCuts;

/// <summary>What lies in a data directory though nothing needs it, and no later start or pull would take it away.</summary>
internal static class Leftovers
{
    /// <summary>Looks through a data directory that no daemon uses.</summary>
    /// <param name="data">The directory.</param>
    /// <param name="things">What there is, by the daemon's own words.</param>
    internal static IEnumerable<string> Find(string data, IReadOnlyDictionary<string, string> things)
    {
        // What is in layers and volumes belongs to others.
        var ours = Directory.EnumerateFileSystemEntries(data, "*", new EnumerationOptions { RecurseSubdirectories = true, AttributesToSkip = 0 })
            .Select(path => Path.GetRelativePath(data, path)).Where(path => !path.Contains("/fs/", StringComparison.Ordinal) && !path.Contains("/_data/", StringComparison.Ordinal)).ToList();
        foreach (var path in ours)
        {
            var name = Path.GetFileName(path);
            if (name.EndsWith(".tmp", StringComparison.Ordinal) || name.Contains(".damaged", StringComparison.Ordinal) || name.StartsWith(".new-", StringComparison.Ordinal) || name.StartsWith(".gone-", StringComparison.Ordinal))
            {
                yield return $"{path} is left behind";
            }
        }

        var wanted = new HashSet<string>(StringComparer.Ordinal);
        foreach (var file in Directory.EnumerateFiles(data + "/content/images"))
        {
            var facts = JsonNode.Parse(File.ReadLines(file).First())!;
            wanted.UnionWith(((string[])[(string)facts["Id"]!, (string)facts["ManifestDigest"]!, .. facts["Indexes"]!.AsArray().Select(each => (string)each!)]).Select(digest => digest.Split(':')[1]));
        }

        var containers = Directory.EnumerateDirectories(data + "/containers").Select(Path.GetFileName).Where(name => !name!.StartsWith('.')).ToHashSet();
        // What lies below all layers is nobody's own.
        foreach (var snapshot in Directory.EnumerateDirectories(data + "/snapshots").Where(path => Path.GetFileName(path) is not (['.', ..] or "0")))
        {
            var facts = File.ReadLines(snapshot + "/snapshot.json").FirstOrDefault() is { } line ? JsonNode.Parse(line)! : new JsonObject();
            if (facts["ChainId"] is null && !containers.Contains((string?)facts["ContainerId"]))
            {
                yield return $"snapshot {snapshot} is of no layer and of no container";
            }
        }

        foreach (var blob in Directory.EnumerateFiles(data + "/content/blobs/sha256").Select(path => Path.GetFileName(path)!).Where(blob => !wanted.Contains(blob)))
        {
            yield return $"blob {blob} is of no image";
        }

        var known = things.Keys.Count(thing => thing.StartsWith("container/", StringComparison.Ordinal)) + things.GetValueOrDefault("deployment", string.Empty).Count(c => c == '=');
        if (containers.Count != known)
        {
            yield return $"there are {containers.Count} directories of {known} containers: {string.Join(' ', containers)}";
        }
    }
}
