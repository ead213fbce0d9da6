namespace EdgeHost.Oci;

/// <summary>The media types of images (OCI image-spec, media-types.md; Docker's image manifest version 2, schema 2).</summary>
public static class MediaTypes
{
    /// <summary>An OCI image index.</summary>
    public const string ImageIndex = "application/vnd.oci.image.index.v1+json";

    /// <summary>An OCI image manifest.</summary>
    public const string ImageManifest = "application/vnd.oci.image.manifest.v1+json";

    /// <summary>An OCI image configuration.</summary>
    public const string ImageConfig = "application/vnd.oci.image.config.v1+json";

    /// <summary>An OCI layer, not compressed.</summary>
    public const string LayerTar = "application/vnd.oci.image.layer.v1.tar";

    /// <summary>An OCI layer, gzip.</summary>
    public const string LayerTarGzip = "application/vnd.oci.image.layer.v1.tar+gzip";

    /// <summary>Docker's manifest list.</summary>
    public const string DockerManifestList = "application/vnd.docker.distribution.manifest.list.v2+json";

    /// <summary>Docker's manifest.</summary>
    public const string DockerManifest = "application/vnd.docker.distribution.manifest.v2+json";

    /// <summary>Docker's image configuration.</summary>
    public const string DockerImageConfig = "application/vnd.docker.container.image.v1+json";

    /// <summary>Docker's first manifest, signed: no longer served by anybody who matters.</summary>
    public const string DockerManifestV1 = "application/vnd.docker.distribution.manifest.v1+prettyjws";

    /// <summary>Whether it is the type of an index or a manifest list.</summary>
    public static bool IsIndex(string? type) => type is ImageIndex or DockerManifestList;

    /// <summary>Whether it is the type of a manifest of one image.</summary>
    public static bool IsManifest(string? type) => type is ImageManifest or DockerManifest;
}
