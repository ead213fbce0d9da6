using System.Net;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using EdgeHost.Api;
using EdgeHost.Errors;
using EdgeHost.Images;
using EdgeHost.Linux;
using Microsoft.Extensions.Logging.Abstractions;
using Xunit;

namespace Edge.Tests.Api;

/// <summary>The API byte by byte, where docker's client does not go.</summary>
public sealed class ApiTests(ApiFixture api) : IClassFixture<ApiFixture>
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData("/_ping")]
    [InlineData("/v1.24/_ping")]
    [InlineData("/v1.44/_ping")]
    public async Task Ping_answers_with_and_without_a_version(string path)
    {
        using var answer = await api.Http.GetAsync(path, Cancel);
        Assert.Equal("OK", await answer.Content.ReadAsStringAsync(Cancel));
        Assert.Equal("1.44", answer.Headers.GetValues("Api-Version").Single());
    }

    [Fact]
    public async Task Ping_by_head_has_headers_and_no_body()
    {
        using var answer = await api.Http.SendAsync(new HttpRequestMessage(HttpMethod.Head, "/_ping"), Cancel);
        Assert.Equal(HttpStatusCode.OK, answer.StatusCode);
        Assert.Equal("1.44", answer.Headers.GetValues("Api-Version").Single());
        Assert.Empty(await answer.Content.ReadAsByteArrayAsync(Cancel));
    }

    [Theory]
    [InlineData("GET", "/nothing", 404, "page not found")]
    [InlineData("GET", "/v1.45/_ping", 400, "Maximum supported API version is 1.44")]
    [InlineData("GET", "/v1.23/_ping", 400, "Minimum supported API version is 1.24")]
    [InlineData("GET", "/v1.x/_ping", 404, "page not found")]
    [InlineData("GET", "/containers/nosuch/json", 404, "No such container: nosuch")]
    [InlineData("GET", "/images/no/such/json", 404, "No such image: no/such")]
    [InlineData("GET", "/containers/json?filters=%7B%22colour%22%3A%5B%22red%22%5D%7D", 400, "invalid filter 'colour'")]
    [InlineData("GET", "/containers/json?filters=nonsense", 400, "is not of the form")]
    [InlineData("GET", "/containers/json?limit=many", 400, "limit=many is not a whole number")]
    [InlineData("POST", "/containers/create", 400, "needs a JSON body")]
    [InlineData("GET", "/containers/x/export", 501, "exporting a container: not in this version")]
    [InlineData("POST", "/images/alpine/push", 501, "pushing images: not in this version")]
    [InlineData("POST", "/build", 501, "not in this version")]
    public async Task A_failure_has_a_status_and_a_message(string method, string path, int status, string message)
    {
        using var answer = await api.Http.SendAsync(new HttpRequestMessage(new HttpMethod(method), path), Cancel);
        Assert.Equal(status, (int)answer.StatusCode);
        using var body = JsonDocument.Parse(await answer.Content.ReadAsStringAsync(Cancel));
        Assert.Contains(message, body.RootElement.GetProperty("message").GetString());
    }

    [Fact]
    public async Task Every_kind_of_failure_has_a_status_of_its_own()
    {
        await Task.CompletedTask;
        Assert.Equal(
            [500, 400, 404, 409, 400, 403, 503, 500, 507, 400, 501],
            Enum.GetValues<ErrorKind>().Select(ApiApplication.StatusOf));
    }

    [Theory]
    [InlineData("{")]
    [InlineData("[]")]
    [InlineData("null")]
    [InlineData("{\"Image\": 5}")]
    [InlineData("{\"Image\": \"busybox\", \"Cmd\": {\"a\": 1}}")]
    [InlineData("{\"Image\": \"busybox\", \"HostConfig\": {\"Memory\": \"much\"}}")]
    [InlineData("{\"Cmd\": [\"x\"]}")]
    public async Task A_body_that_makes_no_sense_is_refused(string body)
    {
        using var answer = await CreateAsync(body);
        Assert.Equal(HttpStatusCode.BadRequest, answer.StatusCode);
    }

    [Fact]
    public async Task A_body_that_is_too_long_or_too_deep_is_refused_and_the_server_lives_on()
    {
        using var longest = await CreateAsync($"{{\"Image\":\"{new string('x', 2 << 20)}\"}}");
        Assert.Contains("longer than 1048576 bytes", await longest.Content.ReadAsStringAsync(Cancel));
        using var deepest = await CreateAsync($"{{\"Annotations\":{string.Concat(Enumerable.Repeat("[", 5000))}");
        Assert.Equal(HttpStatusCode.BadRequest, deepest.StatusCode);
        Assert.Equal("OK", await api.Http.GetStringAsync("/_ping", Cancel));
    }

    [Fact]
    public async Task A_string_is_taken_for_a_command_of_one_word()
    {
        using var answer = await CreateAsync("""{"Image":"busybox","cmd":"sleep","HostConfig":{"NetworkMode":"none"}}""");
        Assert.Equal(HttpStatusCode.Created, answer.StatusCode);
        Assert.Equal(["sleep"], api.Engine.LastSpec!.Command);
    }

    [Fact]
    public async Task Credentials_of_the_client_are_those_of_the_pull()
    {
        Assert.Equal(HttpStatusCode.OK, await PullAsync("""{"username":"maria","password":"se/cr+et","serveraddress":"x"}"""));
        Assert.Equal(new RegistryCredentials("maria", "se/cr+et"), api.Images.LastCredentials);
        Assert.Equal(HttpStatusCode.OK, await PullAsync($$"""{"auth":"{{Convert.ToBase64String("anna:a:b"u8)}}"}"""));
        Assert.Equal(new RegistryCredentials("anna", "a:b"), api.Images.LastCredentials);
        Assert.Equal(HttpStatusCode.OK, await PullAsync("""{"identitytoken":"token"}"""));
        Assert.Equal(new RegistryCredentials(string.Empty, string.Empty, "token"), api.Images.LastCredentials);
        foreach (var nobody in (string[])["{}", "null", """{"username":"","password":""}"""])
        {
            Assert.Equal(HttpStatusCode.OK, await PullAsync(nobody));
            Assert.Null(api.Images.LastCredentials);
        }

        Assert.Equal(HttpStatusCode.BadRequest, await PullAsync("[]"));
        Assert.Equal(HttpStatusCode.BadRequest, await PullAsync("""{"username":1}"""));
        Assert.Equal(HttpStatusCode.BadRequest, await PullAsync("{"));
        Assert.Equal(HttpStatusCode.NotImplemented, await PullAsync("""{"registrytoken":"x"}"""));

        async Task<HttpStatusCode> PullAsync(string auth)
        {
            using var request = new HttpRequestMessage(HttpMethod.Post, "images/create?fromImage=alpine&tag=latest");
            request.Headers.Add("X-Registry-Auth", Convert.ToBase64String(Encoding.UTF8.GetBytes(auth)).Replace('+', '-').Replace('/', '_'));
            using var response = await api.Http.SendAsync(request, Cancel);
            _ = await response.Content.ReadAsStringAsync(Cancel);
            return response.StatusCode;
        }
    }

    [Fact]
    public async Task A_pull_of_what_is_not_there_is_a_status_and_not_a_line_of_the_progress()
    {
        using var response = await api.Http.PostAsync("images/create?fromImage=nowhere&tag=1", null, Cancel);
        Assert.Equal(HttpStatusCode.NotFound, response.StatusCode);
    }

    [Fact]
    public async Task A_wait_sends_its_headers_before_the_container_ends()
    {
        var id = await IdAsync("""{"Image":"busybox","Cmd":["sleep"],"HostConfig":{"NetworkMode":"none"}}""");
        using var answer = await api.Http.SendAsync(
            new HttpRequestMessage(HttpMethod.Post, $"/containers/{id}/wait?condition=next-exit"), HttpCompletionOption.ResponseHeadersRead, Cancel);
        Assert.Equal(HttpStatusCode.OK, answer.StatusCode);
        await PostAsync($"/containers/{id}/start");
        await PostAsync($"/containers/{id}/kill?signal=TERM");
        Assert.Equal("""{"StatusCode":143}""", await answer.Content.ReadAsStringAsync(Cancel));
    }

    [Fact]
    public async Task Start_and_stop_of_what_is_so_already_answer_304()
    {
        var id = await IdAsync("""{"Image":"busybox","Cmd":["sleep"],"HostConfig":{"NetworkMode":"none"}}""");
        Assert.Equal(304, await PostAsync($"/containers/{id}/stop"));
        Assert.Equal(204, await PostAsync($"/containers/{id}/start"));
        Assert.Equal(304, await PostAsync($"/containers/{id}/start"));
        Assert.Equal(204, await PostAsync($"/containers/{id}/stop?t=0"));
    }

    [Fact]
    public async Task Logs_are_followed_frame_by_frame_until_the_end()
    {
        var id = await IdAsync("""{"Image":"busybox","Cmd":["sleep"],"HostConfig":{"NetworkMode":"none"}}""");
        await PostAsync($"/containers/{id}/start");
        using var answer = await api.Http.GetAsync($"/containers/{id}/logs?follow=1&stdout=1&stderr=1", HttpCompletionOption.ResponseHeadersRead, Cancel);
        Assert.Equal("application/vnd.docker.multiplexed-stream", answer.Content.Headers.ContentType!.MediaType);
        await using var stream = await answer.Content.ReadAsStreamAsync(Cancel);
        var frame = new byte[11];
        api.Engine.Write(id, true, "ab\n");
        await stream.ReadExactlyAsync(frame, Cancel);
        Assert.Equal([2, 0, 0, 0, 0, 0, 0, 3, (byte)'a', (byte)'b', (byte)'\n'], frame);
        await PostAsync($"/containers/{id}/kill");
        Assert.Equal(0, await stream.ReadAsync(frame, Cancel));
    }

    [Fact]
    public async Task An_attached_client_that_stops_sending_still_hears_and_one_that_leaves_is_noticed()
    {
        var id = await IdAsync("""{"Image":"busybox","Cmd":["sleep"],"HostConfig":{"NetworkMode":"none"}}""");
        await PostAsync($"/containers/{id}/start");
        var socket = await api.ConnectAsync(Cancel);
        await using var stream = new NetworkStream(socket, ownsSocket: true);
        await stream.WriteAsync(Encoding.ASCII.GetBytes($"POST /containers/{id}/attach?stream=1&stdout=1&stderr=1 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n{{}}"), Cancel);
        var head = await ReadHeadAsync(stream);
        Assert.StartsWith("HTTP/1.1 101 UPGRADED\r\n", head);
        Assert.Contains("Upgrade: tcp\r\n", head);
        socket.Shutdown(SocketShutdown.Send);
        api.Engine.Write(id, false, "heard\n");
        var frame = new byte[14];
        await stream.ReadExactlyAsync(frame, Cancel);
        Assert.Equal("heard\n", Encoding.ASCII.GetString(frame[8..]));
        Assert.False(api.Engine.ReaderLeft(id).IsCompleted);
        await stream.DisposeAsync();
        await api.Engine.ReaderLeft(id).WaitAsync(Cancel);
    }

    [Fact]
    public async Task A_pull_whose_client_leaves_is_ended() => await Assert.ThrowsAnyAsync<OperationCanceledException>(async () =>
    {
        using var soon = CancellationTokenSource.CreateLinkedTokenSource(Cancel);
        using var answer = await api.Http.SendAsync(new HttpRequestMessage(HttpMethod.Post, "/images/create?fromImage=endless&tag=1"), HttpCompletionOption.ResponseHeadersRead, soon.Token);
        Assert.Equal(HttpStatusCode.OK, answer.StatusCode);
        answer.Dispose();
        await api.Images.EndlessPull.WaitAsync(Cancel);
    });

    [Fact]
    public async Task Sizes_are_told_although_a_container_is_removed_while_they_are_measured()
    {
        api.Engine.Vanishing = await IdAsync("""{"Image":"busybox","Cmd":["sleep"],"HostConfig":{"NetworkMode":"none"}}""");
        using var list = JsonDocument.Parse(await api.Http.GetStringAsync("/containers/json?all=1&size=1", Cancel));
        using var usage = JsonDocument.Parse(await api.Http.GetStringAsync("/system/df", Cancel));
        Assert.Contains(list.RootElement.EnumerateArray(), each => each.GetProperty("Id").GetString() == api.Engine.Vanishing);
        Assert.Contains(usage.RootElement.GetProperty("Containers").EnumerateArray(), each => each.GetProperty("Id").GetString() == api.Engine.Vanishing);
    }

    [Fact]
    public async Task The_old_name_of_an_images_size_is_there_for_clients_before_1_44()
    {
        using var old = JsonDocument.Parse(await api.Http.GetStringAsync("/v1.43/images/busybox/json", Cancel));
        using var now = JsonDocument.Parse(await api.Http.GetStringAsync("/v1.44/images/busybox/json", Cancel));
        Assert.Equal(now.RootElement.GetProperty("Size").GetInt64(), old.RootElement.GetProperty("VirtualSize").GetInt64());
        Assert.False(now.RootElement.TryGetProperty("VirtualSize", out _));
    }

    [Theory]
    [InlineData("254:0 rbytes=4096 wbytes=512 rios=1 wios=1 dbytes=7 dios=1\n7:1 rbytes=1", "254:0 4096 512, 7:1 1 0")]
    [InlineData("8:0 Read 4096\n8:0 Write 512\n8:0 Sync 9\n8:0 Async 9\n8:0 Discard 9\n8:0 Total 4608\n8:16 Read 3\nTotal 4611", "8:0 4096 512, 8:16 3 0")]
    [InlineData("254:0\nTotal 0\n\nnonsense here", "")]
    [InlineData(null, "")]
    public void Counters_of_block_devices_are_read_in_both_of_the_kernels_forms(string? text, string uses) =>
        Assert.Equal(uses, string.Join(", ", BlockUse.Parse(text).Select(use => $"{use.Major}:{use.Minor} {use.ReadBytes} {use.WrittenBytes}")));

    [Fact]
    public async Task Stats_come_once_or_as_a_stream_with_the_reading_before()
    {
        var id = await IdAsync("""{"Image":"busybox","Cmd":["sleep"],"HostConfig":{"NetworkMode":"none"}}""");
        using (var zeros = JsonDocument.Parse(await api.Http.GetStringAsync($"/containers/{id}/stats?stream=0&one-shot=1", Cancel)))
        {
            Assert.Equal("0001-01-01T00:00:00Z", zeros.RootElement.GetProperty("read").GetString());
        }

        await PostAsync($"/containers/{id}/start");
        using var answer = await api.Http.GetAsync($"/containers/{id}/stats", HttpCompletionOption.ResponseHeadersRead, Cancel);
        using var lines = new StreamReader(await answer.Content.ReadAsStreamAsync(Cancel));
        using var first = JsonDocument.Parse((await lines.ReadLineAsync(Cancel))!);
        using var second = JsonDocument.Parse((await lines.ReadLineAsync(Cancel))!);
        Assert.Equal(first.RootElement.GetProperty("read").GetString(), second.RootElement.GetProperty("preread").GetString());
        Assert.Equal(10 << 20, second.RootElement.GetProperty("memory_stats").GetProperty("usage").GetInt64());
        Assert.Equal("1.5MB / 4.1kB\n", (await api.DockerAsync("stats", "--no-stream", "--format", "{{.BlockIO}}", id)).Output);
    }

    [Fact]
    public async Task A_second_server_on_a_live_socket_is_refused_and_the_first_goes_on()
    {
        await using var second = new ApiServer(new ApiOptions(api.Socket, null, "/x"), api.Engine, api.Images, api.Networks, NullLoggerFactory.Instance);
        var failure = await Assert.ThrowsAsync<EdgeHostException>(() => second.StartAsync(Cancel));
        Assert.Equal(ErrorKind.Conflict, failure.Kind);
        Assert.Contains("another daemon listens on " + api.Socket, failure.Message);
        Assert.Equal("OK", await api.Http.GetStringAsync("/_ping", Cancel));
    }

    private Task<HttpResponseMessage> CreateAsync(string body) =>
        api.Http.PostAsync("/containers/create", new StringContent(body, Encoding.UTF8, "application/json"), Cancel);

    private async Task<string> IdAsync(string body)
    {
        using var answer = await CreateAsync(body);
        using var json = JsonDocument.Parse(await answer.Content.ReadAsStringAsync(Cancel));
        return json.RootElement.GetProperty("Id").GetString()!;
    }

    private async Task<int> PostAsync(string path)
    {
        using var answer = await api.Http.PostAsync(path, null, Cancel);
        return (int)answer.StatusCode;
    }

    private static async Task<string> ReadHeadAsync(Stream stream)
    {
        var head = new StringBuilder();
        var one = new byte[1];
        while (!head.ToString().EndsWith("\r\n\r\n", StringComparison.Ordinal))
        {
            await stream.ReadExactlyAsync(one, Cancel);
            head.Append((char)one[0]);
        }

        return head.ToString();
    }
}
