using Edge.Tests.Images;
using EdgeHost.Engine;
using EdgeHost.State;
using Microsoft.Extensions.Logging.Abstractions;
using Xunit;

namespace Edge.Tests.Engine;

/// <summary>What the files of containers say after a power cut, which ends what the run directory had.</summary>
public sealed class ContainerFilesTests : IDisposable
{
    private static readonly string Id = new('a', 64);

    private readonly TemporaryDirectory _directory = new();

    public void Dispose() => _directory.Dispose();

    [Fact]
    public void A_start_by_hand_counts_though_the_batch_with_it_did_not_reach_the_disk()
    {
        var stopped = Record with { State = ContainerState.Exited, Started = true, StoppedByHand = true, FinishedAt = DateTimeOffset.UtcNow };
        Use(files => files.SaveFacts(stopped));
        File.Copy(_directory.Sub("state.db"), _directory.Sub("before"));
        Use(files => files.SaveFacts(stopped with { State = ContainerState.Running, StoppedByHand = false, FinishedAt = null }));
        CutPower();
        File.Move(_directory.Sub("before"), _directory.Sub("state.db"), overwrite: true);

        Use(files => Assert.Equal((ContainerState.Running, false), Assert.Single(files.LoadAll()) is var found ? (found.State, found.StoppedByHand) : default));
    }

    [Fact]
    public void How_it_ended_by_itself_is_in_the_row_alone_and_counts()
    {
        Use(files =>
        {
            files.SaveFacts(Record with { State = ContainerState.Running, Started = true });
            files.SaveProgress(Record with { State = ContainerState.Exited, Started = true, ExitCode = 7 });
        });
        CutPower();

        Use(files => Assert.Equal(7, Assert.Single(files.LoadAll()).ExitCode));
    }

    [Fact]
    public void What_is_left_of_a_container_that_was_forgotten_is_removed_and_one_whose_facts_are_damaged_stays()
    {
        Use(files =>
        {
            files.SaveFacts(Record);
            files.Forget(Record);
        });
        var damaged = new string('b', 64);
        Directory.CreateDirectory(_directory.Sub($"data/containers/{damaged}"));
        File.WriteAllText(_directory.Sub($"data/containers/{damaged}/container.json"), "no facts");
        CutPower();

        Use(files =>
        {
            var found = files.LoadAll();
            files.RemoveOthers(id => found.Any(record => record.Id == id));
            Assert.Empty(found);
        });
        Assert.Equal(damaged, Assert.Single(Directory.GetDirectories(_directory.Sub("data/containers")), path => !Path.GetFileName(path).StartsWith('.'))[^64..]);
        Assert.False(Directory.Exists(_directory.Sub($"data/containers/{Id}")));
    }

    private static ContainerRecord Record => new()
    {
        Id = Id,
        Name = "kept",
        Spec = new ContainerSpec { Image = "app:1", Restart = new RestartPolicy(RestartKind.UnlessStopped) },
        ImageId = "sha256:" + Id,
        Created = DateTimeOffset.UtcNow,
        Arguments = ["sleep"],
        StopSignal = 15,
        BootId = "the boot before",
    };

    private void Use(Action<ContainerFiles> use)
    {
        using var state = StateDatabase.Open(_directory.Sub("state.db"));
        use(new ContainerFiles(new EngineOptions { DataDirectory = _directory.Sub("data"), RunDirectory = _directory.Sub("run") }, state, NullLogger.Instance));
    }

    private void CutPower() => Directory.Delete(_directory.Sub("run"), recursive: true);
}
