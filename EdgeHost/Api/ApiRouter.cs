using System.Globalization;
using EdgeHost.Errors;

namespace EdgeHost.Api;

/// <summary>What answers a request.</summary>
internal delegate Task ApiHandler(ApiExchange exchange);

/// <summary>
/// Finds the handler of a method and a path. A pattern has literal segments and <c>*</c> for one variable segment;
/// <c>**</c> is one or more, for the names of images, which have slashes. A version (<c>/v1.44</c>) may stand in front.
/// </summary>
internal sealed class ApiRouter
{
    /// <summary>The version of Docker's API that is spoken.</summary>
    internal const string ApiVersion = "1.44";

    /// <summary>The oldest version of Docker's API that is accepted.</summary>
    internal const string OldestApiVersion = "1.24";

    private readonly List<Route> _routes = [];

    internal void Map(string method, string pattern, ApiHandler handler) =>
        _routes.Add(new Route(method, pattern.Split('/', StringSplitOptions.RemoveEmptyEntries), handler));

    /// <summary>Finds a handler and sets the variable parts.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.NotFound"/>: no such path; <see cref="ErrorKind.Invalid"/>: a version that is not spoken.</exception>
    internal ApiHandler Find(ApiExchange exchange)
    {
        var segments = WithoutVersion(exchange.FullPath).Split('/', StringSplitOptions.RemoveEmptyEntries);
        foreach (var route in _routes)
        {
            if (route.Method == exchange.Method && Match(route.Pattern, segments) is { } values)
            {
                exchange.Values = values;
                return route.Handler;
            }
        }

        throw new EdgeHostException(ErrorKind.NotFound, "page not found");
    }

    /// <summary>Whether a request asks by an older version of the API than <c>1.minor</c>; without a version it asks by the newest.</summary>
    internal static bool IsOlderThan(ApiExchange exchange, int minor) =>
        exchange.FullPath.Split('/') is [_, ['v', .. var version], ..] && Parse(version) is { } asked && asked.CompareTo((1, minor)) < 0;

    private static string WithoutVersion(string path)
    {
        if (!path.StartsWith("/v", StringComparison.Ordinal) || path.Length < 3 || !char.IsAsciiDigit(path[2]))
        {
            return path;
        }

        var end = path.IndexOf('/', 1);
        var version = end < 0 ? path[2..] : path[2..end];
        var number = Parse(version)
            ?? throw new EdgeHostException(ErrorKind.NotFound, "page not found");
        if (number.CompareTo(Parse(ApiVersion)!.Value) > 0)
        {
            throw new EdgeHostException(
                ErrorKind.Invalid,
                $"client version {version} is too new. Maximum supported API version is {ApiVersion}");
        }

        if (number.CompareTo(Parse(OldestApiVersion)!.Value) < 0)
        {
            throw new EdgeHostException(
                ErrorKind.Invalid,
                $"client version {version} is too old. Minimum supported API version is {OldestApiVersion}, please upgrade your client to a newer version");
        }

        return end < 0 ? "/" : path[end..];
    }

    private static (int Major, int Minor)? Parse(string version)
    {
        var dot = version.IndexOf('.', StringComparison.Ordinal);
        return dot > 0
            && int.TryParse(version.AsSpan(0, dot), NumberStyles.None, CultureInfo.InvariantCulture, out var major)
            && int.TryParse(version.AsSpan(dot + 1), NumberStyles.None, CultureInfo.InvariantCulture, out var minor)
            ? (major, minor)
            : null;
    }

    private static List<string>? Match(string[] pattern, string[] segments)
    {
        // At most one part of a pattern is of variable length: its length is what the others leave.
        var extra = segments.Length - pattern.Length;
        if (extra < 0 || (extra > 0 && !pattern.Contains("**")))
        {
            return null;
        }

        var values = new List<string>();
        var at = 0;
        foreach (var part in pattern)
        {
            if (part == "**")
            {
                values.Add(Decode(string.Join('/', segments, at, extra + 1)));
                at += extra + 1;
            }
            else if (part == "*")
            {
                values.Add(Decode(segments[at++]));
            }
            else if (part != segments[at++])
            {
                return null;
            }
        }

        return values;
    }

    // The server leaves an encoded slash alone, since it would change the path.
    private static string Decode(string value) => value.Replace("%2F", "/", StringComparison.OrdinalIgnoreCase);

    private sealed record Route(string Method, string[] Pattern, ApiHandler Handler);
}
