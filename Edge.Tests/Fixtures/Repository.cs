namespace Edge.Tests.Fixtures;

/// <summary>The checkout that the tests were built from.</summary>
internal static class Repository
{
    /// <summary>Its root directory.</summary>
    internal static string Root { get; } = Find();

    /// <summary>A file or directory in it.</summary>
    internal static string PathOf(params string[] parts) => Path.Combine([Root, .. parts]);

    private static string Find()
    {
        for (var directory = new DirectoryInfo(AppContext.BaseDirectory); directory is not null; directory = directory.Parent)
        {
            if (File.Exists(Path.Combine(directory.FullName, "EdgeHost.sln")))
            {
                return directory.FullName;
            }
        }

        throw new InvalidOperationException($"no EdgeHost.sln above {AppContext.BaseDirectory}: the tests run from the checkout");
    }
}
