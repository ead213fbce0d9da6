using System.Text.Json;
using EdgeHost.Linux;
using EdgeHost.Oci;

namespace EdgeHost.Runtime.Oci;

/// <summary><c>oci state</c>: prints the state (runtime-spec, runtime.md).</summary>
internal static class OciStateVerb
{
    internal static int Execute(OciArguments line)
    {
        var id = line.TakeOperands(1, 1, "one container id")[0];
        var observed = line.State.Observe(line.State.Load(id));
        SingleThread.Print(JsonSerializer.SerializeToUtf8Bytes(observed, RuntimeSpecJson.Default.RuntimeState));
        SingleThread.Print("\n");
        return 0;
    }
}
