using EdgeHost.Errors;
using EdgeHost.Images;
using EdgeHost.Linux;
using EdgeHost.Runtime.Oci;
using Microsoft.Extensions.Logging;

namespace EdgeHost.Engine;

/// <summary>Whose users containers have: decided when one is made, and kept for its life.</summary>
public sealed partial class ContainerEngine
{
    private UserRanges _ranges = UserRanges.Default;
    private string? _whyNoUsers;
    private string? _whyNoLayers;

    /// <inheritdoc/>
    public string? WhyHostUsers => _options.HostUsers ? "userns.mode is host in the configuration" : WhyNoUsers;

    /// <summary>Why no container can have users of its own here; null when it can.</summary>
    private string? WhyNoUsers => _whyNoUsers
        ?? (_shepherd is { Version: < Runtime.Shepherd.Shepherd.VersionWithUsers } old ? $"the shepherd (process {old.Pid}) is from before user namespaces; restart it, which ends all containers" : null);

    private void TryUsers()
    {
        if (KernelProbe.WhyNoLayers(_options.DataDirectory) is { } whyNoLayers)
        {
            _whyNoLayers = $"images cannot be unpacked for containers below {_options.DataDirectory}: it {whyNoLayers}; name another data directory by --data-dir or EDGEHOST_DATA_DIR";
            LogNoLayers(_log, _whyNoLayers);
        }

        // A disk that is full for a while is no reason to hand out the host's users from then on.
        var failure = UserProbe.Try(ImageStore.SnapshotsOf(_options.DataDirectory), _ranges.First, out var isAnswer);
        if (isAnswer)
        {
            _whyNoUsers = failure;
        }
        else if (!_options.HostUsers)
        {
            LogUsersUntried(_log, failure!);
        }

        if (WhyHostUsers is { } why)
        {
            LogHostUsers(_log, _options.HostUsers ? LogLevel.Information : LogLevel.Warning, why);
        }
    }

    /// <summary>Gives a container that is being made the users that are to be its own; the lock on names is held.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Unsupported"/>: it asks for its own, and this host cannot; <see cref="ErrorKind.Infeasible"/>:
    /// it asks for what would be dropped; <see cref="ErrorKind.Full"/>: all are taken.</exception>
    private ContainerRecord GiveUsers(ContainerRecord record)
    {
        var spec = record.Spec;
        if (spec.Users == UserNamespaceMode.Host || (spec.Users == UserNamespaceMode.Default && WhyHostUsers is not null))
        {
            return record;
        }

        if (WhyNoUsers is { } why)
        {
            throw new EdgeHostException(ErrorKind.Unsupported, $"a user namespace is asked for, and containers cannot have one on this host: {why}; run it with --userns host");
        }

        if (HostRights.FirstAsked(spec, _shepherd is not { MakesNetworks: false }) is { } right)
        {
            if (spec.Users == UserNamespaceMode.Auto)
            {
                throw new EdgeHostException(ErrorKind.Infeasible, $"{right} means nothing in a user namespace of its own: what it is a right to belongs to the host's users; take it out, or run it with --userns host");
            }

            LogNeedsHostUsers(_log, record.Name, right);
            return record;
        }

        return record with { FirstUser = NextUsers() };
    }

    /// <summary>The users that the next container gets; the lock on names is held.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Full"/>: all are taken.</exception>
    private uint NextUsers()
    {
        uint[] taken = [.. _containers.Values.Where(other => !other.Removed).Select(other => other.Record.FirstUser).OfType<uint>()];
        return Volatile.Read(ref _ready) is { } ready && !UserRanges.Overlaps(taken, ready.FirstUser) ? ready.FirstUser : _ranges.Take(taken);
    }
}
