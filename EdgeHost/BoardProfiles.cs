namespace EdgeHost;

/// <summary>
/// What is known of single boards, in device-configs/boards: configurations that lie beneath the operator's. They are in
/// the program, so that it has them however it was installed.
/// </summary>
internal static class BoardProfiles
{
    /// <summary>The name of no profile at all.</summary>
    internal const string None = "none";

    private const string Generic = "generic-";

    /// <summary>Those that there are.</summary>
    internal static IEnumerable<string> Names => typeof(BoardProfiles).Assembly.GetManifestResourceNames().Order(StringComparer.Ordinal);

    /// <summary>The profile that is for this board: of the names that its device tree gives it, from the board's to the chip's, the first that has one.</summary>
    /// <param name="root">Where /proc is.</param>
    /// <returns>Null for none, as on a PC.</returns>
    internal static string? Detect(string root = "")
    {
        var compatible = root + "/proc/device-tree/compatible";
        if (!File.Exists(compatible))
        {
            return null;
        }

        var names = Names.ToList();
        var generic = Generic + System.Runtime.InteropServices.RuntimeInformation.OSArchitecture.ToString().ToLowerInvariant();
        return File.ReadAllText(compatible).Split('\0').Append(generic).FirstOrDefault(names.Contains);
    }

    /// <summary>The text of one.</summary>
    internal static byte[] Read(string name)
    {
        using var stream = typeof(BoardProfiles).Assembly.GetManifestResourceStream(name)!;
        var text = new byte[stream.Length];
        stream.ReadExactly(text);
        return text;
    }
}
