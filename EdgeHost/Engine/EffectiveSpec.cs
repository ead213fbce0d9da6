using EdgeHost.Oci;

namespace EdgeHost.Engine;

/// <summary>What was asked for, with the defaults of the image beneath it, as <c>docker inspect</c> and <c>docker ps</c> show a container.</summary>
internal static class EffectiveSpec
{
    /// <summary>Puts an image's defaults beneath what was asked for. Pure.</summary>
    internal static ContainerSpec Of(ContainerSpec spec, ExecutionParameters image)
    {
        var named = spec.Environment.Select(NameOf).ToHashSet(StringComparer.Ordinal);
        var labels = new Dictionary<string, string>(image.Labels);
        foreach (var (name, value) in spec.Labels)
        {
            labels[name] = value;
        }

        return spec with
        {
            Environment = [.. spec.Environment, .. image.Env.Where(variable => !named.Contains(NameOf(variable)))],
            Labels = labels,
            Entrypoint = spec.Entrypoint ?? (image.Entrypoint.Count > 0 ? image.Entrypoint : null),
            // The image's command are arguments for the image's entrypoint: another one does not get them.
            Command = spec.Command ?? (spec.Entrypoint is null && image.Cmd.Count > 0 ? image.Cmd : null),
            WorkingDirectory = spec.WorkingDirectory is { Length: > 0 } directory ? directory : image.WorkingDir,
            User = spec.User is { Length: > 0 } user ? user : image.User,
            Health = spec.Health?.Over(image.Healthcheck) ?? image.Healthcheck,
            StopSignal = spec.StopSignal is { Length: > 0 } signal ? signal : image.StopSignal,
        };
    }

    private static string NameOf(string variable) => variable.Split('=', 2)[0];
}
