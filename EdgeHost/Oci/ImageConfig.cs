namespace EdgeHost.Oci;

/// <summary>An image's configuration (OCI image-spec, config.md), as far as it is used; the bytes that were received keep the digest.</summary>
public sealed record ImageConfig
{
}
