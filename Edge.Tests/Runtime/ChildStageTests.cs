using System.Collections.Immutable;
using System.Reflection.Emit;
using System.Reflection.Metadata;
using System.Reflection.Metadata.Ecma335;
using System.Reflection.PortableExecutable;
using Xunit;

namespace Edge.Tests.Runtime;

/// <summary>
/// The child of a clone is a copy of a .NET process whose other threads are gone. What it executes is read here from the
/// compiled code: it allocates nothing, throws nothing, touches no static field, and leaves its room for nothing.
/// </summary>
public sealed class ChildStageTests
{
    private const string Child = "EdgeHost.Linux.Launch.LaunchChild";

    // Numbers and bare calls of this room, and what the compiler turns into an address.
    private static readonly string[] Callable =
    [
        Child + "::", "EdgeHost.Linux.Libc::bare_syscall", "EdgeHost.Linux.Libc::errno_location", "EdgeHost.Linux.Libc::get_O_DIRECTORY",
        "EdgeHost.Linux.Libc::get_O_NOFOLLOW", "EdgeHost.Linux.Nr::get_", "System.Runtime.CompilerServices.Unsafe::AsPointer",
        "System.Runtime.InteropServices.MemoryMarshal::GetReference", "System.ReadOnlySpan`1::.ctor",
    ];

    private static readonly HashSet<OpCode> Forbidden =
    [
        OpCodes.Newarr, OpCodes.Box, OpCodes.Ldstr, OpCodes.Throw, OpCodes.Rethrow, OpCodes.Callvirt, OpCodes.Calli, OpCodes.Ldftn, OpCodes.Ldvirtftn,
        OpCodes.Castclass, OpCodes.Isinst, OpCodes.Unbox, OpCodes.Unbox_Any, OpCodes.Ldsfld, OpCodes.Stsfld, OpCodes.Newobj, OpCodes.Ldelema, OpCodes.Ldtoken,
    ];

    [Fact]
    public void The_child_allocates_nothing_and_calls_nothing_outside_its_room()
    {
        using var file = new PEReader(File.OpenRead(typeof(EdgeHost.Program).Assembly.Location));
        var metadata = file.GetMetadataReader();
        var methods = metadata.TypeDefinitions.Select(metadata.GetTypeDefinition)
            .Where(type => NameOf(metadata, type) == Child)
            .SelectMany(type => type.GetMethods())
            .Select(metadata.GetMethodDefinition)
            .ToList();
        Assert.True(methods.Count > 30, $"only {methods.Count} methods: is the child still in {Child}?");

        var found = new List<string>();
        foreach (var method in methods)
        {
            var body = file.GetMethodBody(method.RelativeVirtualAddress);
            var name = metadata.GetString(method.Name);
            if (body.ExceptionRegions.Length > 0)
            {
                found.Add($"{name}: has an exception handler");
            }

            found.AddRange(Instructions(body.GetILContent()).Select(instruction => Judge(metadata, instruction.Code, instruction.Operand)).Where(why => why is not null).Select(why => $"{name}: {why}"));
        }

        Assert.Empty(found);
    }

    private static string? Judge(MetadataReader metadata, OpCode code, int operand)
    {
        if (code == OpCodes.Call || code == OpCodes.Newobj)
        {
            var callee = NameOf(metadata, MetadataTokens.EntityHandle(operand));

            // A structure that is made on the stack is no allocation; only spans over constants are.
            return Array.Exists(Callable, allowed => callee.StartsWith(allowed, StringComparison.Ordinal)) ? null : $"calls {callee}";
        }

        return Forbidden.Contains(code) ? $"uses {code.Name}" : null;
    }

    private static string NameOf(MetadataReader metadata, TypeDefinition type) => $"{metadata.GetString(type.Namespace)}.{metadata.GetString(type.Name)}";

