using System.CommandLine;

namespace EdgeHost.Cli;

/// <summary><c>edgehost image prune</c>.</summary>
internal static class ImagePruneCommand
{
    internal const string Dangling = "all dangling images";
    internal const string Unused = "all images without at least one container associated to them";

    /// <summary>Makes the command.</summary>
    internal static Command Create()
    {
        var all = new Option<bool>("--all", "-a") { Description = "All that no container uses (default: those without a name)" };
        var filter = Pruning.Filter();
        return Pruning.Command(
            "Remove images that no container uses",
            parsed => (parsed.GetValue(all) ? Unused : Dangling, [.. parsed.GetValue(filter)!, FilterOf(parsed.GetValue(all))]),
            "images/prune",
            "Deleted Images:",
            "ImagesDeleted",
            all,
            filter);
    }

    /// <summary>The filter that says whether images with names go, too.</summary>
    internal static string FilterOf(bool all) => all ? "dangling=false" : "dangling=true";
}
