using EdgeHost.Errors;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.Extensions.Logging;

namespace EdgeHost.Api;

/// <summary>What the server calls for each request: finds the handler, and turns a failure into Docker's <c>{"message": …}</c>.</summary>
internal sealed partial class ApiApplication : IHttpApplication<ApiExchange>
{
    private readonly ApiRouter _router;
    private readonly ILogger _log;

    internal ApiApplication(ApiRouter router, ILogger log)
    {
        _router = router;
        _log = log;
    }

    /// <inheritdoc/>
    public ApiExchange CreateContext(IFeatureCollection contextFeatures) => new(contextFeatures);

    /// <inheritdoc/>
    public void DisposeContext(ApiExchange context, Exception? exception)
    {
    }

    /// <inheritdoc/>
    public async Task ProcessRequestAsync(ApiExchange context)
    {
        context.SetHeader("Api-Version", ApiRouter.ApiVersion);
        context.SetHeader("Ostype", "linux");
        context.SetHeader("Docker-Experimental", "false");
        context.SetHeader("Server", $"EdgeHost/{ProductVersion.Text} (linux)");
        try
        {
            await _router.Find(context)(context);
        }
        catch (OperationCanceledException) when (context.Aborted.IsCancellationRequested)
        {
            context.Abort();
        }
        catch (ConnectionResetException)
        {
            context.Abort();
        }
        catch (EdgeHostException e)
        {
            if (e.Kind == ErrorKind.Internal)
            {
                // What the machine refuses is said in full by its words.
                LogFailed(_log, context.Method, context.FullPath, e.Message, e.InnerException is null or EdgeHostException or IOException or UnauthorizedAccessException ? null : e);
            }

            await FailAsync(context, StatusOf(e.Kind), e.Message);
        }
        catch (BadHttpRequestException e)
        {
            await FailAsync(context, e.StatusCode, e.Message);
        }
#pragma warning disable CA1031 // The last door before the server: a defect becomes a 500 for the client and a trace in the log.
        catch (Exception e)
#pragma warning restore CA1031
        {
            LogFailed(_log, context.Method, context.FullPath, e.Message, e);
            await FailAsync(context, 500, $"internal error: {e.Message}");
        }
    }

    /// <summary>The HTTP status of a kind of failure.</summary>
    internal static int StatusOf(ErrorKind kind) => kind switch
    {
        ErrorKind.Invalid or ErrorKind.Infeasible or ErrorKind.CannotExecute => 400,
        ErrorKind.Denied => 403,
        ErrorKind.NotFound => 404,
        ErrorKind.Conflict => 409,
        ErrorKind.Unsupported => 501,
        ErrorKind.Unavailable => 503,
        ErrorKind.Full => 507,
        _ => 500,
    };

    private static Task FailAsync(ApiExchange context, int status, string message)
    {
        if (context.HasStarted)
        {
            // The status has been sent; a cut connection is the only way left to say that the rest is missing.
            context.Abort();
            return Task.CompletedTask;
        }

        return context.JsonAsync(status, new ErrorView(message), DockerJson.Out.ErrorView);
    }

    [LoggerMessage(Level = LogLevel.Error, Message = "{Method} {Path} failed: {Reason}")]
    private static partial void LogFailed(ILogger log, string method, string path, string reason, Exception? e);
}
