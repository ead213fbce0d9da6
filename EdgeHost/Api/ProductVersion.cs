namespace EdgeHost.Api;

/// <summary>The version of this build, as in <c>0.1.0</c>.</summary>
internal static class ProductVersion
{
    internal static string Text { get; } = typeof(ProductVersion).Assembly.GetName().Version?.ToString(3) ?? "0.0.0";
}
