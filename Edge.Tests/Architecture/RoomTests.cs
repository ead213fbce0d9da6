using Edge.Tests.Fixtures;
using Xunit;

namespace Edge.Tests.Architecture;

public sealed class RoomTests
{
    private static readonly IReadOnlyList<Room> Rooms = RoomTable.Parse(File.ReadAllText(Repository.PathOf("ARCHITECTURE.md")));

    [Fact]
    public void No_room_of_the_product_breaks_the_table()
    {
        var root = Repository.PathOf("EdgeHost");
        var files = Directory.EnumerateFiles(root, "*.cs", SearchOption.AllDirectories)
            .Select(f => new SourceFile(Path.GetRelativePath(root, f), File.ReadAllText(f)))
            .Where(f => f.Room is not ("bin" or "obj"))
            .ToArray();

        Assert.NotEmpty(files);
        AssertNone(new RoomRules(Rooms).Check(files));
    }

    [Fact]
    public void Every_folder_of_the_product_is_a_room_of_the_table()
    {
        var folders = Directory.EnumerateDirectories(Repository.PathOf("EdgeHost")).Select(d => Path.GetFileName(d)).Except(["bin", "obj"]);

        Assert.Empty(folders.Except(Rooms.Select(r => r.Name)));
    }

    [Fact]
    public void Arrows_point_only_to_rooms_that_stand_above()
    {
        var above = new HashSet<string>(StringComparer.Ordinal);
        foreach (var room in Rooms)
        {
            Assert.Empty(room.MayUse.Except(above).Select(r => $"{room.Name} uses {r}, which does not stand above it"));
            Assert.True(above.Add(room.Name), $"{room.Name} stands twice in the room table");
        }
    }

    [Fact]
    public void Every_package_of_the_product_stands_with_its_room_in_the_table_of_dependencies()
    {
        var document = File.ReadAllText(Repository.PathOf("ARCHITECTURE.md"));
        var table = document[document.IndexOf("## Dependencies", StringComparison.Ordinal)..];
        var project = System.Xml.Linq.XDocument.Load(Repository.PathOf("EdgeHost", "EdgeHost.csproj"));

        var packages = project.Descendants().Where(e => e.Name.LocalName is "PackageReference" or "FrameworkReference").Select(e => (string)e.Attribute("Include")!).ToArray();

        Assert.NotEmpty(packages);
        Assert.DoesNotContain(packages, p => !table.Contains(p, StringComparison.Ordinal));
    }

    // Each plants one forbidden thing and the whole of what is said about it.
    [Theory]
    [InlineData("Board/Planted.cs", "namespace EdgeHost.Board; using EdgeHost.Mqtt; class Planted;", "Board may not use Mqtt")]
    [InlineData("Board/Planted.cs", "namespace EdgeHost.Board; class Planted { EdgeHost.Mqtt.Agent? _a; }", "Board may not use Mqtt")]
    [InlineData("Board/Planted.cs", "namespace EdgeHost.Board; class Planted { Mqtt.Agent? _a; }", "Board may not use Mqtt")]
    [InlineData("Board/Planted.cs", "using A = EdgeHost.Mqtt.Agent; namespace EdgeHost.Board; class Planted { A? _a; }", "Board may not use Mqtt")]
    [InlineData("Board/Planted.cs", "using static EdgeHost.Mqtt.Agent; namespace EdgeHost.Board; class Planted { int _a = Count; }", "Board may not use Mqtt")]
    [InlineData("Board/Planted.cs", "namespace EdgeHost.Board; class Planted { object A() => new global::EdgeHost.Mqtt.Agent(); }", "Board may not use Mqtt")]
    [InlineData("Board/Planted.cs", "namespace EdgeHost.Board; class Planted { List<Mqtt.Agent[]> A() => []; }", "Board may not use Mqtt")]
    [InlineData("Errors/Planted.cs", "namespace EdgeHost.Errors; class Planted { void A(Linux.Gate gate) { } }", "Errors may not use Linux")]
    [InlineData("Cli/Planted.cs", "namespace EdgeHost.Cli; class Planted { void A() { var a = Mqtt.Agent.Docker; } }", "Cli may not use Engine")]
    [InlineData("Cli/Planted.cs", "namespace EdgeHost.Cli; class Planted { void A() => Mqtt.Agent.Docker.Start(); }", "Cli may not use Engine")]
    [InlineData("Board/Planted.cs", "using EdgeHost.Nowhere.Generated; using EdgeHost.Api; namespace EdgeHost.Board; class Planted;", "Board may not use Api")]
    public void A_forbidden_room_is_found(string path, string text, string complaint) => Assert.Contains(complaint, Planted(path, text), StringComparison.Ordinal);

