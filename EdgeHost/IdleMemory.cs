using EdgeHost.Linux;
using Microsoft.Extensions.Hosting;

namespace EdgeHost;

/// <summary>
/// Gives memory back to the board once work is done. The collector keeps what a start-up, a pull or a deployment has
/// used, in case there is more of it; on a small board the workloads need it more. Looks twice a minute, waits for the
/// end of the work, though not for long, and does nothing where nothing was allocated. What else is to be looked at now
/// and then is looked at in the same moments, so that the board is not woken for it.
/// </summary>
/// <param name="alsoLook">What else.</param>
internal sealed class IdleMemory(Action alsoLook) : BackgroundService
{
    private const long WorthBytes = 512L << 10;
    private const long QuietBytes = 256L << 10;

    // In this many looks one after the other work that goes on is let alone.
    private const int Patience = 1;

    private static readonly TimeSpan First = TimeSpan.FromSeconds(3);
    private static readonly TimeSpan Interval = TimeSpan.FromSeconds(30);

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        try
        {
            await Task.Delay(First, stoppingToken).ConfigureAwait(false);
            using var timer = new PeriodicTimer(Interval);
            long collectedAt = 0, seen = 0;
            var loud = 0;
            do
            {
                alsoLook();
                var allocated = GC.GetTotalAllocatedBytes();
                loud = allocated - seen < QuietBytes ? 0 : loud + 1;
                if (allocated - collectedAt > WorthBytes && (collectedAt == 0 || loud is 0 or > Patience))
                {
                    loud = 0;
                    GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive, blocking: true, compacting: true);
                    collectedAt = GC.GetTotalAllocatedBytes();
                }

                // Also what a report now and then has touched; what is needed in each interval comes back with a few faults.
                ProgramPages.GiveBack();
                seen = allocated;
            }
            while (await timer.WaitForNextTickAsync(stoppingToken).ConfigureAwait(false));
        }
        catch (OperationCanceledException)
        {
            // The daemon ends.
        }
    }
}
