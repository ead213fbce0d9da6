using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using EdgeHost.Linux;
using EdgeHost.Oci;

namespace EdgeHost.Images;

/// <summary>A small file that states facts: one line of JSON, and a line with its sha256. Replaced whole, durably.</summary>
internal static class FactsFile
{
    /// <summary>Writes the facts durably.</summary>
    internal static void Write<T>(string path, T facts, JsonTypeInfo<T> type)
    {
        DurableFile.Write(path, Encode(facts, type));
    }

    /// <summary>The bytes of a file of facts.</summary>
    internal static byte[] Encode<T>(T facts, JsonTypeInfo<T> type)
    {
        var json = JsonSerializer.SerializeToUtf8Bytes(facts, type);
        return [.. json, (byte)'\n', .. System.Text.Encoding.ASCII.GetBytes(Digest.OfSha256(json).ToString()), (byte)'\n'];
    }

    /// <summary>Reads the facts.</summary>
    /// <param name="path">The file.</param>
    /// <param name="type">What they are.</param>
    /// <param name="problem">Why null was returned; null when there is no such file.</param>
    internal static T? Read<T>(string path, JsonTypeInfo<T> type, out string? problem)
        where T : class
    {
        problem = null;
        byte[] bytes;
        try
        {
            bytes = File.ReadAllBytes(path);
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            return null;
        }

        var end = bytes.AsSpan().IndexOf((byte)'\n');
        var sum = end < 0 ? [] : bytes.AsSpan(end + 1).TrimEnd((byte)'\n');
        if (end < 0 || System.Text.Encoding.ASCII.GetString(sum) != Digest.OfSha256(bytes.AsSpan(0, end)).ToString())
        {
            problem = $"{path} does not have its checksum";
            return null;
        }

        try
        {
            return JsonSerializer.Deserialize(bytes.AsSpan(0, end), type);
        }
        catch (JsonException e)
        {
            problem = $"{path} cannot be read: {e.Message}";
            return null;
        }
    }
}