    [Theory]
    [InlineData("Api/Planted.cs", "using MQTTnet; namespace EdgeHost.Api; class Planted;", "MQTTnet is named outside Mqtt")]
    [InlineData("Mqtt/Planted.cs", "using Microsoft.AspNetCore.Http; namespace EdgeHost.Mqtt; class Planted;", "Microsoft.AspNetCore is named outside Api")]
    [InlineData("Board/Planted.cs", "namespace EdgeHost.Board; class Planted { System.CommandLine.Command? _a; }", "System.CommandLine is named outside Cli")]
    [InlineData("Planted.cs", "using MQTTnet; namespace EdgeHost; class Planted;", "MQTTnet is named outside Mqtt")]
    [InlineData("Cli/Planted.cs", "namespace EdgeHost.Cli; class Planted { object A() => Mqtt.Agent.Client.PingAsync(default); }", "MQTTnet is named outside Mqtt")]
    public void A_package_outside_its_room_is_found_even_when_its_name_is_not_written(string path, string text, string complaint) =>
        Assert.Contains(complaint, Planted(path, text), StringComparison.Ordinal);

    [Theory]
    [InlineData("unsafe class Planted;", "unsafe code")]
    [InlineData("class Planted { void A() { unsafe { } } }", "unsafe code")]
    [InlineData("class Planted { void A() { unsafe void B() { } } }", "unsafe code")]
    [InlineData("class Planted { int* _a; }", "a pointer")]
    [InlineData("class Planted { delegate*<void> _a; }", "a function pointer")]
    [InlineData("class Planted { void A(int b) { var c = &b; } }", "an address")]
    [InlineData("class Planted { [System.Runtime.InteropServices.DllImport(\"c\")] static extern int A(); }", "DllImport")]
    [InlineData("partial class Planted { [System.Runtime.InteropServices.LibraryImport(\"c\")] static partial int A(); }", "LibraryImport")]
    [InlineData("class Planted { static extern int A(); }", "an extern method")]
    [InlineData("class Planted { object A() => System.Runtime.InteropServices.Marshal.AllocHGlobal(1); }", "Marshal")]
    [InlineData("class Planted { int A(object a) => System.Runtime.CompilerServices.Unsafe.As<string>(a).Length; }", "Unsafe")]
    [InlineData("class Planted { void A() { System.Runtime.InteropServices.NativeMemory.Free(default); } }", "NativeMemory")]
    public void Unsafe_code_outside_Linux_is_found_and_inside_is_not(string text, string complaint)
    {
        Assert.Contains(complaint + " outside Linux", Planted("Board/Planted.cs", "namespace EdgeHost.Board; " + text), StringComparison.Ordinal);
        AssertNone(new RoomRules(Rooms).Check([new SourceFile("Linux/Planted.cs", "namespace EdgeHost.Linux; " + text)]));
    }

    [Fact]
    public void A_folder_that_the_table_lacks_is_found() =>
        Assert.Contains("folder Utils is not in the room table", Planted("Utils/Planted.cs", "namespace EdgeHost.Utils; class Planted;"), StringComparison.Ordinal);

    [Fact]
    public void A_file_that_claims_another_room_is_found() =>
        Assert.Contains("namespace EdgeHost.Engine in a file of EdgeHost.Board", Planted("Board/Planted.cs", "namespace EdgeHost.Engine; class Planted;"), StringComparison.Ordinal);

    [Fact]
    public void What_the_table_allows_is_not_complained_about() => AssertNone(new RoomRules(Rooms).Check(
    [
        Agent, Docker,
        new SourceFile("Program.cs", "using EdgeHost.Mqtt; namespace EdgeHost; class Program { static void Main() => Agent.Docker.Start(); }"),
        new SourceFile("Cli/A.cs", "using EdgeHost.Mqtt; using System.CommandLine; namespace EdgeHost.Cli; class A { Command C() => new(Agent.Count + \"\"); }"),
    ]));

    [Theory]
    [InlineData("no table here")]
    [InlineData("| room | lives there | may use | alone names |\n|---|---|---|---|\n| Board | x | – | |\n")]
    public void A_table_that_cannot_be_read_is_an_error_and_not_an_empty_table(string document) =>
        Assert.Throws<FormatException>(() => RoomTable.Parse(document));

    private static readonly SourceFile Agent = new("Mqtt/Agent.cs",
        "namespace EdgeHost.Mqtt; public class Agent { public static int Count; public static EdgeHost.Engine.Docker Docker = new(); public static MQTTnet.IMqttClient Client = null!; }");

    private static readonly SourceFile Docker = new("Engine/Docker.cs", "namespace EdgeHost.Engine; public class Docker { public void Start() { } }");

    private static string Planted(string path, string text)
    {
        var gate = new SourceFile("Linux/Gate.cs", "namespace EdgeHost.Linux; public class Gate;");
        var rules = new RoomRules(Rooms);
        AssertNone(rules.Check([gate, Agent, Docker]));
        return string.Join('\n', rules.Check([gate, Agent, Docker, new SourceFile(path, text)]));
    }

    private static void AssertNone(IReadOnlyList<string> complaints) => Assert.True(complaints.Count == 0, string.Join('\n', complaints));
}
