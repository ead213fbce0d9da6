using EdgeHost.Errors;

namespace EdgeHost.Api;

/// <summary>Paths of Docker's API that clients ask for and that come with a later version: a clear word instead of "page not found".</summary>
internal static class LaterEndpoints
{
    internal static void Map(ApiRouter router)
    {
        Later(router, "GET", "/containers/*/attach/ws", "attaching over a web socket");
        Later(router, "POST", "/build", "building images");
        Later(router, "POST", "/session", "building images");
        Later(router, "POST", "/commit", "committing a container");
        Later(router, "GET", "/containers/*/export", "exporting a container");
        Later(router, "POST", "/images/**/push", "pushing images");
        Later(router, "GET", "/images/search", "searching a registry");
        Later(router, "GET", "/distribution/**/json", "asking a registry about an image");
    }

    private static void Later(ApiRouter router, string method, string pattern, string what) => router.Map(method, pattern, _ =>
        throw new EdgeHostException(ErrorKind.Unsupported, $"{what}: not in this version of EdgeHost"));
}
