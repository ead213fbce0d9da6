namespace EdgeHost.Images;

/// <summary>Loading from archives.</summary>
public sealed partial class ImageStore
{
    /// <inheritdoc/>
    public Task<IReadOnlyList<Image>> LoadAsync(Stream archive, CancellationToken cancel) => throw new NotSupportedException();
}
