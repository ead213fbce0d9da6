using EdgeHost.Errors;
using EdgeHost.Images;
using Xunit;

namespace Edge.Tests.Images;

/// <summary>Pulls over connections that break.</summary>
public sealed class ResumeTests : IAsyncLifetime
{
    private const int LayerBytes = 6 << 20;

    private readonly OciLayout _layout = new();
    private readonly StoreFixture _fixture = new();
    private RegistryFixture _registry = null!;
    private TcpProxy _proxy = null!;
    private long _blobBytes;
    private string _layerDigest = string.Empty;

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public async ValueTask InitializeAsync()
    {
        _registry = await RegistryFixture.StartAsync();
        var layer = Layer.Gzip(Layer.Noise("noise", LayerBytes, 7));
        _blobBytes = layer.Blob.Length;
        _layerDigest = OciLayout.Sha256(layer.Blob)["sha256:".Length..];
        _layout.AddImage("a", [layer]);
        await _registry.PushAsync(_layout.Path + ":a", "a:1");
        _proxy = new TcpProxy(_registry.Port);
    }

    public async ValueTask DisposeAsync()
    {
        await _proxy.DisposeAsync();
        await _registry.DisposeAsync();
        _fixture.Dispose();
        _layout.Dispose();
    }

    [Fact]
    public async Task A_pull_over_a_line_that_is_cut_every_megabyte_carries_no_byte_twice()
    {
        _proxy.CutAfter = 1 << 20;
        var image = await _fixture.Store.PullAsync($"{_proxy.Host}/a:1", null, Cancel);
        Assert.Equal(LayerBytes, image.SizeBytes);
        Assert.True(_proxy.Connections > 6);

        // Headers and manifests come on top.
        Assert.InRange(_proxy.Received, _blobBytes, _blobBytes + (128 << 10));
    }

    [Fact]
    public async Task A_line_that_falls_silent_is_given_up_and_made_again()
    {
        using var fixture = new StoreFixture(new ImageStoreOptions { StallTimeout = TimeSpan.FromMilliseconds(400) });
        _proxy.CutAfter = 2 << 20;
        _proxy.Stalls = 2;
        var image = await fixture.Store.PullAsync($"{_proxy.Host}/a:1", null, Cancel);
        Assert.Equal(LayerBytes, image.SizeBytes);
        Assert.Equal(0, _proxy.Stalls);
    }

    [Fact]
    public async Task What_a_cancelled_pull_fetched_is_not_fetched_again_by_the_next_process()
    {
        _proxy.CutAfter = 3 << 20;
        _proxy.Stalls = 1;
        using var cancel = CancellationTokenSource.CreateLinkedTokenSource(Cancel);
        var begun = new Begun();
        var pull = _fixture.Store.PullAsync($"{_proxy.Host}/a:1", begun, cancel.Token);
        await begun.Task.WaitAsync(Cancel);
        await _proxy.Reached.Task.WaitAsync(Cancel);
        await cancel.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => pull);
        Assert.Empty(_fixture.Store.List());
        Assert.Empty(_fixture.Visible("snapshots"));
        var kept = new FileInfo(_fixture.Sub($"content/ingest/sha256-{_layerDigest}")).Length;
        Assert.InRange(kept, 1, 3 << 20);

