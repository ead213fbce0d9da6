using EdgeHost.Errors;
using EdgeHost.Linux;
using EdgeHost.Runtime.Launch;

namespace EdgeHost.Engine;

/// <summary>The AppArmor profile of containers.</summary>
public sealed partial class ContainerEngine
{
    /// <inheritdoc/>
    public string? WhyNoAppArmor { get; private set; } = "it was not tried yet";

    /// <inheritdoc/>
    public string? AppArmorOf(ContainerSpec spec) => spec.AppArmor switch
    {
        null => WhyNoAppArmor is null && !spec.Privileged ? DefaultAppArmor.Name : null,
        AppArmor.Unconfined => null,
        var named => named,
    };

    private void LoadAppArmor()
    {
        WhyNoAppArmor = TryLoadAppArmor(_options.RunDirectory + "/apparmor");
        if (WhyNoAppArmor is not null)
        {
            LogNoAppArmor(_log, WhyNoAppArmor);
        }
    }

    /// <summary>Loads the profile.</summary>
    /// <param name="mark">A file of this boot that has the one which was loaded last.</param>
    /// <returns>Null, or why it is not there: containers run without it then, and it is said.</returns>
    private static string? TryLoadAppArmor(string mark)
    {
        try
        {
            // To compile it takes a slow board a second: it is loaded anew after a boot, or when it has become another.
            if (AppArmor.WhyNot is null && File.Exists(mark) && File.ReadAllText(mark) == DefaultAppArmor.Text && AppArmor.Has(DefaultAppArmor.Name))
            {
                return null;
            }

            if (AppArmor.Load(DefaultAppArmor.Text) is { } why)
            {
                return why;
            }

            DurableFile.WriteVolatile(mark, System.Text.Encoding.UTF8.GetBytes(DefaultAppArmor.Text));
            return null;
        }
        catch (Exception e) when (e is EdgeHostException or IOException or UnauthorizedAccessException)
        {
            return e.Message;
        }
    }

    private void RequireAppArmor(ContainerSpec spec)
    {
        if (spec.AppArmor is { } profile and not AppArmor.Unconfined && AppArmor.WhyNot is { } why)
        {
            throw new EdgeHostException(ErrorKind.Unsupported, $"AppArmor profile {profile} is asked for, and no container can have one here: {why}");
        }
    }
}
