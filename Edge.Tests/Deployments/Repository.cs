namespace Edge.Tests.Deployments;

/// <summary>Files of the repository that tests read.</summary>
internal static class Repository
{
    private static readonly Lazy<string> Root = new(static () =>
    {
        for (var directory = new DirectoryInfo(AppContext.BaseDirectory); directory is not null; directory = directory.Parent)
        {
            if (File.Exists(Path.Combine(directory.FullName, "EdgeHost.sln")))
            {
                return directory.FullName;
            }
        }

        throw new InvalidOperationException($"no EdgeHost.sln above {AppContext.BaseDirectory}");
    });

    public static string PathOf(string relative) => Path.Combine(Root.Value, relative);
}