        _proxy.CutAfter = long.MaxValue;
        var before = _proxy.Received;
        await _fixture.Reopen().PullAsync($"{_proxy.Host}/a:1", null, Cancel);
        Assert.InRange(_proxy.Received - before, 0, _blobBytes - kept + (64 << 10));
    }

    [Fact]
    public async Task What_lies_damaged_from_an_earlier_pull_is_noticed_and_fetched_from_zero()
    {
        File.WriteAllBytes(_fixture.Sub($"content/ingest/sha256-{_layerDigest}"), new byte[4 << 20]);
        var image = await _fixture.Store.PullAsync($"{_proxy.Host}/a:1", null, Cancel);
        Assert.Equal(LayerBytes, image.SizeBytes);
        Assert.Empty(_fixture.Visible("content/ingest"));
    }

    [Fact]
    public async Task A_pull_that_gets_nothing_more_ends_as_unavailable_and_keeps_what_it_has()
    {
        _proxy.CutAfter = 1 << 20;
        var pull = _fixture.Store.PullAsync($"{_proxy.Host}/a:1", null, Cancel);
        await _proxy.Reached.Task.WaitAsync(Cancel);
        await _proxy.DisposeAsync();
        Assert.Equal(ErrorKind.Unavailable, (await Assert.ThrowsAsync<EdgeHostException>(() => pull)).Kind);
        Assert.Single(_fixture.Visible("content/ingest"));
        Assert.Empty(_fixture.Visible("snapshots"));
        _proxy = new TcpProxy(_registry.Port);
    }

    [Fact]
    public async Task A_registry_that_ignores_ranges_is_read_from_the_start_and_the_bytes_come_out_right()
    {
        var cut = 0;
        var digest = (string)_layout.AddImage("b", [Layer.Gzip(Layer.Noise("noise", 1 << 20, 3))])["digest"]!;
        await using var registry = new ScriptedRegistry(request =>
        {
            var answer = ScriptedRegistry.Serve(_layout, digest, request);
            return request.Target.Contains("/blobs/", StringComparison.Ordinal) && answer.Body.Length > 100_000 && cut++ < 2
                ? answer with { Headers = [.. answer.Headers, ("Connection", "close")], Body = answer.Body[..(300_000 * cut)] }
                : answer;
        });

        // Content-Length is that of the piece: the manifest alone says how long the blob is.
        var image = await _fixture.Store.PullAsync($"{registry.Host}/b:1", null, Cancel);
        Assert.Equal(1 << 20, image.SizeBytes);
        Assert.Contains(registry.Seen, request => request.Header("Range") == "bytes=300000-");
    }

    [Fact]
    public async Task A_registry_that_sends_more_than_it_promised_or_other_bytes_is_corrupt()
    {
        var digest = (string)_layout.AddImage("b", [Layer.Gzip(Layer.Noise("noise", 1 << 20, 3))])["digest"]!;
        foreach (var change in (Func<byte[], byte[]>[])[bytes => [.. bytes, 1], bytes => [.. bytes[..^1], (byte)(bytes[^1] ^ 1)]])
        {
            await using var registry = new ScriptedRegistry(request =>
            {
                var answer = ScriptedRegistry.Serve(_layout, digest, request);
                return answer.Body.Length > 100_000 ? answer with { Body = change(answer.Body) } : answer;
            });
            Assert.Equal(ErrorKind.Corrupt, (await Assert.ThrowsAsync<EdgeHostException>(() => _fixture.Store.PullAsync($"{registry.Host}/b:1", null, Cancel))).Kind);
            Assert.Empty(_fixture.Visible("content/ingest"));
            Assert.Empty(_fixture.Visible("snapshots"));
        }
    }

    [Fact]
    public async Task A_busy_registry_is_asked_again_when_it_says_so()
    {
        var busy = 0;
        var digest = (string)_layout.AddImage("b", [Layer.Gzip(Layer.Files(("a", "a")))])["digest"]!;
        await using var registry = new ScriptedRegistry(request => busy++ switch
        {
            0 => new Answer(429, string.Empty, ("Retry-After", "0")),
            1 => new Answer(503),
            _ => ScriptedRegistry.Serve(_layout, digest, request),
        });
        Assert.NotNull(await _fixture.Store.PullAsync($"{registry.Host}/b:1", null, Cancel));
        Assert.True(busy > 4);
    }

    [Fact]
    public async Task A_tag_that_leads_to_other_bytes_than_its_digest_says_is_corrupt()
    {
        var digest = (string)_layout.AddImage("b", [Layer.Gzip(Layer.Files(("a", "a")))])["digest"]!;
        await using var registry = new ScriptedRegistry(request => request.Method == "GET" && request.Target.Contains("/manifests/", StringComparison.Ordinal)
            ? new Answer(200, """{"schemaVersion":2,"config":{},"layers":[]}""")
            : ScriptedRegistry.Serve(_layout, digest, request));
        Assert.Equal(ErrorKind.Corrupt, (await Assert.ThrowsAsync<EdgeHostException>(() => _fixture.Store.PullAsync($"{registry.Host}/b:1", null, Cancel))).Kind);
    }

    /// <summary>Done once bytes of a layer have come.</summary>
    private sealed class Begun : TaskCompletionSource, IProgress<PullProgress>
    {
        internal Begun()
            : base(TaskCreationOptions.RunContinuationsAsynchronously)
        {
        }

        public void Report(PullProgress value)
        {
            if (value is { Layer: not null, DoneBytes: > 0 })
            {
                TrySetResult();
            }
        }
    }
}
