using System.Text.Json;
using EdgeHost.Errors;
using EdgeHost.Oci;

namespace EdgeHost.Runtime.Oci;

/// <summary>A bundle on disk (runtime-spec, bundle.md).</summary>
internal static class OciBundle
{
    private const int MaximumConfigBytes = 4 << 20;

    internal static (string Bundle, RuntimeSpec Spec) Load(string? path)
    {
        var bundle = Path.GetFullPath(path ?? ".");
        var file = bundle + "/config.json";
        byte[] bytes;
        try
        {
            if (new FileInfo(file).Length > MaximumConfigBytes)
            {
                throw new EdgeHostException(ErrorKind.Invalid, $"{file} is longer than {MaximumConfigBytes} bytes");
            }

            bytes = File.ReadAllBytes(file);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new EdgeHostException(ErrorKind.NotFound, $"bundle {bundle}: config.json cannot be read: {e.Message}", e);
        }

        try
        {
            return (bundle, JsonSerializer.Deserialize(bytes, RuntimeSpecJson.Default.RuntimeSpec) ?? throw new JsonException("it is null"));
        }
        catch (JsonException e)
        {
            throw new EdgeHostException(ErrorKind.Invalid, $"{file}: line {e.LineNumber + 1}, {e.Path}: not a runtime configuration", e);
        }
    }
}
