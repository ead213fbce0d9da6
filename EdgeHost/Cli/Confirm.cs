namespace EdgeHost.Cli;

/// <summary>What a command asks before it removes many things, as docker does.</summary>
internal static class Confirm
{
    /// <summary>Asks on standard input.</summary>
    /// <returns>Whether the answer was yes; the end of the input is a no.</returns>
    internal static bool Ask(TextWriter output, string warning)
    {
        output.WriteLine(warning);
        output.Write("Are you sure you want to continue? [y/N] ");
        using var input = Screen.Input();
        return input.ReadLine()?.Trim() is "y" or "Y";
    }
}
