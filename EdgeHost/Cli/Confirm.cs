namespace EdgeHost.Cli;

/// <summary>What a command asks before it removes many things, and what it says afterwards, as docker does.</summary>
internal static class Confirm
{
    /// <summary>Asks on standard input.</summary>
    /// <returns>Whether the answer was yes; the end of the input is a no.</returns>
    internal static bool Ask(TextWriter output, string warning)
    {
        output.WriteLine(warning);
        output.Write("Are you sure you want to continue? [y/N] ");
        return Console.In.ReadLine()?.Trim() is "y" or "Y";
    }

    /// <summary>Prints what was removed and how much space that gave.</summary>
    internal static void Report(TextWriter output, string title, IEnumerable<string> removed, long bytes)
    {
        var names = removed.ToList();
        if (names.Count > 0)
        {
            output.WriteLine(title);
            names.ForEach(output.WriteLine);
            output.WriteLine();
        }

        output.WriteLine($"Total reclaimed space: {Humanly.Size(bytes)}");
    }
}
