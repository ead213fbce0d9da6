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
        // To compile it takes a slow board a second: it is loaded anew after a boot, or when it has become another.
        var loaded = _options.RunDirectory + "/apparmor";
        if (AppArmor.WhyNot is null && File.Exists(loaded) && File.ReadAllText(loaded) == DefaultAppArmor.Text && AppArmor.Has(DefaultAppArmor.Name))
        {
            WhyNoAppArmor = null;
            return;
        }

        WhyNoAppArmor = AppArmor.Load(DefaultAppArmor.Text);
        if (WhyNoAppArmor is null)
        {
            DurableFile.WriteVolatile(loaded, System.Text.Encoding.UTF8.GetBytes(DefaultAppArmor.Text));
        }
        else
        {
            LogNoAppArmor(_log, WhyNoAppArmor);
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
