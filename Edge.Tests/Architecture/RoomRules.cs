using System.Collections.Immutable;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;
using Microsoft.CodeAnalysis.CSharp.Syntax;

namespace Edge.Tests.Architecture;

/// <summary>A source file of the product.</summary>
/// <param name="Path">Relative to EdgeHost/, as in <c>Board/BoardFacts.cs</c>.</param>
/// <param name="Text">Its text.</param>
internal sealed record SourceFile(string Path, string Text)
{
    /// <summary>The room that it stands in; empty for the files that compose the rooms.</summary>
    internal string Room => Path.IndexOf('/', StringComparison.Ordinal) is var end and > 0 ? Path[..end] : string.Empty;
}

/// <summary>
/// Asks the compiler which room each name in the product belongs to. What source generators would add is not there,
/// so a name may stay unresolved; every name that is written out is therefore looked at as text, too.
/// </summary>
internal sealed class RoomRules
{
    private const string Product = "EdgeHost";
    private const string UnsafeRoom = "Linux";

    // Types by which safe C# does what unsafe code does.
    private static readonly HashSet<string> UnsafeTypes = new(StringComparer.Ordinal)
    {
        "System.Runtime.InteropServices.Marshal",
        "System.Runtime.InteropServices.NativeMemory",
        "System.Runtime.InteropServices.NativeLibrary",
        "System.Runtime.InteropServices.DllImportAttribute",
        "System.Runtime.InteropServices.LibraryImportAttribute",
        "System.Runtime.InteropServices.UnmanagedCallersOnlyAttribute",
        "System.Runtime.CompilerServices.Unsafe",
    };

    // The same as they are written, for names that did not resolve.
    private static readonly HashSet<string> UnsafeWords = new(StringComparer.Ordinal)
    {
        "Marshal", "NativeMemory", "NativeLibrary", "DllImport", "DllImportAttribute", "LibraryImport", "LibraryImportAttribute",
        "UnmanagedCallersOnly", "UnmanagedCallersOnlyAttribute",
    };

    private static readonly CSharpParseOptions ParseOptions = new(LanguageVersion.Preview, DocumentationMode.None);

    // What ImplicitUsings writes for the SDK of the product.
    private static readonly SyntaxTree ImplicitUsings = CSharpSyntaxTree.ParseText(
        """
        global using System;
        global using System.Collections.Generic;
        global using System.IO;
        global using System.Linq;
        global using System.Net.Http;
        global using System.Threading;
        global using System.Threading.Tasks;
        """, ParseOptions);

    private static readonly Lazy<ImmutableArray<MetadataReference>> References = new(ReferencesOfThisProcess);

    private readonly Dictionary<string, Room> _rooms;
    private readonly List<(string Namespace, string Room)> _packages;

    internal RoomRules(IReadOnlyList<Room> rooms)
    {
        _rooms = rooms.ToDictionary(r => r.Name, StringComparer.Ordinal);
        _packages = [.. rooms.SelectMany(r => r.AloneNames.Select(n => (n, r.Name)))];
    }

    /// <summary>Everything that breaks a rule, a line each: <c>Board/X.cs:7: Board may not use Mqtt (MqttAgent)</c>.</summary>
    internal IReadOnlyList<string> Check(IEnumerable<SourceFile> files)
    {
        var trees = files.ToDictionary(f => CSharpSyntaxTree.ParseText(f.Text, ParseOptions, f.Path));
        var compilation = CSharpCompilation.Create(
            "rooms", trees.Keys.Append(ImplicitUsings), References.Value,
            new CSharpCompilationOptions(OutputKind.ConsoleApplication, allowUnsafe: true, concurrentBuild: true));
        var found = new SortedSet<string>(StringComparer.Ordinal);
        foreach (var (tree, file) in trees)
        {
            if (file.Room.Length > 0 && !_rooms.ContainsKey(file.Room))
            {
                _ = found.Add($"{file.Path}: folder {file.Room} is not in the room table of ARCHITECTURE.md");
                continue;
            }

            var model = compilation.GetSemanticModel(tree);
            foreach (var node in tree.GetRoot().DescendantNodes())
            {
                foreach (var complaint in Complaints(file, node, model))
                {
                    _ = found.Add($"{file.Path}:{node.GetLocation().GetLineSpan().StartLinePosition.Line + 1}: {complaint}");
                }
            }
        }

        return [.. found];
    }