    private static string NameOf(MetadataReader metadata, EntityHandle handle)
    {
        switch (handle.Kind)
        {
            case HandleKind.MethodSpecification:
                return NameOf(metadata, metadata.GetMethodSpecification((MethodSpecificationHandle)handle).Method);
            case HandleKind.MethodDefinition:
                var method = metadata.GetMethodDefinition((MethodDefinitionHandle)handle);
                return $"{NameOf(metadata, metadata.GetTypeDefinition(method.GetDeclaringType()))}::{metadata.GetString(method.Name)}";
            case HandleKind.MemberReference:
                var member = metadata.GetMemberReference((MemberReferenceHandle)handle);
                return $"{NameOf(metadata, member.Parent)}::{metadata.GetString(member.Name)}";
            case HandleKind.TypeReference:
                var type = metadata.GetTypeReference((TypeReferenceHandle)handle);
                return $"{metadata.GetString(type.Namespace)}.{metadata.GetString(type.Name)}";
            case HandleKind.TypeSpecification:
                return metadata.GetTypeSpecification((TypeSpecificationHandle)handle).DecodeSignature(new GenericName(), null);
            default:
                return handle.Kind.ToString();
        }
    }

    private static IEnumerable<(OpCode Code, int Operand)> Instructions(ImmutableArray<byte> il)
    {
        for (var at = 0; at < il.Length;)
        {
            var value = (short)il[at++];
            if (value == 0xFE)
            {
                value = (short)(0xFE00 | il[at++]);
            }

            var code = Codes[value];
            var operand = code.OperandType switch
            {
                OperandType.InlineNone => 0,
                OperandType.ShortInlineBrTarget or OperandType.ShortInlineI or OperandType.ShortInlineVar => 1,
                OperandType.InlineVar => 2,
                OperandType.InlineI8 or OperandType.InlineR => 8,
                OperandType.InlineSwitch => 4 + (4 * BitConverter.ToInt32(il.AsSpan(at, 4))),
                _ => 4,
            };
            yield return (code, operand == 4 ? BitConverter.ToInt32(il.AsSpan(at, 4)) : 0);
            at += operand;
        }
    }

    private static readonly Dictionary<short, OpCode> Codes = typeof(OpCodes).GetFields()
        .Select(field => (OpCode)field.GetValue(null)!)
        .ToDictionary(code => code.Value);

    /// <summary>Names generic types by their definition.</summary>
    private sealed class GenericName : ISignatureTypeProvider<string, object?>
    {
        public string GetGenericInstantiation(string genericType, ImmutableArray<string> typeArguments) => genericType;

        public string GetTypeFromReference(MetadataReader reader, TypeReferenceHandle handle, byte rawTypeKind) => NameOf(reader, (EntityHandle)handle);

        public string GetTypeFromDefinition(MetadataReader reader, TypeDefinitionHandle handle, byte rawTypeKind) => NameOf(reader, reader.GetTypeDefinition(handle));

        public string GetTypeFromSpecification(MetadataReader reader, object? genericContext, TypeSpecificationHandle handle, byte rawTypeKind) =>
            reader.GetTypeSpecification(handle).DecodeSignature(this, genericContext);

        public string GetArrayType(string elementType, ArrayShape shape) => elementType + "[]";

        public string GetByReferenceType(string elementType) => elementType + "&";

        public string GetFunctionPointerType(MethodSignature<string> signature) => "function pointer";

        public string GetGenericMethodParameter(object? genericContext, int index) => "!!" + index;

        public string GetGenericTypeParameter(object? genericContext, int index) => "!" + index;

        public string GetModifiedType(string modifier, string unmodifiedType, bool isRequired) => unmodifiedType;

        public string GetPinnedType(string elementType) => elementType;

        public string GetPointerType(string elementType) => elementType + "*";

        public string GetPrimitiveType(PrimitiveTypeCode typeCode) => typeCode.ToString();

        public string GetSZArrayType(string elementType) => elementType + "[]";
    }
}
