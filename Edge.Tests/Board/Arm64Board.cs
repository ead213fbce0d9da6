using Edge.Tests.Board;
using Edge.Tests.Fixtures;
using Xunit;

[assembly: AssemblyFixture(typeof(Arm64Board))]

namespace Edge.Tests.Board;

/// <summary>
/// The arm64 board that all tests of a run share; the first that needs it boots it. A test takes it as a parameter of
/// its constructor, and leaves nothing behind on it that another could see. Who needs a kernel of its own starts an
/// <see cref="EmulatedBoard"/>.
/// </summary>
public sealed class Arm64Board : IAsyncDisposable
{
    private readonly Lazy<Task<EmulatedBoard>> _board = new(() => EmulatedBoard.StartAsync());

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        if (_board.IsValueCreated && _board.Value.IsCompletedSuccessfully)
        {
            await (await _board.Value).DisposeAsync();
        }
    }

    /// <summary>Runs a bash script as root on the board.</summary>
    internal async Task<CommandRun> RunAsync(string script, TimeSpan? patience = null) => await (await _board.Value).RunAsync(script, patience);

    /// <summary>The board itself.</summary>
    internal Task<EmulatedBoard> BootedAsync() => _board.Value;

    /// <summary>The directory of the host that the board has as /mnt/share.</summary>
    internal async Task<string> ShareAsync() => (await _board.Value).Share;
}
