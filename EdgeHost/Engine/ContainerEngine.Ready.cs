using System.Globalization;
using EdgeHost.Errors;
using EdgeHost.Linux;

namespace EdgeHost.Engine;

/// <summary>
/// Namespaces that are made before anybody asks: one pair, for the users that the next container gets, and only once
/// nothing was started for a moment. Nobody was ever in them, and whoever takes them has them alone.
/// </summary>
public sealed partial class ContainerEngine
{
    private static readonly TimeSpan Quiet = TimeSpan.FromMilliseconds(50);

    private ReadyNamespaces? _ready;
    private long _prepareAt;
    private bool _preparing;

    /// <summary>
    /// Begins to make the namespaces of a container with users of its own that has a network namespace, so that this is its
    /// own as well; null for any other, and where the shepherd is one that cannot.
    /// </summary>
    private Task<MadeNamespaces>? BeginNamespaces(ContainerRecord record)
    {
        if (record.FirstUser is not { } first || record.Spec.Network is not (NetworkMode.Bridge or NetworkMode.None) || !Shepherd.MakesNetworks)
        {
            return null;
        }

        if (Volatile.Read(ref _ready) is { } ready && ready.FirstUser == first && Interlocked.CompareExchange(ref _ready, null, ready) == ready)
        {
            return Task.FromResult(ready.Namespaces);
        }

        return MakeNamespacesAsync(first);
    }

    private Task<MadeNamespaces> MakeNamespacesAsync(uint first)
    {
        var map = string.Create(CultureInfo.InvariantCulture, $"0 {first} {UserRanges.Size}\n");
        return Shepherd.MakeNamespacesAsync(map, map);
    }

    /// <summary>Makes the next ones when it has been quiet for a moment.</summary>
    private void PrepareNamespaces()
    {
        Volatile.Write(ref _prepareAt, Environment.TickCount64 + (long)Quiet.TotalMilliseconds);
        if (!Interlocked.Exchange(ref _preparing, true))
        {
            _ = PrepareNamespacesAsync();
        }
    }

    private async Task PrepareNamespacesAsync()
    {
        try
        {
            while (Volatile.Read(ref _prepareAt) - Environment.TickCount64 is > 0 and var wait)
            {
                await Task.Delay((int)wait, _ended).ConfigureAwait(false);
            }

            uint next;
            lock (_naming)
            {
                next = NextUsers();
            }

            // Those of a container that was made and not started yet are kept for it.
            if (Shepherd.MakesNetworks && WhyNoUsers is null && Volatile.Read(ref _ready) is var ready
                && (ready is null || (ready.FirstUser != next && !_containers.Values.Any(each => !each.Removed && !each.IsRunning && each.Record.FirstUser == ready.FirstUser))))
            {
                var made = new ReadyNamespaces(next, await MakeNamespacesAsync(next).ConfigureAwait(false));
                Interlocked.Exchange(ref _ready, made)?.Namespaces.Dispose();
            }
        }
        catch (Exception e) when (e is EdgeHostException or OperationCanceledException)
        {
            // Who starts a container makes them, and says what is wrong.
        }
        finally
        {
            Volatile.Write(ref _preparing, false);
        }
    }

    private sealed class ReadyNamespaces(uint firstUser, MadeNamespaces namespaces)
    {
        internal uint FirstUser => firstUser;

        internal MadeNamespaces Namespaces => namespaces;
    }
}
