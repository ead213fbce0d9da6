using EdgeHost.Deployments;
using EdgeHost.Engine;
using Xunit;

namespace Edge.Tests.Deployments;

/// <summary>The daemon is killed at every single point of a deployment: before and after each change of a container, before each write.</summary>
public sealed class CrashTests
{
    private sealed class Killed : Exception;

    [Fact]
    public async Task Killed_at_any_point_of_a_deployment_it_converges_on_the_new_version()
    {
        for (var point = 1; ; point++)
        {
            await using var board = new BoardUnderTest();
            await board.StartAsync();
            await board.DeployAsync(1, "web=nginx:1", "db=redis:7", "old=busybox:1");
            var database = board.Workload("db");
            await board.Reconciler.DisposeAsync();

            var document = BoardUnderTest.Document(2, "new=busybox:2", "web=nginx:2", "db=redis:7");
            var wasKilled = await RunUntilKilledAsync(board, document, point, status => status.Version == 2);
            await board.StartAsync();
            await board.Reconciler.OfferAsync(document, CancellationToken.None);
            await board.UntilAsync(status => status is { Version: 2, Phase: DeploymentPhase.Running });

            await board.UntilContainersAsync(containers => containers.Count == 3);
            Assert.Equal("db=redis:7 new=busybox:2 web=nginx:2", board.Running());
            Assert.Equal(database.Pid, board.Workload("db").Pid);
            if (!wasKilled)
            {
                Assert.True(point > 12, $"only {point} points were reached: the test kills nothing");
                return;
            }
        }
    }

    [Fact]
    public async Task Killed_at_any_point_of_a_deployment_that_fails_it_converges_on_the_old_version()
    {
        for (var point = 1; ; point++)
        {
            await using var board = new BoardUnderTest();
            await board.StartAsync();
            await board.DeployAsync(1, "web=nginx:1", "db=redis:7", "worker=busybox:1");
            var database = board.Workload("db");
            var before = board.Engine.List().Select(container => container.Id).Order().ToList();
            await board.Reconciler.DisposeAsync();

            var document = BoardUnderTest.Document(2, "web=nginx:2", "worker=broken:2", "db=redis:7");
            var wasKilled = await RunUntilKilledAsync(board, document, point, status => status.Phase == DeploymentPhase.Failed);
            await board.StartAsync();
            await board.Reconciler.OfferAsync(document, CancellationToken.None);
            var status = await board.UntilAsync(status => status.Phase == DeploymentPhase.Failed);

            await board.UntilContainersAsync(containers => containers.Count == 3 && containers.All(container => container.State == ContainerState.Running));
            Assert.Equal(before, board.Engine.List().Select(container => container.Id).Order());
            Assert.Equal(database.Pid, board.Workload("db").Pid);
            Assert.Equal(1, status.Version);
            Assert.Equal(2, status.Failure?.Version);
            if (!wasKilled)
            {
                Assert.True(point > 12, $"only {point} points were reached: the test kills nothing");
                return;
            }
        }
    }

    /// <summary>Runs a daemon that dies at the given point.</summary>
    /// <returns>False when the end came first.</returns>
    private static async Task<bool> RunUntilKilledAsync(BoardUnderTest board, byte[] document, int point, Func<DeploymentStatus, bool> end)
    {
        var passed = 0;
        var dead = false;
        void Pass()
        {
            // Once dead it does nothing more, as a killed process.
            if (dead || ++passed == point)
            {
                dead = true;
                throw new Killed();
            }
        }

        board.Engine.Step = Pass;
        var reconciler = await board.StartAsync(Pass);
        try
        {
            await reconciler.OfferAsync(document, CancellationToken.None);
            await board.UntilAsync(end);
            // The end is announced before the last clean-up; let the loop come to rest by its own stop.
            await reconciler.StopAsync(CancellationToken.None);
        }
        catch (Killed)
        {
            await reconciler.StopAsync(CancellationToken.None);
        }
        finally
        {
            board.Engine.Step = null;
        }

        return dead;
    }
}