    private IEnumerable<string> Complaints(SourceFile file, SyntaxNode node, SemanticModel model)
    {
        if (file.Room != UnsafeRoom && UnsafeSyntax(node) is { } what)
        {
            yield return $"{what} outside {UnsafeRoom}";
        }

        if (node is BaseNamespaceDeclarationSyntax declared && declared.Name.ToString() is var name)
        {
            var expected = file.Room.Length > 0 ? $"{Product}.{file.Room}" : Product;
            if (name != expected && !name.StartsWith(expected + ".", StringComparison.Ordinal))
            {
                yield return $"namespace {name} in a file of {expected}";
            }
        }

        if (node is UsingDirectiveSyntax { NamespaceOrType: { } used } && Forbidden(file, used.ToString()) is { } inUsing)
        {
            yield return inUsing;
        }

        if (node is QualifiedNameSyntax or MemberAccessExpressionSyntax && Forbidden(file, node.ToString()) is { } inText)
        {
            yield return inText;
        }

        if (node is not SimpleNameSyntax || node.FirstAncestorOrSelf<BaseNamespaceDeclarationSyntax>()?.Name.Contains(node) == true)
        {
            yield break;
        }

        var info = model.GetSymbolInfo(node);
        foreach (var symbol in info.Symbol is { } one ? [one] : info.CandidateSymbols)
        {
            foreach (var complaint in Complaints(file, symbol))
            {
                yield return complaint;
            }
        }
    }

    private IEnumerable<string> Complaints(SourceFile file, ISymbol symbol)
    {
        if (symbol is INamespaceSymbol { IsGlobalNamespace: true })
        {
            yield break;
        }

        var type = symbol as ITypeSymbol ?? symbol.ContainingType;
        if (type is IArrayTypeSymbol array)
        {
            type = array.ElementType;
        }

        var home = symbol as INamespaceSymbol ?? type?.ContainingNamespace ?? symbol.ContainingNamespace;
        if (home is { IsGlobalNamespace: false } && Forbidden(file, $"{home}.{type?.Name ?? string.Empty}".TrimEnd('.')) is { } complaint)
        {
            yield return complaint;
        }

        if (file.Room != UnsafeRoom && type is not null && UnsafeTypes.Contains(type.OriginalDefinition.ToDisplayString()))
        {
            yield return $"{type.Name} outside {UnsafeRoom}";
        }
    }

    // Whether a file may name something, given its name from the outermost namespace on.
    private string? Forbidden(SourceFile file, string fullName)
    {
        var name = fullName.StartsWith("global::", StringComparison.Ordinal) ? fullName["global::".Length..] : fullName;
        if (name.Split('.') is [Product, var room, ..] && _rooms.ContainsKey(room))
        {
            return file.Room.Length == 0 || file.Room == room || _rooms[file.Room].MayUse.Contains(room)
                ? null
                : $"{file.Room} may not use {room} ({name})";
        }

        foreach (var (package, owner) in _packages)
        {
            if (file.Room != owner && (name == package || name.StartsWith(package + ".", StringComparison.Ordinal)))
            {
                return $"{package} is named outside {owner} ({name})";
            }
        }

        return null;
    }

    private static string? UnsafeSyntax(SyntaxNode node) => node switch
    {
        UnsafeStatementSyntax => "unsafe code",
        FixedStatementSyntax => "a fixed statement",
        PointerTypeSyntax => "a pointer",
        FunctionPointerTypeSyntax => "a function pointer",
        PrefixUnaryExpressionSyntax { RawKind: (int)SyntaxKind.AddressOfExpression } => "an address",
        MemberDeclarationSyntax member when member.Modifiers.Any(SyntaxKind.UnsafeKeyword) => "unsafe code",
        LocalFunctionStatementSyntax function when function.Modifiers.Any(SyntaxKind.UnsafeKeyword) => "unsafe code",
        MemberDeclarationSyntax member when member.Modifiers.Any(SyntaxKind.ExternKeyword) => "an extern method",
        SimpleNameSyntax name when UnsafeWords.Contains(name.Identifier.ValueText) => name.Identifier.ValueText,
        _ => null,
    };

    private static ImmutableArray<MetadataReference> ReferencesOfThisProcess()
    {
        // Everything that the tests run with: the framework and the packages; the product itself comes as source.
        var assemblies = ((string)AppContext.GetData("TRUSTED_PLATFORM_ASSEMBLIES")!).Split(Path.PathSeparator);
        return [.. assemblies
            .Where(a => Path.GetFileName(a) is not ("edgehost.dll" or "Edge.Tests.dll"))
            .Select(a => MetadataReference.CreateFromFile(a))];
    }
}
